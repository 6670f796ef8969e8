-- Registers a node: a new incarnation of it, all of whose slots are free.
--
-- KEYS  1 the node  2 its slots  3 its fencing counter  4 all nodes  5 changes, unless they are elsewhere
-- ARGV  1 its id, as in keys  2 "new", or "replace" if one of this id may be there  3 epoch  4 capacity  5 state
--       6 how long the node is kept without a heartbeat, ms  7 how long its slots and its counter are, ms
--       8.. what else there is to say of it, field and value by turns
-- Answers {"REGISTERED", incarnation}, or {"EXISTS", incarnation, owner}
local there = redis.call('HMGET', KEYS[1], 'incarnation', 'owner')
if there[1] and ARGV[2] == 'new' then
  return { 'EXISTS', there[1], there[2] or '' }
end
local time = redis.call('TIME')
-- Larger than any fence of an earlier incarnation, also if the counter has been lost: no slot is taken more than once in
-- a microsecond.
local counted = redis.call('GET', KEYS[3])
local fence = math.max(tonumber(counted or 0), time[1] * 1000000 + time[2], (largest(KEYS[2]))) + 1
redis.call('SET', KEYS[3], string.format('%.0f', fence), 'PX', ARGV[7])
redis.call('DEL', KEYS[1], KEYS[2])
make_slots(KEYS[2], 0, tonumber(ARGV[4]), 'free', 0, fence, ARGV[3])
describe(KEYS[2], fence, ARGV[4], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local incarnation = string.format('%.0f', fence)
redis.call('HSET', KEYS[1], 'incarnation', incarnation, 'capacity', ARGV[4], 'state', ARGV[5], 'load', 0,
  'heartbeat', now, unpack(ARGV, 8))
redis.call('PEXPIRE', KEYS[1], ARGV[6])
announce(KEYS[4], KEYS[5], ARGV[1], now, ARGV[7])
return { 'REGISTERED', incarnation }
