-- Settles a batch: takes each payload out of its working list and, only if it was there, gives it its next home.
-- KEYS  1: settled:IDENTITY  2: retry  3: dead  4..7: stat:processed, stat:failed and the same of the day
--       then pairs: working list, queue
-- ARGV  1: number of the batch  2: now  3: most dead  4: seconds the dead are kept  5: seconds daily counters are kept
--       then, in order, for some that are done: done, pair, how many, payloads; else: kind, pair, payload, new, score
--       kinds: failed (gone for good), retry, bury, reject (buried, not counted), back (head of its queue)
-- Returns one character for each: 1 settled, 0 the payload was no longer in the working list,
--       2 its next home cannot take it (a key of another type): it is still in the working list, as the oldest.
-- A batch sent again, as its reply was lost, changes nothing and returns the first result.
local number, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local last, result = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(.*)$')
if last and tonumber(last) >= number then return result end
local processed, failed, buried, flags = 0, 0, false, {}
local homes = {retry = 2, bury = 3, reject = 3}
local function settle(kind, pair, i)
  local list, payload, home, given = KEYS[6 + 2 * pair], ARGV[i + 2], homes[kind], nil
  if redis.call('LREM', list, -1, payload) == 0 then return 0 end
  if home then given = redis.pcall('ZADD', KEYS[home], ARGV[i + 4], ARGV[i + 3]) end
  if kind == 'back' then given = redis.pcall('RPUSH', KEYS[7 + 2 * pair], payload) end
  if type(given) == 'table' then -- an error does not undo what was done before it
    redis.call('RPUSH', list, payload)
    return 2
  end
  buried = buried or home == 3
  if kind == 'retry' or kind == 'bury' or kind == 'failed' then processed, failed = processed + 1, failed + 1 end
  return 1
end
local i = 6
while i <= #ARGV do
  local kind, pair = ARGV[i], tonumber(ARGV[i + 1])
  if kind == 'done' then
    local first, count = i + 3, tonumber(ARGV[i + 2])
    for j = first, first + count - 1 do
      flags[#flags + 1] = redis.call('LREM', KEYS[6 + 2 * pair], -1, ARGV[j])
      processed = processed + flags[#flags]
    end
    i = first + count
  else
    flags[#flags + 1] = settle(kind, pair, i)
    i = i + 5
  end
end
if buried then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[4]))
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -tonumber(ARGV[3]) - 1)
end
for k, n in pairs({[4] = processed, [5] = failed}) do
  if n > 0 then
    redis.pcall('INCRBY', KEYS[k], n)
    redis.pcall('INCRBY', KEYS[k + 2], n)
    redis.pcall('EXPIRE', KEYS[k + 2], ARGV[5])
  end
end
redis.call('SET', KEYS[1], number .. ':' .. table.concat(flags), 'EX', 604800)
return table.concat(flags)
