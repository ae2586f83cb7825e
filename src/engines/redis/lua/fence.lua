-- --- the fence: tokens that never go back, and no owner before the last one is gone (docs/adr/0004, 0008)
--
-- One record of numbers of 16 digits, after the 16 hex digits of the incarnation of the store that it was written by; see
-- docs/spec/redis-keys.md. A store of another incarnation may have lost what its predecessor granted: tokens go on above what
-- that can have used, and nothing is granted before the latest end that it can have told.

local fence
function rule.fence_record()
  if fence then return fence end
  local raw = fence_text or redis.call('GET', tag .. 'fence')
  local function number(i) return raw and tonumber(string.sub(raw, i * 16 + 1, i * 16 + 16)) or 0 end
  fence = {store = raw and string.sub(raw, 1, 16), last = number(1), ceiling = number(2),
           confirmed = number(3), horizon = number(4), confirmed_horizon = number(5), closed = number(6), since = number(7),
           skew = number(8), latest = number(9)}
  local f = fence
  if f.store ~= store then
    local lost = not f.store or f.store ~= ask.moved_from
    f.store, f.dirty = store, true
    f.confirmed, f.confirmed_horizon = 0, 0
    if lost and f.ceiling > f.last and not ask.counter then f.last = f.ceiling end
    if lost and ask.exclusive and f.horizon > f.closed then
      -- Since the ceiling was raised the last time that we know of, renewals may have been lost.
      local raised = f.ceiling - ask.ahead
      if f.closed <= now or raised < f.since then f.since = raised end
      f.closed = f.horizon
    end
  end
  return f
end
function rule.save_fence()
  if not fence or not fence.dirty then return end
  local n = '%016.0f'
  redis.call('SET', tag .. 'fence', fence.store .. string.format(n .. n .. n .. n .. n .. n .. n .. n .. n, fence.last, fence.ceiling,
    fence.confirmed, fence.horizon, fence.confirmed_horizon, fence.closed, fence.since, fence.skew, fence.latest) ..
    (behind ~= 0 and string.format(n, behind) or ''))
end

-- Why nothing can be granted right now; false: it can.
local cannot_grant
function rule.fence_is_shut()
  if cannot_grant ~= nil then return cannot_grant end
  cannot_grant = false
  local f = rule.fence_record()
  if ask.counter then return false end
  if f.closed > now then
    cannot_grant = 'closed'
  elseif (f.last + 1 > now and f.last + 1 or now) > f.confirmed then
    cannot_grant = 'ceiling'
  end
  return cannot_grant
end
function rule.mint()
  local f = rule.fence_record()
  f.last = (ask.counter or f.last + 1 > now) and f.last + 1 or now  -- `counter`: for tests of the tests
  f.dirty = true
  return f.last
end

-- While nothing can be granted, what lived when that began lives on: its owner may know of a later end, from a renewal that
-- was lost, or by a clock that was not set.
function rule.lasting(instant)
  if instant > now then return instant end
  local f = rule.fence_record()
  return f.closed > now and instant >= f.since and f.closed or instant
end
-- Ends beyond what the horizon covers are kept here as well, for when the clock is set.
function rule.reach(stop)
  if stop <= now + ask.covered or stop == NEVER then return end
  local f = rule.fence_record()
  if stop > f.latest then f.latest, f.dirty = stop, true end
end
