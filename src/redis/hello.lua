-- The first thing that is said on a connection: whether the server is the one that leases were granted by.
--
-- KEYS  1 the epoch
-- ARGV  1 the server's run id  2 the largest epoch that the caller knows of, or 0  3 how long a lease may last at most, ms
--       4 how long the epoch is kept, ms
-- Answers {epoch, until when slots of earlier epochs may have leases that were lost, the time}, the times by the
-- server's clock in ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'warm_until')
local epoch, warm_until = tonumber(there[2] or 0), tonumber(there[3] or 0)
if there[1] ~= ARGV[1] or epoch < tonumber(ARGV[2]) then
  -- By the clock, so that it is larger than one that everybody has forgotten.
  epoch = math.max(tonumber(time[1]), epoch + 1, ARGV[2] + 1)
  warm_until = now + ARGV[3]
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'epoch', epoch, 'warm_until', string.format('%.0f', warm_until))
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return { string.format('%.0f', epoch), string.format('%.0f', warm_until), string.format('%.0f', now) }
