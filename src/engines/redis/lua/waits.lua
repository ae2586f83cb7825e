-- --- what becomes of callers and of their waiters

local function detach()
  local w = waiter_of(ask.waiter)
  if not w or w.state ~= 'waiting' then return {'done', 0} end
  for _, want in ipairs(w.wants) do lock_at(want.name) end
  if w.state ~= 'waiting' or w.epoch ~= ask.epoch or not w.attached then return {'done', 0} end
  w.attached = false
  if not w.remembered then
    drop(w, why_of('request_cancelled'), 'cancelled', 'disconnected')
    return {'done', 1}
  end
  w.grace_end = now + ask.grace
  local at = w.grace_end < w.deadline and w.grace_end or w.deadline
  redis.call('ZREM', key('of', w.replica), w.id)
  redis.call('ZADD', tag .. 'graces', digits(at), w.id)
  keep_waiter(w)
  return {'done', 2, at}
end

local function undelivered()
  local l = lock_at(ask.name)
  local lease = lease_of(l, ask.id)
  if not lease or lease.holds > 1 or lease.provisional or lease.told ~= ask.told or not lives(lease) then return {'done', 0} end
  lease.sent_to = nil
  redis.call('DEL', key('sent', lease.id))
  if lease.memos and #lease.memos > 0 then
    local was_to_end = effective_end(lease)
    lease.provisional = true
    lease.stop = now + ask.grace < was_to_end and now + ask.grace or was_to_end
    store_lease(l, lease)
    redis.call('PEXPIRE', canonical .. l.name, life(canonical_end(l)))
    return {'done', 1}
  end
  end_lease(l, lease, 'undelivered')
  hand_on(l)
  return {'done', 1}
end

-- What has become of a waiter, for the replica that speaks for it.
local function collect()
  local w = waiter_of(ask.waiter)
  if not w then return refusal(why_of('engine_unavailable')) end  -- a failover has lost it
  for _, want in ipairs(w.wants) do lock_at(want.name) end
  if w.state == 'waiting' then
    if w.deadline > now and (attached(w) or grace_end(w) > now) then
      return w.epoch == ask.epoch and queued(w) or {'elsewhere'}
    end
    give_up(w)
  end
  if w.state == 'refused' then return refusal(w.why) end
  for _, slot in ipairs(w.slots) do
    local lease = lease_of(lock_at(slot[1], true), slot[2])
    if not lease or not lives(lease) then
      local why = why_of('lock_not_held')
      return refusal(why)
    end
  end
  for _, slot in ipairs(w.slots) do
    local l = lock_at(slot[1], true)
    local lease = lease_of(l, slot[2])
    if lease.sent_to then
      lease.sent_to = nil
      redis.call('DEL', key('sent', lease.id))
      store_lease(l, lease)
    end
  end
  local first = lease_of(lock_at(w.slots[1][1], true), w.slots[1][2])
  return granted(w.slots, first.at - w.since)
end
