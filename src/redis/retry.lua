-- The next attempt of a job: takes a slot of the first candidate that has one, then frees that of the attempt before, if
-- that is still held.
--
-- KEYS  1 the request's binding  2 the slots of the job's node  3.. the slots of the candidates
-- ARGV  1 job  2 attempt, the one before  3 the id of the job's node, as in keys  4 lease, ms
--       5 how long the binding is kept, ms  6 epoch  7 warm until  8 attempts that there may be
--       9 instance  10.. the candidates' ids, as in keys
-- Answers {"CREATED", lease, number of the candidate from 1 on}
--         {"NONE", ...} as create.lua does; {"LIMIT"}: there have been as many attempts as may be
--         {"UNKNOWN"}, {"ENDED", how}, {"MOVED", node} as finish.lua does; {"BEHIND", binding}: the attempt is not the latest
local refused, fingerprint, _, held, where, node, earlier =
  retriable(redis.call('GET', KEYS[1]), ARGV[1], ARGV[2], ARGV[8])
if refused then
  return refused
elseif node ~= ARGV[3] then
  return { 'MOVED', node }
end
local now = server_time()
local none = { 'NONE' }
local holder = string.format('%s:%d:%s', ARGV[1], ARGV[2] + 1, ARGV[9])
for i = 3, #KEYS do
  local lease, reason, detail = reserve(KEYS[i], holder, now, ARGV[4], tonumber(ARGV[6]), tonumber(ARGV[7]))
  if lease then
    if redis.call('ZREM', KEYS[2], held) == 1 then
      free(KEYS[2], where)
    end
    local nodes = ARGV[7 + i] .. ' ' .. node .. earlier
    redis.call('SET', KEYS[1], fingerprint .. ' reserved ' .. lease .. ' ' .. nodes, 'PX', ARGV[5])
    return { 'CREATED', lease, i - 2 }
  end
  none[#none + 1] = reason
  none[#none + 1] = tostring(detail)
end
return none
