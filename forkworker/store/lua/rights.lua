-- Tries all that the other scripts of a tree do: one that may do only half of it would leave a job in two places.
-- KEYS  1: a key of the trial's own, there only meanwhile   then keys that must be accessible
-- ARGV  none
-- Returns the names of the commands that this user may not run.  Changes nothing.
local own, refused = KEYS[1], {}
local function try(command, ...)
  local answer = redis.pcall(command, ...)
  local why = type(answer) == 'table' and answer['err'] or ''
  -- as Redis 7.0 and older say it, as Valkey does, as outside of a script
  if string.find(why, "can't run this command") or string.find(why, 'no permissions to run') or string.find(why, 'NOPERM') then
    refused[#refused + 1] = command
  end
end
for _, command in ipairs({'LPUSH', 'RPUSH', 'LPOS'}) do try(command, own, 'x') end
for _, command in ipairs({'LRANGE', 'LTRIM'}) do try(command, own, 0, -1) end
try('LREM', own, 1, 'x')
try('LLEN', own)
try('UNLINK', own)
try('SADD', own, 'x')
try('SREM', own, 'x')
try('UNLINK', own)
try('ZADD', own, 1, 'x')
try('ZSCORE', own, 'x')
try('ZRANGEBYSCORE', own, 1, 1)
try('ZREM', own, 'x')
try('ZREMRANGEBYSCORE', own, 1, 1)
try('ZREMRANGEBYRANK', own, 1, 1)
try('UNLINK', own)
try('HSET', own, 'x', 1)
try('HGET', own, 'x')
try('HDEL', own, 'x')
try('UNLINK', own)
try('SET', own, 1)
for _, command in ipairs({'GET', 'INCR', 'EXISTS'}) do try(command, own) end
try('INCRBY', own, 1)
try('EXPIRE', own, 1)
try('DEL', own)
redis.pcall('UNLINK', own)
return refused
