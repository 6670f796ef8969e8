-- Takes free slots of nodes ahead of their jobs: leases that are scored as if they had run out, so that whoever needs a slot
-- finds them when no others are free.
--
-- KEYS  the nodes' slots
-- ARGV  1 how many of each  2 epoch  3 what all leases begin with  4 the number of the first job
-- Answers the leases
local leases, number = {}, tonumber(ARGV[4])
for _, l in ipairs(KEYS) do
  local free = redis.call('ZRANGE', l, 0, 0, 'BYSCORE', 'LIMIT', 0, ARGV[1])
  local taken = {}
  for i, member in ipairs(free) do
    local slot, fence, since = string.match(member, ':(%d+):(%d+):(%d+)$')
    local lease = string.format('%s%016x:1:%s:%s:%d:%d', ARGV[3], number, ARGV[3], slot, fence + 1,
      math.max(tonumber(since), tonumber(ARGV[2])))
    number = number + 1
    taken[2 * i - 1] = 1
    taken[2 * i] = lease
    leases[#leases + 1] = lease
  end
  if #free > 0 then
    redis.call('ZREM', l, unpack(free))
    redis.call('ZADD', l, unpack(taken))
  end
end
return leases
