-- --- what becomes of callers and of their waiters

function rule.detach()
  local w = rule.waiter_of(ask.waiter)
  if not w or w.state ~= 'waiting' then return {'done', 0} end
  for _, want in ipairs(w.wants) do rule.lock_at(want.name) end
  if w.state ~= 'waiting' or w.epoch ~= ask.epoch or not w.attached then return {'done', 0} end
  w.attached = false
  redis.call('SREM', key('of', w.replica), w.id)
  if not w.remembered then
    rule.drop(w, rule.why_of('request_cancelled'), 'cancelled', 'disconnected')
    return {'done', 1}
  end
  w.grace_end = now + ask.grace
  local at = w.grace_end < w.deadline and w.grace_end or w.deadline
  redis.call('ZADD', tag .. 'graces', digits(at), w.id)
  rule.keep_waiter(w)
  return {'done', 2, at}
end

function rule.undelivered()
  local l = rule.lock_at(ask.name)
  local lease = rule.lease_of(l, ask.id)
  if not lease or lease.holds > 1 or lease.provisional or lease.told ~= ask.told or not rule.lives(lease) then return {'done', 0} end
  lease.sent_to = nil
  redis.call('DEL', key('sent', lease.id))
  if lease.memos and #lease.memos > 0 then
    local was_to_end = rule.effective_end(lease)
    lease.provisional = true
    lease.stop = now + ask.grace < was_to_end and now + ask.grace or was_to_end
    rule.store_lease(l, lease)
    redis.call('PEXPIRE', canonical .. l.name, life(rule.canonical_end(l)))
    return {'done', 1}
  end
  rule.end_lease(l, lease, 'undelivered')
  rule.hand_on(l)
  return {'done', 1}
end

-- A grant to a waiter of which the asking replica knows nothing: the answer that said that it waits was lost. It goes on, unless it
-- has been taken.
function rule.disown()
  local w = rule.waiter_of(ask.waiter)
  if not w or w.replica ~= ask.me or w.state ~= 'granted' then return {'done', 0} end
  for _, slot in ipairs(w.slots) do
    local l = rule.lock_at(slot[1])
    local lease = rule.lease_of(l, slot[2])
    if lease and lease.sent_to and redis.call('EXISTS', key('sent', lease.id)) == 1 then
      rule.end_lease(l, lease, 'undelivered')
      rule.hand_on(l)
    end
  end
  return {'done', 0}
end

-- What has become of a waiter, for the replica that speaks for it.
function rule.collect()
  local w = rule.waiter_of(ask.waiter)
  if not w then return rule.refusal(rule.why_of('engine_unavailable')) end  -- a failover has lost it
  for _, want in ipairs(w.wants) do rule.lock_at(want.name) end
  -- Whoever speaks for it no longer must not hear of its grant: he would give it back, as one that nobody has received.
  if w.epoch ~= ask.epoch or w.replica ~= ask.me then return {'elsewhere'} end
  if w.state == 'waiting' then
    if w.deadline > now and (rule.attached(w) or rule.grace_end(w) > now) then return rule.queued(w) end
    rule.give_up(w)
  end
  if w.state == 'refused' then return rule.refusal(w.why) end
  for _, slot in ipairs(w.slots) do
    local lease = rule.lease_of(rule.lock_at(slot[1], true), slot[2])
    if not lease or not rule.lives(lease) then
      local why = rule.why_of('lock_not_held')
      return rule.refusal(why)
    end
    if lease.told > 0 then return {'elsewhere'} end  -- by a repeat of the call, which has it
  end
  for _, slot in ipairs(w.slots) do
    local l = rule.lock_at(slot[1], true)
    local lease = rule.lease_of(l, slot[2])
    if lease.sent_to then
      lease.sent_to = nil
      redis.call('DEL', key('sent', lease.id))
      rule.store_lease(l, lease)
    end
  end
  local first = rule.lease_of(rule.lock_at(w.slots[1][1], true), w.slots[1][2])
  return rule.granted(w.slots, first.at - w.since)
end
