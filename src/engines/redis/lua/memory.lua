-- --- memos: what one request id came to
--
-- kind: waiter (id) | leases (slots) | reentered (slots) | refused (why) | cancelled | done (what)
-- slot: {lock, id, token, how it ended or ''}

local kept = {}  -- by key: has been written in this step

-- A memo that the plain case has put away is the whole record of the lock as it was then.
function rule.read_memo(at)
  local raw = redis.call('GET', at)
  local r = rule.plain_record(raw)
  local m
  if r then
    m = rule.plain_memos(string.match(at, '^m:([^\n]*)\n', #tag + 1), r)[at]
  else
    m = unpacked(raw)
  end
  if m then m.key = at end
  return m
end
-- By its key; of a memo that is still in the record of its lock `l`, that one.
function rule.memo_at(at, l) return l and l.memos and l.memos[at] or rule.read_memo(at) end
function rule.find_memo(scope, client, request)
  if request == '' then return nil end
  local m = rule.memo_at(memo_key(scope, client, request), scope ~= '' and rule.lock_as_stored(scope) or nil)
  return m and m.forget > now and m or nil
end
-- Kept until `instant`; then for as long as outcomes are remembered.
function rule.keep_memo(m, instant)
  local at = m.key
  m.key = nil
  m.forget = (instant or now) + ask.memory
  redis.call('SET', at, pack(m), 'PX', life(m.forget))
  m.key = at
  kept[at] = true
end
function rule.new_memo(scope, client, request, print)
  return {key = memo_key(scope, client, request), print = print, at = now, kind = 'cancelled'}
end
