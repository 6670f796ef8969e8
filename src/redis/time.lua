-- The time by the server's clock, in ms: one for all that a script does.
local known
local function server_time()
  if not known then
    local time = redis.call('TIME')
    known = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return known
end

