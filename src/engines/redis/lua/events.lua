-- Writes down what happened, in one order for all replicas, and answers what the asking one has not read yet.
--
-- KEYS: the stream. ARGV: the last id that was read; how many events are kept; the channel by which others are told to read,
-- and who asks; then how many events there are to write, and the events.
-- An entry holds many of them: their number, how many there have been up to here, and their text. Its id is the number of
-- its first event, in microseconds; they rise one by one within an entry, and also when the clock does not.
local read, kept, channel, me, count = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local function field(entry, name)
  for i = 1, #entry[2], 2 do if entry[2][i] == name then return entry[2][i + 1] end end
end
local function first_event(entry) return tonumber(string.match(entry[1], '^%d+')) end
if count > 0 then
  local clock = redis.call('TIME')
  local first, written = clock[1] * 1000000 + clock[2], count
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  if newest then
    local free = first_event(newest) + field(newest, 'count')
    first = free > first and free or first
    written = field(newest, 'written') + count
  end
  redis.call('XADD', KEYS[1], string.format('%.0f-0', first), 'count', count, 'written', string.format('%.0f', written), 'events', ARGV[6])
  for _ = 1, 4 do
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    if written - field(oldest, 'written') < kept then break end
    redis.call('XDEL', KEYS[1], oldest[1])
  end
  redis.call('PUBLISH', channel, me)
end
return redis.call('XRANGE', KEYS[1], '(' .. read, '+', 'COUNT', 50)
