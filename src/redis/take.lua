-- Takes a slot of a node for a job whose request is bound on another server.
--
-- KEYS  1 the node's slots
-- ARGV  1 "<job>:<attempt>:<instance>"  2 lease, ms  3 epoch  4 warm until  5 "again" if this may have been done before, or ""
-- Answers {"TAKEN", lease}, or {reason, detail} as reserve.lua has them
if ARGV[5] == 'again' then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if string.sub(member, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
      return { 'TAKEN', member }
    end
  end
end
local lease, reason, detail = reserve(KEYS[1], ARGV[1], server_time(), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
if lease then
  return { 'TAKEN', lease }
end
return { reason, tostring(detail) }
