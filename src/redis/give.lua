-- Gives a slot of a node back: that of a job which has ended, or came to nothing.
--
-- KEYS  1 the node's slots
-- ARGV  1 the lease; or, where that is not known, "<job>:<attempt>:<instance>:", which it begins with
-- Answers {1}, or {0}: it was not there
local lease = ARGV[1]
if string.sub(lease, -1) == ':' then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if string.sub(member, 1, #lease) == lease then
      lease = member
      break
    end
  end
end
if redis.call('ZREM', KEYS[1], lease) == 0 then
  return { 0 }
end
free(KEYS[1], lease)
return { 1 }
