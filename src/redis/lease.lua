-- What becomes of leases. Shared by all scripts that end a lease, or have one begin anew.

-- The parts of a binding: fingerprint, state, job, attempt, the rest of the lease ("<instance>:<slot>:<fence>:<epoch>"),
-- node, and what comes after, earlier nodes of the job, each with a space before it.
local function parts(binding)
  return string.match(binding, '^(%x+) (%a+) (%x+):(%d+):(%S+) (%S+)(.*)$')
end

-- Whether a job in this state has ended.
local function has_ended(state)
  return state ~= 'reserved' and state ~= 'dispatched' and state ~= 'running'
end

-- Whether a state may come after this one; "" is none that is wanted.
local function follows(state, wanted)
  return (wanted ~= 'dispatched' or state == 'reserved') and (wanted ~= 'running' or state ~= 'running')
end

-- Of an attempt that is to be moved on: the answer that says why it cannot be; or nil, then fingerprint, state, lease,
-- the rest of the lease, and the nodes, as they are to be written again. at: the node that it is thought to be on, if that matters.
local function active(binding, wanted, wanted_attempt, at)
  if not binding then
    return { 'UNKNOWN' }
  end
  local fingerprint, state, job, attempt, where, node, earlier = parts(binding)
  if job ~= wanted then
    return { 'UNKNOWN' }
  elseif attempt ~= wanted_attempt then
    return { 'STALE', attempt }
  elseif has_ended(state) then
    return { 'ENDED', state }
  elseif at and node ~= at then
    return { 'MOVED', node }
  end
  return nil, fingerprint, state, job .. ':' .. attempt .. ':' .. where, where, node .. earlier
end

-- Of an attempt that is to be tried again: the answer that says why it cannot be; or nil, then fingerprint, state, lease,
-- the rest of the lease, node, and the nodes before it, as they are to be written again.
local function retriable(binding, wanted, wanted_attempt, most)
  if not binding then
    return { 'UNKNOWN' }
  end
  local fingerprint, state, job, attempt, where, node, earlier = parts(binding)
  if job ~= wanted then
    return { 'UNKNOWN' }
  elseif attempt ~= wanted_attempt then
    return { 'BEHIND', binding }
  elseif state == 'completed' or state == 'cancelled' then
    return { 'ENDED', state }
  elseif tonumber(attempt) >= tonumber(most) then
    return { 'LIMIT' }
  end
  return nil, fingerprint, state, job .. ':' .. attempt .. ':' .. where, where, node, earlier
end

-- Gives a slot back whose lease has just been taken out of l; a slot more than the node has by now is let go.
local function free(l, where)
  local capacity = string.match(redis.call('ZRANGE', l, -1, -1)[1] or '', '^node:%d+:(%d+)$')
  if capacity and redis.call('ZCOUNT', l, 0, '(inf') < tonumber(capacity) then
    redis.call('ZADD', l, 0, 'free' .. string.match(where, ':%d+:%d+:%d+$'))
  end
end

-- How a job has ended whose lease is not in l any more: with its node's incarnation, or by running out.
local function lost(l, where)
  local incarnation = string.match(redis.call('ZRANGE', l, -1, -1)[1] or '', '^node:(%d+):%d+$')
  local fence = string.match(where, ':(%d+):%d+$')
  if not incarnation or tonumber(fence) <= tonumber(incarnation) then
    return 'orphaned'
  end
  return 'expired'
end

