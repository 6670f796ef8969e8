-- Has leases of one node begin anew. One that is gone does not come back.
--
-- KEYS  1 the node's slots
-- ARGV  1 lease, ms  2.. leases
-- Answers for each lease 1, or 0: it is gone; or nothing: the server does not know the node
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local now = server_time()
local held = {}
for i = 2, #ARGV do
  held[i - 1] = 0
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', 'GT', now + ARGV[1], ARGV[i])
    held[i - 1] = 1
  end
end
return held
