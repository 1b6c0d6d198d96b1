-- Takes payloads out of a queue: to the dead set, or away for good; each only if it is still there.
-- KEYS  1: queue  2: dead
-- ARGV  1: now  2: position, counted from the head, near which they were seen  3: how many entries to look at there
--       then for each: payload, form for the dead set or '' for none
-- Returns one character for each: 1 taken out, 0 not there any more, or the dead set does not take it.
-- A payload that is not near its place is searched in the whole queue.  Sent again it finds them gone.
local window, from = redis.call('LRANGE', KEYS[1], -(ARGV[2] + ARGV[3]), -(ARGV[2] + 1)), {}
for i = #window, 1, -1 do
  local places = from[window[i]] or {}
  places[#places + 1] = ARGV[2] + #window - i + 1
  from[window[i]] = places
end
-- the queue loses its entries at the end, in one pass: until then the places stay, and a mark stands in each
local mark = '\0withdrawn\0' .. ARGV[1]
local flags, marked = {}, 0
local function withdraw(i)
  local payload, form = ARGV[i], ARGV[i + 1]
  local places = from[payload]
  local place = places and table.remove(places, 1)
  local far = not place and redis.call('LPOS', KEYS[1], payload, 'RANK', -1)
  if not place and not far then return '0' end
  if form ~= '' and redis.pcall('ZADD', KEYS[2], 'NX', ARGV[1], form) ~= 1 then return '0' end
  redis.call('LSET', KEYS[1], far or -place, mark)
  marked = marked + 1
  return '1'
end
for i = 4, #ARGV, 2 do flags[#flags + 1] = withdraw(i) end
local is_near_tail = 2 * ARGV[2] > redis.call('LLEN', KEYS[1])
if marked > 0 then redis.call('LREM', KEYS[1], is_near_tail and marked or -marked, mark) end
return table.concat(flags)
