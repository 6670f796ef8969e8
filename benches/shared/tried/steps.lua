-- What create.lua does on a slot that is free, step by step: a script ends at one of the cuts.
-- cut
local found = redis.call('GET', KEYS[1])
-- cut
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- cut
local first = redis.call('ZPOPMIN', KEYS[2])
-- cut
local member, score = first[1], tonumber(first[2])
local slot, fence, since = string.match(member, ':(%d+):(%d+):(%d+)$')
local taken = string.format('%s:%s:%d:%d', ARGV[2], slot, fence + 1, math.max(tonumber(since), tonumber(ARGV[5])))
-- cut
redis.call('ZADD', KEYS[2], string.format('%d', now + ARGV[3]), taken)
-- cut
redis.call('SET', KEYS[1], ARGV[1] .. ' reserved ' .. taken .. ' ' .. ARGV[7], 'PX', ARGV[4])
-- cut
