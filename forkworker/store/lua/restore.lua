-- Moves payloads out of the working list of one that has died, to the head of their queue, to the dead set,
-- or, to be run apart from others, to the schedule.
-- KEYS  1: working list  2: queue  3: queues  4: dead  5: schedule  then one recovered:SHA1 for each payload
-- ARGV  1: name of the queue  2: now  3: seconds a recovery is remembered  4: recoveries that bury
--       then for each, the newest first: payload, '1' if it was running in a crash, form for the dead set or '',
--       when it may run again or '' for at once
-- Returns how many were moved, how many of these had been running, how many were buried.
-- Sent again it finds the payloads gone and counts nothing twice.  A payload leaves the working list
-- last: should its home be a key of another type, the script fails there and nothing is lost.
local moved, recovered, buried = 0, 0, 0
-- a set holds equal payloads only once, and may be a key of another type: the queue takes it then
local function can_wait(payload, at)
  return at ~= '' and redis.pcall('ZADD', KEYS[5], 'NX', at, payload) == 1
end
for i = 5, #ARGV, 4 do
  local payload, counter = ARGV[i], KEYS[5 + (i - 1) / 4]
  if redis.call('LPOS', KEYS[1], payload) then
    local crashed = ARGV[i + 1] == '1'
    local before = crashed and redis.pcall('GET', counter)
    local times = crashed and (tonumber(type(before) == 'string' and before or 0) or 0) + 1 or 0
    local bury = times >= tonumber(ARGV[4]) and ARGV[i + 2] ~= ''
    if bury then
      redis.call('ZADD', KEYS[4], ARGV[2], ARGV[i + 2])
      redis.call('DEL', counter)
      buried = buried + 1
    else
      if not can_wait(payload, ARGV[i + 3]) then
        redis.call('RPUSH', KEYS[2], payload)
        redis.pcall('SADD', KEYS[3], ARGV[1])
      end
      if crashed and redis.pcall('INCR', counter) == 1 then redis.call('EXPIRE', counter, ARGV[3]) end
    end
    redis.call('LREM', KEYS[1], 1, payload)
    moved = moved + 1
    if crashed then recovered = recovered + 1 end
  end
end
return {moved, recovered, buried}
