-- Takes a heartbeat of a node in, which its owner has received.
--
-- KEYS  1 the node  2 its slots  3 its fencing counter
-- ARGV  1 incarnation  2 owner  3 how long the node is kept without a heartbeat, ms
--       4 how long its slots and its counter are, ms  5.. fields and values by turns
-- Answers {"DONE", leases that there are, the time}, {"UNKNOWN"}, {"STALE", the incarnation that there is}, or
-- {"OWNED", by whom}
local there = redis.call('HMGET', KEYS[1], 'incarnation', 'owner')
if not there[1] or redis.call('EXISTS', KEYS[2]) == 0 then
  return { 'UNKNOWN' }
elseif there[1] ~= ARGV[1] then
  return { 'STALE', there[1] }
elseif there[2] ~= ARGV[2] then
  return { 'OWNED', there[2] or '' }
end
local now = server_time()
local load = redis.call('ZCOUNT', KEYS[2], now, '(inf')
redis.call('HSET', KEYS[1], 'load', load, 'heartbeat', now, unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return { 'DONE', load, now }
