-- Moves a job on, and has its lease begin anew.
--
-- KEYS  1 the request's binding  2 the slots of the job's node
-- ARGV  1 job  2 attempt  3 "dispatched", "running", or "" for the lease alone  4 the node's id, as in keys
--       5 lease, ms  6 how long an ended job is remembered, ms
-- Answers {"DONE"}; {"INVALID", state}: the step does not follow from that; the others as finish.lua does
local binding = redis.call('GET', KEYS[1])
if not binding then
  return { 'UNKNOWN' }
end
local fingerprint, state, job, attempt, where, node, earlier = parts(binding)
local wanted = ARGV[3]
if job ~= ARGV[1] then
  return { 'UNKNOWN' }
elseif attempt ~= ARGV[2] then
  return { 'STALE', attempt }
elseif has_ended(state) then
  return { 'ENDED', state }
elseif wanted == 'dispatched' and state ~= 'reserved' or wanted == 'running' and state == 'running' then
  return { 'INVALID', state }
elseif node ~= ARGV[4] then
  return { 'MOVED', node }
end
local lease = job .. ':' .. attempt .. ':' .. where
local now, runs_out = server_time(), redis.call('ZSCORE', KEYS[2], lease)
-- One that has run out does not begin anew, as in renew.lua.
if not runs_out or tonumber(runs_out) <= now then
  local ends = lost(KEYS[2], where)
  redis.call('SET', KEYS[1], fingerprint .. ' ' .. ends .. ' ' .. lease .. ' ' .. node .. earlier, 'PX', ARGV[6])
  return { 'ENDED', ends }
end
redis.call('ZADD', KEYS[2], 'XX', 'GT', now + ARGV[5], lease)
if wanted ~= '' then
  redis.call('SET', KEYS[1], fingerprint .. ' ' .. wanted .. ' ' .. lease .. ' ' .. node .. earlier, 'KEEPTTL')
end
return { 'DONE' }
