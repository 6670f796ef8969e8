-- Has leases of one node begin anew. One that has run out does not, though nobody has its slot yet: a server that has come
-- since may not know that somebody has.
--
-- KEYS  1 the node's slots
-- ARGV  1 lease, ms  2.. leases
-- Answers for each lease "held", or how its job has ended if nobody has ended it; or nothing: the server does not know the node
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local now = server_time()
local held = {}
for i = 2, #ARGV do
  local runs_out = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if runs_out and tonumber(runs_out) > now then
    redis.call('ZADD', KEYS[1], 'XX', 'GT', now + ARGV[1], ARGV[i])
    held[i - 1] = 'held'
  else
    held[i - 1] = lost(KEYS[1], ARGV[i])
  end
end
return held
