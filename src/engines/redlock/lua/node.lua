--- One node of a redlock set: what it is asked, and what it must not forget.
--
-- KEYS[1]  the node's memory   hash, never expires
-- KEYS[2]  the lock            string, the owner's value; shared with every other redlock library
-- KEYS[3]  the lock's record   hash, expires when it cannot matter any more
-- ARGV[1]  the incarnation of this server, as learned on the connection that carries the call
-- ARGV[2]  the verb; the rest is its own
--
-- Returns  {word, the node's time in microseconds, ...}
--
-- Atomic       one script.
-- Idempotent   all verbs: a repeated question is answered again, and changes nothing more.
-- Clock        the node's, for ends. What may be granted is decided by tokens, not by time.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function digits(n) return string.format('%.0f', n) end
local function answer(word, ...) return {word, digits(now), ...} end

local memory = redis.call('HMGET', KEYS[1], 'run', 'until', 'raised', 'floor', 'before', 'high', 'turned')
local run = memory[1] or ''
local quiet_until = tonumber(memory[2] or 0)
local raised, floor, before = tonumber(memory[3] or 0), tonumber(memory[4] or 0), tonumber(memory[5] or 0)
local high, turned = tonumber(memory[6] or 0), tonumber(memory[7] or 0)

-- A node that may have forgotten something does not count: it never was admitted in this life, or is still waiting for all that
-- it may have granted in an earlier one to be over.
local function stands_aside()
  if run ~= ARGV[1] then return answer('stranger') end
  if quiet_until > 0 then return answer('quiet', digits(quiet_until)) end
end

-- A lock's record lives for three periods after it was last written. What is forgotten with it is covered by the floor, which
-- follows the largest token of the whole node one to three periods later, so that it is in nobody's way. Every step errs
-- towards a floor that is too high, also where the clock jumps.
local period = 10000000
local record_life = 3 * period / 1000
local function turn_floor()
  local since = now - turned
  if since >= 0 and since < period then return end
  if since < 0 or since >= 2 * period then before = high end
  floor, before, turned = before, high, now
  if raised > floor then floor = raised end
  redis.call('HSET', KEYS[1], 'floor', digits(floor), 'before', digits(before), 'turned', digits(turned))
end
-- The largest token that this node has accepted for the lock, or may have.
local function last_of(record)
  local last = tonumber(record or 0)
  return last > floor and last or floor
end

-- What the key holds: false for nothing, and never an owner's value where it is not even a string.
local function held_value()
  local value = redis.pcall('GET', KEYS[2])
  return type(value) == 'table' and '' or value
end
