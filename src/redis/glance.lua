-- How busy nodes are, and when they were last heard of.
--
-- KEYS  by turns a node and its slots
-- Answers for each its leases, and how long ago its last heartbeat came in, ms; or -1 twice: the server does not know it
local now = server_time()
local seen = {}
for i = 1, #KEYS, 2 do
  local heartbeat = redis.call('HGET', KEYS[i], 'heartbeat')
  seen[i] = heartbeat and redis.call('ZCOUNT', KEYS[i + 1], now, '(inf') or -1
  seen[i + 1] = heartbeat and now - heartbeat or -1
end
return seen
