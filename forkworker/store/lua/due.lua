-- Reads what is due in the retry set and the schedule; changes nothing.
-- KEYS  1: retry  2: schedule
-- ARGV  1: now  2: how many of each at the most  3, 4: how many to pass over in retry, in the schedule
-- Returns the due of retry, the due of schedule, and the score of the first that is not due yet (false: none).
local due, next_score = {}, false
for i = 1, 2 do
  due[i] = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', ARGV[1], 'LIMIT', ARGV[2 + i], ARGV[2])
  local later = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if later[2] and (not next_score or tonumber(later[2]) < tonumber(next_score)) then next_score = later[2] end
end
return {due[1], due[2], next_score}
