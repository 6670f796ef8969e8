-- Takes a slot of a node. Shared by create.lua, retry.lua and take.lua.
--
-- l: the key of the node's slots. holder: "<job>:<attempt>:<instance>". lease: in ms.
-- epoch, warm_until: what the caller knows of the server; see docs/redis.
-- Answers the lease that was written, and when it runs out by the server's clock in ms;
-- or nil, then why there is none: "UNKNOWN", "CLOSED" and the node's state, "FULL" or "WARMUP" and in how many ms to look again.
local reserve
function reserve(l, holder, now, lease, epoch, warm_until)
  local first = redis.call('ZPOPMIN', l)
  local member, score = first[1], tonumber(first[2])
  if not member then
    return nil, 'UNKNOWN', ''
  end
  local slot, fence, since = string.match(member, ':(%d+):(%d+):(%d+)$')
  if score > 0 and score <= now then
    -- A slot more than the node has by now is let go as its lease ends.
    local capacity = string.match(redis.call('ZRANGE', l, -1, -1)[1] or '', '^node:%d+:(%d+)$')
    if capacity and redis.call('ZCOUNT', l, 0, '(inf') >= tonumber(capacity) then
      return reserve(l, holder, now, lease, epoch, warm_until)
    end
  end
  since = tonumber(since)
  if score >= 0 and score <= now and (since >= epoch or now >= warm_until) then
    -- Free, or of a lease that has run out: whoever had it finds that it is gone. Another may know of a later epoch.
    local taken = string.format('%s:%s:%d:%d', holder, slot, fence + 1, math.max(since, epoch))
    -- A number would be written as a fraction may have to be, which takes long.
    redis.call('ZADD', l, string.format('%d', now + lease), taken)
    return taken, now + lease
  end
  redis.call('ZADD', l, first[2], member)
  if score < 0 then
    return nil, 'CLOSED', string.match(member, '^closed:(.*)$')
  elseif score <= now then
    return nil, 'WARMUP', warm_until - now
  elseif score == math.huge then
    return nil, 'FULL', lease
  elseif string.sub(member, 1, 5) == 'lost:' then
    return nil, 'WARMUP', score - now
  end
  return nil, 'FULL', score - now
end

