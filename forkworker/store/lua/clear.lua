-- Deletes a whole queue with its name, or a whole sorted set.
-- KEYS  1: queue or sorted set  2: queues
-- ARGV  1: name of the queue, '' for a set
-- Returns how many entries it had.  Sent again it returns 0, or what has come since.
local size
if ARGV[1] == '' then
  size = redis.call('ZCARD', KEYS[1])
else
  size = redis.call('LLEN', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[1])
end
redis.call('UNLINK', KEYS[1])
return size
