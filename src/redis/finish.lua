-- Ends a job: frees its slot, once, and remembers how it ended.
--
-- KEYS  1 the request's binding  2 the slots of the job's node
-- ARGV  1 job  2 attempt  3 how it ends  4 the node's id, as in keys
--       5 how long an ended job is remembered, ms  6 the state that it must be in, or "" for any
-- Answers {"DONE"}
--         {"INVALID", state}: it is in this one
--         {"UNKNOWN"}: no such job is bound here
--         {"STALE", the attempt that there is}
--         {"ENDED", how}: before; or, just now found, that its lease is gone
--         {"MOVED", node}: the job is on another node than the caller says
local refused, fingerprint, state, lease, where, nodes = active(redis.call('GET', KEYS[1]), ARGV[1], ARGV[2], ARGV[4])
if refused then
  return refused
end
if ARGV[6] ~= '' and ARGV[6] ~= state then
  return { 'INVALID', state }
end
local answer, ends = { 'DONE' }, ARGV[3]
if redis.call('ZREM', KEYS[2], lease) == 1 then
  free(KEYS[2], where)
else
  ends = lost(KEYS[2], where)
  answer = { 'ENDED', ends }
end
redis.call('SET', KEYS[1], fingerprint .. ' ' .. ends .. ' ' .. lease .. ' ' .. nodes, 'PX', ARGV[5])
return answer
