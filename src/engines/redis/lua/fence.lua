-- --- the fence: tokens that never go back (docs/adr/0004)
--
-- One record of seven numbers of 16 digits: the incarnation of the store that it was written by (16 hex digits), then: last
-- token; the ceiling that tokens may reach, as proposed and as confirmed by the replicas; the same for the ends of leases; and
-- until when nothing is granted.

local fence
local function fence_record()
  if fence then return fence end
  local raw = redis.call('GET', tag .. 'fence')
  local function number(i) return tonumber(string.sub(raw, i * 16 + 1, i * 16 + 16)) end
  if not raw then raw = string.rep('0', 112) end
  fence = {store = string.sub(raw, 1, 16), last = number(1), ceiling = number(2), confirmed = number(3),
           horizon = number(4), confirmed_horizon = number(5), closed = number(6)}
  return fence
end
local function save_fence()
  if not fence or not fence.dirty then return end
  local n = '%016.0f'
  redis.call('SET', tag .. 'fence', fence.store .. string.format(n .. n .. n .. n .. n .. n, fence.last, fence.ceiling,
    fence.confirmed, fence.horizon, fence.confirmed_horizon, fence.closed))
end
-- Why nothing can be granted right now; nil: it can. A store of another incarnation may have lost what its predecessor
-- granted: everything starts above what that could have done.
local cannot_grant
local function fence_is_shut()
  if cannot_grant ~= nil then return cannot_grant end
  local f = fence_record()
  if f.store ~= store then
    f.dirty = true
    f.store = store
    if f.ceiling > f.last then f.last = f.ceiling end
    f.confirmed, f.confirmed_horizon = 0, 0
    if ask.exclusive and f.horizon > f.closed then f.closed = f.horizon end
  end
  cannot_grant = false
  if f.closed > now then
    cannot_grant = 'closed'
  elseif (f.last + 1 > now and f.last + 1 or now) > f.confirmed then
    cannot_grant = 'ceiling'
  end
  return cannot_grant
end
local function mint()
  local f = fence_record()
  f.last = f.last + 1 > now and f.last + 1 or now
  f.dirty = true
  return f.last
end
