end

-- Does many of what the function above does, one after the other, each as if it had been asked for by itself.
--
-- KEYS  those of all
-- ARGV  for each: how many keys it has  how many arguments  these
-- Answers for each what it would be answered by itself, its error included
local answers, key, at = {}, 0, 1
while at < #ARGV do
  local keys, arguments = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local _, answer = pcall(once, { unpack(KEYS, key + 1, key + keys) }, { unpack(ARGV, at + 2, at + 1 + arguments) })
  answers[#answers + 1] = type(answer) == 'table' and answer or { err = tostring(answer) }
  key, at = key + keys, at + 2 + arguments
end
return answers
