-- Moves a job on, and has its lease begin anew.
--
-- KEYS  1 the request's binding  2 the slots of the job's node
-- ARGV  1 job  2 attempt  3 "dispatched", "running", or "" for the lease alone  4 the node's id, as in keys
--       5 lease, ms  6 how long an ended job is remembered, ms
-- Answers {"DONE"}; {"INVALID", state}: the step does not follow from that; the others as finish.lua does
local refused, fingerprint, state, lease, where, nodes = active(redis.call('GET', KEYS[1]), ARGV[1], ARGV[2], ARGV[4])
if refused then
  return refused
end
local wanted = ARGV[3]
if not follows(state, wanted) then
  return { 'INVALID', state }
end
local now, runs_out = server_time(), redis.call('ZSCORE', KEYS[2], lease)
-- One that has run out does not begin anew, as in renew.lua.
if not runs_out or tonumber(runs_out) <= now then
  local ends = lost(KEYS[2], where)
  redis.call('SET', KEYS[1], fingerprint .. ' ' .. ends .. ' ' .. lease .. ' ' .. nodes, 'PX', ARGV[6])
  return { 'ENDED', ends }
end
redis.call('ZADD', KEYS[2], 'XX', 'GT', now + ARGV[5], lease)
if wanted ~= '' then
  redis.call('SET', KEYS[1], fingerprint .. ' ' .. wanted .. ' ' .. lease .. ' ' .. nodes, 'KEEPTTL')
end
return { 'DONE' }
