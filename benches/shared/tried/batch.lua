-- Several creates at once, each on one candidate.
--
-- KEYS  by turns a request's binding, and the slots of its candidate
-- ARGV  1 fingerprint  2 lease, ms  3 how long bindings are kept, ms  4 epoch  5 by turns "<job>:1:<instance>", and the
--       candidate's id
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = {}
for i = 1, #KEYS, 2 do
  if not redis.call('GET', KEYS[i]) then
    local first = redis.call('ZPOPMIN', KEYS[i + 1])
    local slot, fence, since = string.match(first[1], ':(%d+):(%d+):(%d+)$')
    local taken = string.format('%s:%s:%d:%d', ARGV[4 + i], slot, fence + 1, math.max(tonumber(since), tonumber(ARGV[4])))
    redis.call('ZADD', KEYS[i + 1], string.format('%d', now + ARGV[2]), taken)
    redis.call('SET', KEYS[i], ARGV[1] .. ' reserved ' .. taken .. ' ' .. ARGV[5 + i], 'PX', ARGV[3])
    leases[#leases + 1] = taken
  end
end
return leases
