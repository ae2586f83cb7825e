-- --- memos: what one request id came to
--
-- kind: waiter (id) | leases (slots) | reentered (slots) | refused (why) | cancelled | done (what)
-- slot: {lock, id, token, how it ended or ''}

local function find_memo(scope, client, request)
  if request == '' then return nil end
  local at = memo_key(scope, client, request)
  local m = unpacked(redis.call('GET', at))
  if not m or m.forget <= now then return nil end
  m.key = at
  return m
end
-- Kept until `instant`; then for as long as outcomes are remembered.
local function keep_memo(m, instant)
  local at = m.key
  m.key = nil
  m.forget = (instant or now) + ask.memory
  redis.call('SET', at, pack(m), 'PX', life(m.forget))
  m.key = at
end
local function new_memo(scope, client, request, print)
  return {key = memo_key(scope, client, request), print = print, at = now, kind = 'cancelled'}
end
