-- Removes a node; its leases go with it.
--
-- KEYS  1 the node  2 its slots  3 its fencing counter  4 all nodes  5 changes, unless they are elsewhere
-- ARGV  1 its id, as in keys  2 incarnation  3 how long its counter and the changes are kept, ms
-- Answers {"DONE"}, {"UNKNOWN"}, or {"STALE", the incarnation that there is}
local incarnation = redis.call('HGET', KEYS[1], 'incarnation')
if not incarnation then
  return { 'UNKNOWN' }
elseif incarnation ~= ARGV[2] then
  return { 'STALE', incarnation }
end
-- The next incarnation's fences go on from there.
local fence = math.max((largest(KEYS[2])), tonumber(redis.call('GET', KEYS[3]) or 0))
redis.call('SET', KEYS[3], string.format('%.0f', fence), 'PX', ARGV[3])
redis.call('DEL', KEYS[1], KEYS[2])
announce(KEYS[4], KEYS[5], ARGV[1], nil, ARGV[3])
return { 'DONE' }
