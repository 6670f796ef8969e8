-- Changes a node: its state, its capacity, what else there is to say of it.
--
-- KEYS  1 the node  2 its slots  3 its fencing counter  4 changes, unless they are elsewhere
-- ARGV  1 its id, as in keys  2 incarnation  3 epoch  4 state, or "" as it is  5 capacity, or "" as it is
--       6 how long its counter and the changes are kept, ms  7.. fields and values by turns
-- Answers {"DONE"}, {"UNKNOWN"}, or {"STALE", the incarnation that there is}
local there = redis.call('HMGET', KEYS[1], 'incarnation', 'capacity', 'state')
if not there[1] then
  return { 'UNKNOWN' }
elseif there[1] ~= ARGV[2] then
  return { 'STALE', there[1] }
end
local capacity, state = there[2], there[3]
if ARGV[5] ~= '' and ARGV[5] ~= capacity then
  local fence, slot = largest(KEYS[2])
  -- Slots that are let go may come again under their numbers; their fences go on from the largest there has been.
  fence = math.max(fence, tonumber(redis.call('GET', KEYS[3]) or 0)) + 1
  redis.call('SET', KEYS[3], string.format('%.0f', fence), 'PX', ARGV[6])
  local more = tonumber(ARGV[5]) - redis.call('ZCOUNT', KEYS[2], 0, '(inf')
  if more >= 0 then
    make_slots(KEYS[2], slot + 1, more, 'free', 0, fence, ARGV[3])
  else
    -- Leases stay: their slots are let go as they end.
    local free = redis.call('ZRANGE', KEYS[2], 0, 0, 'BYSCORE', 'LIMIT', 0, -more)
    for from = 1, #free, 1000 do
      redis.call('ZREM', KEYS[2], unpack(free, from, math.min(from + 999, #free)))
    end
  end
  redis.call('ZREM', KEYS[2], string.format('node:%s:%s', there[1], capacity))
  redis.call('HSET', KEYS[1], 'capacity', ARGV[5])
  capacity = ARGV[5]
end
if ARGV[4] ~= '' then
  redis.call('ZREM', KEYS[2], 'closed:' .. state)
  redis.call('HSET', KEYS[1], 'state', ARGV[4])
  state = ARGV[4]
end
describe(KEYS[2], there[1], capacity, state)
if #ARGV > 6 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 7))
end
publish(KEYS[4], ARGV[1], ARGV[6])
return { 'DONE' }
