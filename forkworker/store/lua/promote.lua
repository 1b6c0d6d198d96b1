-- Moves due payloads from a sorted set to their next home, each only if it is still there.
-- KEYS  1: retry or schedule  2: queues  3: dead  then one queue for each payload (dead: it is no job)
-- ARGV  1: now  then for each: payload, name of its queue ('' for dead), new payload
-- One whose payload stays as it was goes back to the head of its queue, where it came from.
-- Returns how many were moved; one whose home cannot take it (a key of another type) stays where it is.
local moved = 0
for i = 2, #ARGV, 3 do
  local home, queue = KEYS[3 + (i + 1) / 3], ARGV[i + 1]
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    local given
    if queue == '' then given = redis.pcall('ZADD', home, ARGV[1], ARGV[i + 2])
    elseif ARGV[i + 2] == ARGV[i] then given = redis.pcall('RPUSH', home, ARGV[i])
    else given = redis.pcall('LPUSH', home, ARGV[i + 2]) end
    if type(given) ~= 'table' then
      redis.call('ZREM', KEYS[1], ARGV[i])
      if queue ~= '' then redis.pcall('SADD', KEYS[2], queue) end
      moved = moved + 1
    end
  end
end
return moved
