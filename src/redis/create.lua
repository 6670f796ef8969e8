-- Creates a job: binds a request to a slot of the first candidate that has one; or answers what the request is bound to.
--
-- KEYS  1 the request's binding; 2.. the slots of the candidates
-- ARGV  1 fingerprint  2 "<job>:1:<instance>"  3 lease, ms  4 how long the binding is kept, ms  5 epoch  6 warm until
--       7.. the candidates' ids, as in keys
-- Answers {"CREATED", lease, number of the candidate from 1 on}
--         {"EXISTING" or, if the fingerprint is another, "MISMATCH", binding}
--         {"NONE", for each candidate: reason, detail}, as reserve.lua has them
local found = redis.call('GET', KEYS[1])
if found then
  return { string.sub(found, 1, #ARGV[1]) == ARGV[1] and 'EXISTING' or 'MISMATCH', found }
end
local now = server_time()
local none = { 'NONE' }
for i = 2, #KEYS do
  local lease, reason, detail = reserve(KEYS[i], ARGV[2], now, ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6]))
  if lease then
    redis.call('SET', KEYS[1], ARGV[1] .. ' reserved ' .. lease .. ' ' .. ARGV[5 + i], 'PX', ARGV[4])
    return { 'CREATED', lease, i - 1 }
  end
  none[#none + 1] = reason
  none[#none + 1] = tostring(detail)
end
return none
