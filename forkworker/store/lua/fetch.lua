-- Takes up to so many payloads from queues into the taker's working lists.
-- KEYS  1: taken:IDENTITY   then pairs: queue, working list
-- ARGV  1: how many at the most   then, if the queues are to share, how many of each
-- Without shares each queue is emptied before the next.  What some lack in their shares is made up by the
-- others, the first of them first.
-- Returns for each queue looked at the payloads taken, in the order in which they are to run.
-- Fails with TAKEN, and takes nothing, once others have declared the taker dead.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('TAKEN this process was declared dead and its jobs were taken over')
end
local left, all = tonumber(ARGV[1]), {}
local function take(queue, most)
  local newest_first = redis.call('LRANGE', KEYS[2 * queue], -most, -1)
  local n = #newest_first
  local payloads = {}
  for j = 1, n do payloads[j] = newest_first[n + 1 - j] end
  if n > 0 then
    redis.call('LPUSH', KEYS[2 * queue + 1], unpack(payloads))
    redis.call('LTRIM', KEYS[2 * queue], 0, -n - 1)
    left = left - n
  end
  return payloads
end
for queue = 1, (#KEYS - 1) / 2 do
  if left <= 0 then break end
  local share = math.min(tonumber(ARGV[queue + 1]) or left, left)
  all[queue] = share > 0 and take(queue, share) or {}
end
for queue, payloads in ipairs(all) do
  if left > 0 and #payloads == tonumber(ARGV[queue + 1]) then
    for _, payload in ipairs(take(queue, left)) do payloads[#payloads + 1] = payload end
  end
end
return all
