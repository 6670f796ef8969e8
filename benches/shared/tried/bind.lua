-- Creates a job on a slot that was taken ahead, unless somebody else has needed it since.
--
-- KEYS  1 the request's binding  2 the node's slots
-- ARGV  1 the lease  2 fingerprint  3 the node's id  4 how long the lease is to last, ms  5 how long the binding is kept, ms
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= '1' then
  return { 'NONE' }
end
local found = redis.call('SET', KEYS[1], ARGV[2] .. ' reserved ' .. ARGV[1] .. ' ' .. ARGV[3], 'NX', 'GET', 'PX', ARGV[5])
if not found then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZADD', KEYS[2], string.format('%d', now + ARGV[4]), ARGV[1])
end
return { found or ARGV[1] }
