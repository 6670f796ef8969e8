-- Moves a job on, or ends it, as far as its request says: its lease is on another server.
--
-- KEYS  1 the request's binding
-- ARGV  1 job  2 attempt  3 the state that is wanted, or "" to look whether it goes on  4 how long an ended job is remembered, ms
--       5 the state that it must be in, or "" for any
-- Answers {"DONE"}; the others as advance.lua does
local refused, fingerprint, state, lease, _, nodes = active(redis.call('GET', KEYS[1]), ARGV[1], ARGV[2])
if refused then
  return refused
end
local wanted = ARGV[3]
if not follows(state, wanted) or ARGV[5] ~= '' and ARGV[5] ~= state then
  return { 'INVALID', state }
end
if wanted ~= '' then
  local binding = fingerprint .. ' ' .. wanted .. ' ' .. lease .. ' ' .. nodes
  if has_ended(wanted) then
    redis.call('SET', KEYS[1], binding, 'PX', ARGV[4])
  else
    redis.call('SET', KEYS[1], binding, 'KEEPTTL')
  end
end
return { 'DONE' }
