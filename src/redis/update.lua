-- Changes a node: its state, its capacity, what else there is to say of it.
--
-- KEYS  1 the node  2 its slots  3 its fencing counter  4 changes, unless they are elsewhere
-- ARGV  1 its id, as in keys  2 incarnation  3 epoch  4 warm until  5 state, or "" as it is  6 capacity, or "" as it is
--       7 how long its counter and the changes are kept, ms  8.. fields and values by turns
-- Answers {"DONE"}, {"UNKNOWN"}, or {"STALE", the incarnation that there is}
local there = redis.call('HGET', KEYS[1], 'incarnation')
local known, capacity = described(KEYS[2])
if not there or not known then
  return { 'UNKNOWN' }
elseif there ~= ARGV[2] then
  return { 'STALE', there }
end
-- What counts is how many slots there are, not how many somebody has written down.
if ARGV[6] ~= '' and ARGV[6] ~= capacity then
  local fence, slot, whole = largest(KEYS[2])
  -- Slots that are let go may come again under their numbers; their fences go on from the largest there has been.
  fence = math.max(fence, tonumber(redis.call('GET', KEYS[3]) or 0)) + 1
  redis.call('SET', KEYS[3], string.format('%.0f', fence), 'PX', ARGV[7])
  local more = tonumber(ARGV[6]) - redis.call('ZCOUNT', KEYS[2], 0, '(inf')
  if more < 0 then
    -- Leases stay: their slots are let go as they end.
    shrink(KEYS[2], -more)
  elseif whole < tonumber(ARGV[3]) and server_time() < tonumber(ARGV[4]) then
    -- The server may have lost that they were there, and leases of them.
    make_slots(KEYS[2], slot + 1, more, 'lost', tonumber(ARGV[4]), fence, ARGV[3])
  else
    make_slots(KEYS[2], slot + 1, more, 'free', 0, fence, ARGV[3])
  end
  redis.call('ZREM', KEYS[2], string.format('node:%s:%s', known, capacity))
  redis.call('HSET', KEYS[1], 'capacity', ARGV[6])
  capacity = ARGV[6]
end
local state = closed(KEYS[2])
if ARGV[5] ~= '' then
  redis.call('ZREM', KEYS[2], 'closed:' .. state)
  redis.call('HSET', KEYS[1], 'state', ARGV[5])
  state = ARGV[5]
end
describe(KEYS[2], there, capacity, state)
if #ARGV > 7 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 8))
end
publish(KEYS[4], ARGV[1], ARGV[7])
return { 'DONE' }
