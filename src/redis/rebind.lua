-- Binds a request to the next attempt of its job, whose slot has been taken on another server.
--
-- KEYS  1 the request's binding
-- ARGV  1 job  2 attempt, the one before  3 attempts that there may be  4 how long the binding is kept, ms
--       5 the lease of the next one, or "" to look whether there may be one  6 the id of its node, as in keys
-- Answers {"DONE"}, or {"DONE", lease, node}: of the attempt before, which is held yet; the others as retry.lua does
local refused, fingerprint, state, lease, _, node, earlier =
  retriable(redis.call('GET', KEYS[1]), ARGV[1], ARGV[2], ARGV[3])
if refused then
  return refused
end
if ARGV[5] ~= '' then
  local nodes = ARGV[6] .. ' ' .. node .. earlier
  redis.call('SET', KEYS[1], fingerprint .. ' reserved ' .. ARGV[5] .. ' ' .. nodes, 'PX', ARGV[4])
end
if has_ended(state) then
  return { 'DONE' }
end
return { 'DONE', lease, node }
