-- Writes down what happened, in one order for all replicas, and answers what the asking one has not read yet.
--
-- KEYS: the stream. ARGV: the last id that was read; how many events are kept; the channel by which others are told to read,
-- and who asks; then eight words an event: type, at, lock, client, token, mode, reason, took.
-- Ids are microseconds, and rise also when the clock does not.
local read, kept, channel, me = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if #ARGV > 4 then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000000 + clock[2]
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  local last = newest and tonumber(string.match(newest[1], '^%d+')) or 0
  for i = 5, #ARGV, 8 do
    last = last + 1 > now and last + 1 or now
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, string.format('%.0f-0', last), 'type', ARGV[i], 'at', ARGV[i + 1], 'lock', ARGV[i + 2],
      'client', ARGV[i + 3], 'token', ARGV[i + 4], 'mode', ARGV[i + 5], 'reason', ARGV[i + 6], 'took', ARGV[i + 7])
  end
  redis.call('PUBLISH', channel, me)
end
return redis.call('XRANGE', KEYS[1], '(' .. read, '+', 'COUNT', 1000)
