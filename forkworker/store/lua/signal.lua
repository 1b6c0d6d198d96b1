-- Leaves a signal for a process, which its keeper passes on with the next beat.
-- KEYS  1: IDENTITY  2: IDENTITY-signals
-- ARGV  1: name of the signal  2: seconds for which it is kept
-- Returns 1, or 0 if there is no such process.
if redis.call('HEXISTS', KEYS[1], 'info') == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
