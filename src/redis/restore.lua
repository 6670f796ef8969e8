-- Tells the server again of a node, and of leases on it, that it may have lost: it was restarted empty, or one took its
-- place that had not been told yet.
--
-- KEYS  1 the node  2 its slots  3 its fencing counter  4 all nodes  5 changes, unless they are elsewhere
-- ARGV  1 its id, as in keys  2 incarnation  3 epoch  4 capacity  5 state
--       6 how long the node is kept without a heartbeat, ms  7 how long its slots and its counter are, ms
--       8 how long a lease may last at most, ms  9 how many leases follow
--       10.. leases, each with how long it lasts yet, in ms, after it; then fields and values by turns
-- Answers {"RESTORED" or, if the server has lost the node, "MADE", for each lease 1, or 0: another has its slot by now};
--           with "RESTORED" the node has the capacity and the state that the server knows of, whatever these are here
--         {"STALE", the incarnation that there is}
local there = redis.call('HGET', KEYS[1], 'incarnation')
local known, capacity = described(KEYS[2])
local newest = math.max(tonumber(there or 0), tonumber(known or 0))
if newest > tonumber(ARGV[2]) then
  return { 'STALE', string.format('%.0f', newest) }
end
local now = server_time()
local leases = tonumber(ARGV[9])
local answer, state = { 'RESTORED' }, closed(KEYS[2])
if known ~= ARGV[2] then
  -- Any slot may have a lease that somebody else knows of. The epoch is later than that of any lease there was, and
  -- fences are told apart by that first.
  answer[1] = 'MADE'
  redis.call('DEL', KEYS[2])
  make_slots(KEYS[2], 0, tonumber(ARGV[4]), 'lost', now + ARGV[8], ARGV[2], ARGV[3])
  describe(KEYS[2], ARGV[2], ARGV[4], ARGV[5])
  capacity, state = ARGV[4], ARGV[5]
end
local counted = tonumber(redis.call('GET', KEYS[3]) or 0)
redis.call('SET', KEYS[3], string.format('%.0f', math.max(counted, tonumber(ARGV[2]))), 'PX', ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
if leases > 0 then
  local slots = {}
  for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local slot = string.match(member, ':(%d+):%d+:%d+$')
    if slot then
      slots[slot] = member
    end
  end
  for i = 10, 8 + 2 * leases, 2 do
    local lease = ARGV[i]
    local slot, of, since = string.match(lease, ':(%d+):(%d+):(%d+)$')
    local there = slots[slot]
    local held = 1
    if there == lease then
      -- The last that it was told of it may be what was lost.
      redis.call('ZADD', KEYS[2], 'XX', 'GT', now + ARGV[i + 1], lease)
    else
      local kind, before, earlier = string.match(there or '', '^(%w+):.-(%d+):(%d+)$')
      local is_later = not kind or tonumber(earlier) < tonumber(since)
        or earlier == since and tonumber(before) < tonumber(of)
      if kind == 'lost' or is_later then
        if there then
          redis.call('ZREM', KEYS[2], there)
        end
        redis.call('ZADD', KEYS[2], now + ARGV[i + 1], lease)
        slots[slot] = lease
      else
        held = 0
      end
    end
    answer[#answer + 1] = held
  end
  -- Those of slots that the server has forgotten are there beside as many as the node has.
  local more = redis.call('ZCOUNT', KEYS[2], 0, '(inf') - capacity
  if more > 0 then
    shrink(KEYS[2], more)
  end
end
-- It says what the slots say, whatever it said before; whoever owns the node changes both together.
if there == ARGV[2] then
  redis.call('HSET', KEYS[1], 'capacity', capacity, 'state', state)
else
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'incarnation', ARGV[2], 'capacity', capacity, 'state', state, 'load', 0,
    'heartbeat', now, unpack(ARGV, 10 + 2 * leases))
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  announce(KEYS[4], KEYS[5], ARGV[1], now, ARGV[7])
end
return answer
