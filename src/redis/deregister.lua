-- Removes a node; its leases go with it.
--
-- KEYS  1 the node  2 its slots  3 all nodes  4 changes
-- ARGV  1 its id, as in keys  2 incarnation  3 how long the changes are kept, ms
-- Answers {"DONE"}, {"UNKNOWN"}, or {"STALE", the incarnation that there is}
local incarnation = redis.call('HGET', KEYS[1], 'incarnation')
if not incarnation then
  return { 'UNKNOWN' }
elseif incarnation ~= ARGV[2] then
  return { 'STALE', incarnation }
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
publish(KEYS[4], ARGV[1], ARGV[3])
return { 'DONE' }
