-- Takes up to so many payloads from queues, in the order given, into the taker's working lists.
-- KEYS  1: taken:IDENTITY   then pairs: queue, working list
-- ARGV  1: how many at the most
-- Returns for each queue looked at the payloads taken, in the order in which they are to run.
-- Fails with TAKEN, and takes nothing, once others have declared the taker dead.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('TAKEN this process was declared dead and its jobs were taken over')
end
local left, all = tonumber(ARGV[1]), {}
for i = 2, #KEYS, 2 do
  local newest_first = redis.call('LRANGE', KEYS[i], -left, -1)
  local n = #newest_first
  local payloads = {}
  for j = 1, n do payloads[j] = newest_first[n + 1 - j] end
  if n > 0 then
    redis.call('LPUSH', KEYS[i + 1], unpack(payloads))
    redis.call('LTRIM', KEYS[i], 0, -n - 1)
    left = left - n
  end
  all[#all + 1] = payloads
  if left <= 0 then break end
end
return all
