-- Declares an owner dead, unless it has shown a sign of life since it was last looked at.
-- From then on its fetches and beats fail; its jobs are restored next.
-- KEYS  1: IDENTITY  2: taken:IDENTITY  3: processes  4: IDENTITY:work  5: IDENTITY:workers  6: IDENTITY-signals
-- ARGV  1: IDENTITY  2: the beat last seen ('' for none)  3: seconds for which the owner may wake up
-- Returns 1 if the owner counts as dead now, else 0.
local beat = redis.call('HGET', KEYS[1], 'beat') or ''
if beat ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], 1, 'EX', ARGV[3])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('UNLINK', KEYS[1], KEYS[4], KEYS[5], KEYS[6])
return 1
