-- The slots of a node as a whole. Shared by register.lua, restore.lua and update.lua.
--
-- They are one sorted set, l: for each slot one member, scored with when its lease runs out by the server's clock in ms:
--   "<job>:<attempt>:<instance>:<slot>:<fence>:<epoch>"  a lease
--   "lost:<slot>:<fence>:<epoch>"  a lease that there may be, of which the server has lost all trace; see restore.lua
--   "free:<slot>:<fence>:<epoch>"  at 0
-- and beside them
--   "closed:<state>"  at -1, if the node takes no jobs
--   "node:<incarnation>:<capacity>"  at the end, so that the key stays when every slot is being looked at

-- Adds members, each with its score before it.
local function add(l, scored)
  for from = 1, #scored, 1000 do
    redis.call('ZADD', l, unpack(scored, from, math.min(from + 999, #scored)))
  end
end

-- Slots numbered from `first` on that have all had this fence, in place of whatever l is.
local function make_slots(l, first, count, kind, score, fence, epoch)
  local scored = {}
  for slot = first, first + count - 1 do
    scored[#scored + 1] = score
    scored[#scored + 1] = string.format('%s:%d:%.0f:%s', kind, slot, fence, epoch)
  end
  add(l, scored)
end

-- Whether the node takes jobs, and as what it is described.
local function describe(l, incarnation, capacity, state)
  redis.call('ZADD', l, '+inf', string.format('node:%.0f:%d', incarnation, capacity))
  if state ~= 'ready' then
    redis.call('ZADD', l, -1, 'closed:' .. state)
  end
end

-- What a node's slots say of it: its incarnation and its capacity. Nothing: it has none.
local function described(l)
  return string.match(redis.call('ZRANGE', l, -1, -1)[1] or '', '^node:(%d+):(%d+)$')
end

-- The state that it is closed by, or that it is ready.
local function closed(l)
  return string.match(redis.call('ZRANGE', l, -1, -1, 'BYSCORE')[1] or '', '^closed:(.*)$') or 'ready'
end

-- Lets go of so many slots that are free.
local function shrink(l, count)
  local free = redis.call('ZRANGE', l, 0, 0, 'BYSCORE', 'LIMIT', 0, count)
  for from = 1, #free, 1000 do
    redis.call('ZREM', l, unpack(free, from, math.min(from + 999, #free)))
  end
end

-- The largest fence that a slot of the node has had, and the largest number of one; and since which epoch no lease of it
-- can have been lost: 0 if that is not known.
local function largest(l)
  local fence, slot, whole = 0, -1, math.huge
  for _, member in ipairs(redis.call('ZRANGE', l, 0, -1)) do
    local number, of, since = string.match(member, ':(%d+):(%d+):(%d+)$')
    if number then
      fence = math.max(fence, tonumber(of))
      slot = math.max(slot, tonumber(number))
      whole = math.min(whole, string.sub(member, 1, 5) == 'lost:' and 0 or tonumber(since))
    end
  end
  return fence, slot, slot < 0 and 0 or whole
end

-- Says in the stream that a node has changed, if the stream is on this server. Each entry names the one before, so that no gap goes unnoticed.
local function publish(changes, node, ttl)
  if not changes then
    return
  end
  local last = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
  redis.call('XADD', changes, 'MAXLEN', '~', 65536, '*', 'node', node, 'after', last and last[1] or '0-0')
  redis.call('PEXPIRE', changes, ttl)
end

-- Says that a node is there, since when, or is gone; if what says so is on this server, else announce.lua does.
local function announce(nodes, changes, node, since, ttl)
  if not nodes then
    return
  end
  if since then
    redis.call('ZADD', nodes, since, node)
    redis.call('PEXPIRE', nodes, ttl)
  else
    redis.call('ZREM', nodes, node)
  end
  publish(changes, node, ttl)
end

