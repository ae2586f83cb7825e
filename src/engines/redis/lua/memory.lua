-- --- memos: what one request id came to
--
-- kind: waiter (id) | leases (slots) | reentered (slots) | refused (why) | cancelled | done (what)
-- slot: {lock, id, token, how it ended or ''}

local kept = {}  -- by key: has been written in this step
local lock_as_stored  -- see locks.lua

-- A memo that the plain case has put away is the whole record of the lock as it was then.
local function read_memo(at)
  local raw = redis.call('GET', at)
  local r = plain_record(raw)
  local m
  if r then
    m = plain_memos(string.match(at, '^m:([^\n]*)\n', #tag + 1), r)[at]
  else
    m = unpacked(raw)
  end
  if m then m.key = at end
  return m
end
-- By its key; of a memo that is still in the record of its lock `l`, that one.
local function memo_at(at, l) return l and l.memos and l.memos[at] or read_memo(at) end
local function find_memo(scope, client, request)
  if request == '' then return nil end
  local m = memo_at(memo_key(scope, client, request), scope ~= '' and lock_as_stored(scope) or nil)
  return m and m.forget > now and m or nil
end
-- Kept until `instant`; then for as long as outcomes are remembered.
local function keep_memo(m, instant)
  local at = m.key
  m.key = nil
  m.forget = (instant or now) + ask.memory
  redis.call('SET', at, pack(m), 'PX', life(m.forget))
  m.key = at
  kept[at] = true
end
local function new_memo(scope, client, request, print)
  return {key = memo_key(scope, client, request), print = print, at = now, kind = 'cancelled'}
end
