-- The rules by which locks change, for everything that is not the plain case.
--
-- One call of a script is one atomic decision at the server's time. It is a second writing of src/core/lock_table.cpp, which
-- is the reference: the conformance suite and the differential test hold the two together. docs/spec/redis-keys.md says
-- what every key is.
--
-- ARGV: the incarnation of the store, as learned on the connection that this call came by; the request, as JSON (or what plain.lua
-- says); the latest instant that the store's clock can show unless it was set, or '' (then nobody knows yet).
-- ask: the request, decoded. Instants are microseconds since 1970: whole numbers below 2^53, which a Lua number holds exactly.

local events, told = {}, {}      -- what happened; what waiters of the asking replica are to be told
local locks, waiters, sessions, beats = {}, {}, {}, nil  -- what this step has looked at
local counted = 0  -- by how many leases there are more or less now
local grants_left, drops_left = 64, 256
local NEVER = 9007199254740991

-- The common part of a call that was not decided above.
local function common(house)
  local function number(from, to) return tonumber(string.sub(house, from, to)) end
  local function flag(at) return string.sub(house, at, at) == '1' or nil end
  local tag_ends = number(2, 4)
  return {verb = ({a = 'acquire', r = 'release', n = 'renew'})[string.sub(house, 1, 1)], tag = string.sub(KEYS[1], 1, tag_ends),
          canonical = string.sub(KEYS[2], 1, tag_ends + 4 - #KEYS[1]), here = flag(5), exclusive = flag(6), cluster = flag(7),
          counter = flag(8), patient = flag(9), grace = number(10, 21), memory = number(22, 33), lapse = number(34, 45),
          ahead = number(46, 57), covered = number(58, 69), queue_max = number(70, 79), me = string.match(house, '^[^\n]*', 80)}
end
local ask = ARGV[4] and common(ARGV[2]) or cjson.decode(ARGV[2])
local tag, canonical = ask.tag, ask.canonical
local store = string.sub(ARGV[1], 1, 16)
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- On a Cluster the record of another store says that the slot was moved here, or that its node has failed. Those who ask find out
-- which, and say so when they raise the ceiling (tending.lua). Time goes on as they knew it: another server has another clock.
local fence_text = ask.cluster and redis.call('GET', tag .. 'fence')
local written_by = fence_text and string.sub(fence_text, 1, 16) or store
local behind = fence_text and tonumber(string.sub(fence_text, 161, 176)) or 0  -- by how much our time is, the server's clock
if written_by ~= store and ask.time then behind = now - ask.time end
now = now - behind
if written_by ~= store and written_by ~= ask.moved_from and written_by ~= ask.lost then
  return {string.format('%.0f', now), {'moved', written_by}, {}, {}, {}, '', string.format('%.0f', NEVER)}
end

-- A clock that is ahead of what it can show decides nothing: leases would end before their owners expect it. The asker measures
-- again, and says `stepped` if it was set.
if now > (tonumber(ARGV[3]) or NEVER) and written_by == store then
  local skew = tonumber(string.sub(redis.call('GET', tag .. 'fence') or '', 129, 144)) or 0
  return {string.format('%.0f', now), {'clock', skew}, {}, {}, {}, '', string.format('%.0f', NEVER)}
end

local function pack(value) return cmsgpack.pack(value) end
local function unpacked(raw) return raw and cmsgpack.unpack(raw) or nil end
local function digits(number) return string.format('%.0f', number) end
-- Milliseconds of life for a key that has to last until `instant`: rounded up, and one more because the store counts them
-- from its own millisecond, so that nothing ends early.
local function life(instant)
  local ms = math.ceil((instant - now) / 1000) + 1
  return digits(ms < 1 and 1 or ms)
end

local function happened(kind, lock, client, token, mode, reason, took)
  events[#events + 1] = {kind, lock or '', client or '', token or 0, mode or '', reason or '', took or 0}
end

-- --- keys

local function key(kind, name) return tag .. kind .. ':' .. name end
local function memo_key(scope, client, request) return tag .. 'm:' .. scope .. '\n' .. client .. '\n' .. request end

-- Everything else stands in one table, and what most of it uses stands last: a local variable that a function uses is looked for
-- among all that any function uses, from the last one on, whenever a function is made; that was most of the time of a step.
local rule = {}

-- A number that always rises, also when a failover has lost the last ones: whoever knew of one of those must not take another
-- waiter for his.
function rule.arrival()
  local number = redis.call('INCR', tag .. 'arrivals')
  if number >= now then return number end
  redis.call('SET', tag .. 'arrivals', digits(now))
  return now
end

-- --- replicas: a waiter lives as long as the replica that speaks for it

function rule.somebody_is_there() redis.call('SET', tag .. 'heard', digits(now), 'PX', '3600000') end
function rule.last_beat(replica)
  if not beats then
    beats = {}
    local all = redis.call('HGETALL', tag .. 'replicas')
    -- If nobody at all was heard, it was the store that was away, and nobody has died of that.
    local was_away = (tonumber(redis.call('GET', tag .. 'heard')) or now) + ask.lapse / 2 < now
    for i = 1, #all, 2 do
      beats[all[i]] = was_away and now or tonumber(all[i + 1])
      if was_away then redis.call('HSET', tag .. 'replicas', all[i], digits(now)) end
    end
    if was_away then rule.somebody_is_there() end
    if ask.me then beats[ask.me] = now end
  end
  return beats[replica] or 0
end
-- The asking replica speaks for somebody from now on.
function rule.be_heard() redis.call('HSET', tag .. 'replicas', ask.me, digits(now)) end

-- --- sessions

function rule.session_of(id)
  local s = sessions[id]
  if s == nil then
    s = unpacked(redis.call('GET', key('session', id))) or false
    sessions[id] = s
  end
  return s
end
function rule.session_lives(id)
  local s = rule.session_of(id)
  return s and not s.ended and rule.lasting(s.stop) > now
end
