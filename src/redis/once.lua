local function once(KEYS, ARGV)
