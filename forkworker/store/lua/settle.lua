-- Settles a batch: takes each payload out of its working list and, only if it was there, gives it its next home.
-- KEYS  1: settled:IDENTITY  2: retry  3: dead  4..7: stat:processed, stat:failed and the same of the day
--       then pairs: working list, queue
-- ARGV  1: number of the batch  2: now  3: most dead  4: seconds the dead are kept  5: seconds daily counters are kept
--       then for each: kind, which pair, payload, new payload, score
--       kinds: done, failed (gone for good), retry, bury, reject (buried, not counted), back (head of its queue)
-- Returns one character for each: 1 settled, 0 the payload was no longer in the working list,
--       2 its next home cannot take it (a key of another type): it is still in the working list, as the oldest.
-- A batch sent again, as its reply was lost, changes nothing and returns the first result.
local number, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local last, result = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(.*)$')
if last and tonumber(last) >= number then return result end
local processed, failed, buried, flags = 0, 0, false, {}
-- Redis does not undo what a script did before an error: what may fail is tried first, or put right
local function give_home(kind, pair, i)
  if kind == 'retry' then return redis.pcall('ZADD', KEYS[2], ARGV[i + 4], ARGV[i + 3]) end
  if kind == 'bury' or kind == 'reject' then return redis.pcall('ZADD', KEYS[3], ARGV[i + 4], ARGV[i + 3]) end
  if kind == 'back' then return redis.pcall('RPUSH', KEYS[7 + 2 * pair], ARGV[i + 2]) end
  return 1
end
local function count(total, day, n)
  if n > 0 then
    redis.pcall('INCRBY', total, n)
    redis.pcall('INCRBY', day, n)
    redis.pcall('EXPIRE', day, ARGV[5])
  end
end
for i = 6, #ARGV, 5 do
  local kind, pair, payload = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local mine = redis.call('LREM', KEYS[6 + 2 * pair], -1, payload)
  local given = mine == 1 and give_home(kind, pair, i)
  if type(given) == 'table' and given.err then
    redis.call('RPUSH', KEYS[6 + 2 * pair], payload)
    mine = 2
  end
  flags[#flags + 1] = mine
  if mine == 1 then
    buried = buried or kind == 'bury' or kind == 'reject'
    if kind ~= 'back' and kind ~= 'reject' then
      processed = processed + 1
      if kind ~= 'done' then failed = failed + 1 end
    end
  end
end
if buried then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[4]))
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -tonumber(ARGV[3]) - 1)
end
count(KEYS[4], KEYS[6], processed)
count(KEYS[5], KEYS[7], failed)
result = table.concat(flags)
redis.call('SET', KEYS[1], number .. ':' .. result, 'EX', 604800)
return result
