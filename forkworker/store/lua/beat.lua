-- Shows that a child lives and what it does, and takes the signals that the Web UI left for it.
-- KEYS  1: taken:IDENTITY  2: processes  3: IDENTITY  4: IDENTITY:work  5: IDENTITY:workers  6: IDENTITY-signals
--       7: working  8: origins
-- ARGV  1: IDENTITY  2: seconds the beat is kept  3: origin  4: n, 5..: n fields and values of the hash,
--       then m, then m working lists, then thread and work in pairs
-- Returns the names of signals, oldest first: a hundred at the most, and so much of each as a name may have.
-- Fails with TAKEN, and shows nothing, once others have declared the child dead.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('TAKEN this process was declared dead and its jobs were taken over')
end
local at, ttl = 5, ARGV[2]
local function take()
  local n = tonumber(ARGV[at - 1])
  local some = {unpack(ARGV, at, at + n - 1)}
  at = at + n + 1
  return some
end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], unpack(take()))
redis.call('EXPIRE', KEYS[3], ttl)
redis.call('SADD', KEYS[7], unpack(take()))
redis.call('HSET', KEYS[8], ARGV[1], ARGV[3])
redis.call('UNLINK', KEYS[4], KEYS[5])
if at - 1 <= #ARGV then
  for key = 4, 5 do
    redis.call('HSET', KEYS[key], unpack(ARGV, at - 1))
    redis.call('EXPIRE', KEYS[key], ttl)
  end
end
local left, signals = redis.pcall('LRANGE', KEYS[6], -100, -1), {} -- of a key of another type: no entries
redis.call('UNLINK', KEYS[6])
for i = #left, 1, -1 do signals[#signals + 1] = string.sub(left[i], 1, 20) end
return signals
