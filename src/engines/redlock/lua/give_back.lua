-- give_back: the lock is free again, if it is `value` that holds it. Whoever asks is the owner, or undoes what it asked for. Also
-- a node that stands aside gives back.
--
-- ARGV  3 value  4 client, or empty  5 only if this replica was the last that extended it, or empty
--       6 channel  7 name of the lock  8 tell everybody: 1, or 0 for only if somebody wanted it
--       9 not if it is held more than once: 1
--
-- force: the same for whoever holds it, if that is one of ours, and has this token (0: any).
--
-- ARGV  3 token  4 channel  5 name of the lock
--
-- Returns  yes with token; no; reentered
local function let_go(record, channel, name, tell)
  redis.call('DEL', KEYS[2])
  if record[1] then  -- with pcall: a server that is out of memory deletes, and writes nothing
    redis.pcall('HSET', KEYS[3], 'owner', '')  -- a late vote for the same owner is not accepted any more
    redis.pcall('HDEL', KEYS[3], 'by', 'renewal', 'client', 'metadata', 'holds', 'life', 'since', 'wanted')
    redis.call('PEXPIRE', KEYS[3], record_life)
  end
  if tell then redis.call('PUBLISH', channel, name) end
  return answer('yes', record[1] or '0')
end

local function give_back()
  local record = redis.call('HMGET', KEYS[3], 'last', 'owner', 'client', 'by', 'holds', 'wanted')
  if held_value() ~= ARGV[3] then
    -- It may be gone because its time is over: then the record must not let a late vote in either.
    if record[2] == ARGV[3] then redis.pcall('HSET', KEYS[3], 'owner', '') end
    return answer('no')
  end
  if ARGV[4] ~= '' and record[3] ~= ARGV[4] then return answer('no') end
  if ARGV[5] ~= '' and record[4] ~= ARGV[5] then return answer('no') end
  if ARGV[9] == '1' and tonumber(record[5] or 1) > 1 then return answer('reentered') end
  return let_go(record, ARGV[6], ARGV[7], ARGV[8] == '1' or record[6])
end

local function force()
  local aside = stands_aside()
  if aside then return aside end
  local record = redis.call('HMGET', KEYS[3], 'last', 'owner')
  local held = held_value()
  if not held or held ~= record[2] then return answer('no') end
  if ARGV[3] ~= '0' and ARGV[3] ~= record[1] then return answer('no') end
  return let_go(record, ARGV[4], ARGV[5], true)
end

-- look: who holds it?
--
-- Returns  look with the digest of the value (empty: nobody), ms left, last, and if it is one of ours: token, client, since,
--          metadata, hold count; stranger, quiet
local function look()
  local aside = stands_aside()
  if aside then return aside end
  local held = held_value()
  local record = redis.call('HMGET', KEYS[3], 'last', 'owner', 'client', 'since', 'metadata', 'holds')
  local last = digits(last_of(record[1]))
  if not held then return answer('look', '', 0, last) end
  local digest, left = redis.sha1hex(held), redis.call('PTTL', KEYS[2])
  if record[2] ~= held then return answer('look', digest, left, last) end
  return answer('look', digest, left, last, record[1], record[3], record[4], record[5], record[6])
end
