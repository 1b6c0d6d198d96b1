-- Forgets the working lists of one that has gone, as far as they are empty.
-- KEYS  1: working  2: origins  3: settled:IDENTITY  then the working lists
-- ARGV  1: IDENTITY
-- Returns how many lists still hold something.
local full = 0
for i = 4, #KEYS do
  if redis.call('LLEN', KEYS[i]) == 0 then redis.call('SREM', KEYS[1], KEYS[i]) else full = full + 1 end
end
if full == 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('UNLINK', KEYS[3])
end
return full
