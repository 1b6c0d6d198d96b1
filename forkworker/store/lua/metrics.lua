-- Adds to Sidekiq's metrics what jobs of some names have done.
-- KEYS  1: hash of the minute  2: hash of the ten minutes  then for each name its histogram of the minute
-- ARGV  1: seconds for which a minute is kept  2: the same of ten minutes
--       then for each name: name, runs, failures, milliseconds, and 26 counts for the histogram
-- Returns the number of names.  Sent again it counts again.  A key of another type is passed over.
local width = 30
local function add(field, n)
  if n ~= '0' then
    redis.pcall('HINCRBY', KEYS[1], field, n)
    redis.pcall('HINCRBY', KEYS[2], field, n)
  end
end
for i = 3, #KEYS do
  local at = 3 + (i - 3) * width
  add(ARGV[at] .. '|p', ARGV[at + 1])
  add(ARGV[at] .. '|f', ARGV[at + 2])
  add(ARGV[at] .. '|ms', ARGV[at + 3])
  local command = {'BITFIELD', KEYS[i], 'OVERFLOW', 'SAT'}
  for n = 0, width - 5 do
    local count = ARGV[at + 4 + n]
    if count ~= '0' then
      for _, word in ipairs({'INCRBY', 'u16', '#' .. n, count}) do command[#command + 1] = word end
    end
  end
  if #command > 4 then
    redis.pcall(unpack(command))
    redis.pcall('EXPIRE', KEYS[i], ARGV[1])
  end
end
redis.pcall('EXPIRE', KEYS[1], ARGV[1])
redis.pcall('EXPIRE', KEYS[2], ARGV[2])
return #KEYS - 2
