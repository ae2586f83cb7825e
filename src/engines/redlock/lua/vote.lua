-- vote: accept the owner `value` with the token `p`, if p is larger than every token that this node ever accepted for the lock.
--
-- ARGV  3 not after this time (0: whenever)  4 value  5 p  6 how long, in ms  7 replica  8 renewal token  9 client
--       10 metadata  11 hold count
--
-- Returns  yes       accepted, or accepted before: it now lasts at least that long
--          held      by another value: last, ms left, digest of that value, and if it is one of ours: client,
--                    token, since
--          low       p is too small: last
--          late, stranger, quiet
local function vote()
  local aside = stands_aside()
  if aside then return aside end
  local no_later, value, p, life = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  -- Who stood still while the question was on its way would accept for somebody who has given up long ago.
  if no_later > 0 and now > no_later then return answer('late') end
  turn_floor()
  local held = held_value()
  local record = redis.call('HMGET', KEYS[3], 'last', 'owner', 'client', 'since')
  local last = last_of(record[1])
  if held and held ~= value then
    local ours = record[2] == held
    if ours then redis.call('HSET', KEYS[3], 'wanted', '1') end
    local left, digest = redis.call('PTTL', KEYS[2]), redis.sha1hex(held)
    if not ours then return answer('held', digits(last), left, digest) end
    return answer('held', digits(last), left, digest, record[3], record[1], record[4])
  end
  local again = p == tonumber(record[1] or 0) and record[2] == value and p > raised
  if not (p > last or again) then return answer('low', digits(last)) end

  if held then
    local left = redis.call('PTTL', KEYS[2])
    if left > life then life = left end
  end
  redis.call('SET', KEYS[2], value, 'PX', life)
  if not again then
    redis.call('DEL', KEYS[3])
    redis.call('HSET', KEYS[3], 'since', digits(now))
  end
  redis.call('HSET', KEYS[3], 'last', ARGV[5], 'owner', value, 'by', ARGV[7], 'renewal', ARGV[8], 'client', ARGV[9],
    'metadata', ARGV[10], 'holds', ARGV[11], 'life', life)
  redis.call('PEXPIRE', KEYS[3], life + record_life)
  if p > high then redis.call('HSET', KEYS[1], 'high', ARGV[5]) end
  return answer('yes', ARGV[5])
end

-- extend: what is held stays held for longer. For replicas that did not grant it: they know the owner's secret, and no more.
--
-- ARGV  3 value, or empty  4 renewal token, where that is the proof  5 how long, in ms (0: as long as it was granted for)
--       6 replica  7 client, or empty
--
-- Returns  yes with token and life; no; stranger, quiet
local function extend()
  local aside = stands_aside()
  if aside then return aside end
  local held = held_value()
  local record = redis.call('HMGET', KEYS[3], 'last', 'owner', 'renewal', 'client', 'life')
  local mine = held and record[2] == held and
    (held == ARGV[3] or (ARGV[3] == '' and ARGV[4] ~= '' and record[3] == ARGV[4])) and (ARGV[7] == '' or record[4] == ARGV[7])
  if not mine then return answer('no') end
  local life = tonumber(ARGV[5])
  if life == 0 then life = tonumber(record[5]) end
  local left = redis.call('PTTL', KEYS[2])
  redis.call('PEXPIRE', KEYS[2], left > life and left or life)
  redis.call('HSET', KEYS[3], 'by', ARGV[6])
  redis.call('PEXPIRE', KEYS[3], (left > life and left or life) + record_life)
  return answer('yes', record[1], life)
end
