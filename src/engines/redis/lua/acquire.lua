-- --- asking for locks

function rule.remember_refusal(m, why)
  if m then
    m.kind, m.why = 'refused', rule.without_holders(why)
    rule.keep_memo(m)
  end
  return rule.refusal(why)
end

function rule.repeat_acquire(m)
  if m.kind == 'cancelled' then return rule.refusal(rule.why_of('request_cancelled')) end
  if m.print ~= ask.print then return rule.refusal(rule.why_of('request_id_reused')) end
  if m.kind == 'waiter' then
    local w = rule.waiter_of(m.waiter)
    if not w then return rule.refusal(rule.why_of('request_cancelled')) end
    for _, want in ipairs(w.wants) do rule.lock_at(want.name) end  -- it may be over, or its turn
    if w.state == 'waiting' then
      if rule.attached(w) then
        -- an older call with the same id is told that it no longer speaks for the request
        if w.replica == ask.me then
          told[#told + 1] = {w.id, w.epoch, 'superseded'}
        else
          redis.call('PUBLISH', tag .. 'to:' .. w.replica, w.id .. ':' .. w.epoch .. ':superseded')
        end
      end
      rule.be_spoken_for_no_more(w)
      redis.call('SADD', key('of', ask.me), w.id)
      rule.be_heard()
      w.epoch, w.attached, w.replica, w.grace_end = w.epoch + 1, true, ask.me, nil
      rule.keep_waiter(w)
      return rule.queued(w)
    end
    m = rule.find_memo(ask.scope, ask.client, ask.request)
  end
  if m.kind == 'refused' then return rule.refusal(m.why) end
  if not m.slots then return rule.refusal(rule.why_of('request_id_reused')) end
  for _, slot in ipairs(m.slots) do
    local l = rule.lock_at(slot[1], true)
    local lease = rule.lease_of(l, slot[2])
    if not lease or not rule.lives(lease) then
      local why = rule.why_of('lock_not_held')
      local current = rule.find_memo(ask.scope, ask.client, ask.request)
      why.ended = slot[4] ~= '' and slot[4] or 'unknown'
      for _, s in ipairs(current and current.slots or {}) do
        if s[2] == slot[2] and s[4] ~= '' then why.ended = s[4] end
      end
      return rule.refusal(why)
    end
  end
  local claimed, at = false, now
  for _, slot in ipairs(m.slots) do
    local l = rule.lock_at(slot[1], true)
    local lease = rule.lease_of(l, slot[2])
    lease.told = lease.told + 1
    lease.sent_to = nil
    redis.call('DEL', key('sent', lease.id))
    claimed = claimed or (lease.provisional and true or false)
    at = lease.at
    rule.claim(l, lease)
    rule.store_lease(l, lease)
  end
  return rule.granted(m.slots, m.kind == 'reentered' and 0 or at - m.at, true, claimed)
end

function rule.find_live(name, id, renewal, client, renewal_is_enough)
  local l = rule.lock_at(name)
  local lease
  if id ~= '' then
    lease = rule.lease_of(l, id)
  elseif renewal_is_enough and renewal ~= '' then
    lease = rule.lease_of_renewal(l, renewal)
  end
  if not lease or (client ~= '' and lease.client ~= client) or not rule.lives(lease) then return nil, l end
  return lease, l
end
function rule.not_held(id, renewal)
  local why = rule.why_of('lock_not_held')
  local secret = id ~= '' and id or renewal
  why.ended = secret ~= '' and redis.call('GET', key('ended', secret)) or ''
  return why
end

function rule.reenter(m)
  local want = ask.wants[1]
  local lease, l = rule.find_live(want.name, ask.reentry, '', ask.client, false)
  if not lease then return rule.remember_refusal(m, rule.not_held(ask.reentry, '')) end
  local limit = want.mode == 'semaphore' and want.limit or 0
  local otherwise = lease.mode ~= want.mode or l.limit ~= limit or (want.mode == 'semaphore' and lease.permits ~= want.permits)
  if otherwise and not ask.as_held then
    local why = rule.why_of('lock_mode_conflict', l)
    why.mode, why.limit = lease.mode, l.limit
    return rule.remember_refusal(m, why)
  end
  rule.claim(l, lease)
  lease.holds = lease.holds + 1
  if not lease.session and now + ask.ttl > lease.stop then
    lease.ttl = ask.ttl
    lease.stop = now + ask.ttl < lease.limit and now + ask.ttl or lease.limit
    redis.call('PEXPIRE', canonical .. l.name, life(lease.stop > rule.canonical_end(l) and lease.stop or rule.canonical_end(l)))
  end
  local slots = {{l.name, lease.id, lease.token, ''}}
  if m then
    lease.memos = lease.memos or {}
    table.insert(lease.memos, 1, m.key)
    m.kind, m.slots = 'reentered', slots
    rule.keep_memo(m, lease.stop + 3600000000)
  end
  rule.store_lease(l, lease)
  return rule.granted(slots, 0)
end

function rule.acquire()
  local m = rule.find_memo(ask.scope, ask.client, ask.request)
  if m then return rule.repeat_acquire(m) end
  if ask.request ~= '' then m = rule.new_memo(ask.scope, ask.client, ask.request, ask.print) end
  if ask.session and not rule.session_lives(ask.session) then return rule.remember_refusal(m, rule.why_of('session_not_found')) end
  if ask.reentry then return rule.reenter(m) end

  local found = {}
  for i, want in ipairs(ask.wants) do found[i] = rule.lock_at(want.name) end
  local function refused(why, remembered)
    happened('refused', why.lock, ask.client, nil, nil, why.code)
    if remembered == false then return rule.refusal(why) end
    return rule.remember_refusal(m, why)
  end
  for i, want in ipairs(ask.wants) do
    local l = found[i]
    local limit = want.mode == 'semaphore' and want.limit or 0
    if (l.count > 0 or l.waiting > 0) and l.limit ~= limit then
      local why = rule.why_of('lock_mode_conflict', l)
      why.mode, why.limit = l.limit > 0 and 'semaphore' or l.mode, l.limit
      return refused(why)
    end
  end
  local busy
  for i, want in ipairs(ask.wants) do
    local l = found[i]
    if not busy and (l.waiting > 0 or not rule.fits(l, want.mode, want.permits)) then busy = l end
  end
  local shut = not busy and rule.fence_is_shut()
  if (shut == 'closed' or (shut and ask.patient)) and ask.wait > 0 then
    busy = found[1]  -- it opens by itself, or when the replicas are there again
  elseif shut then
    return {'shut', shut, fence.closed}
  end
  if not busy then
    local terms = {ttl = ask.ttl, delay = ask.delay, max_hold = ask.max_hold, session = ask.session, auto = ask.auto,
                   metadata = ask.metadata}
    local slots, made = {}, {}
    for i, want in ipairs(ask.wants) do
      if found[i].count == 0 and redis.call('EXISTS', canonical .. want.name) == 1 then
        found[i].foreign = true
        busy = busy or found[i]
      end
    end
    if not busy then
      for i, want in ipairs(ask.wants) do
        local l = found[i]
        local lease = rule.make_lease(l, ask.client, want, terms, ask.secrets[i])
        if m then lease.memos = {m.key} end
        if ask.session then redis.call('ZADD', key('bound', ask.session), digits(lease.token), l.name .. '\n' .. lease.id) end
        rule.keep_lease(l, lease)
        slots[i] = {l.name, lease.id, lease.token, ''}
        happened('acquired', l.name, ask.client, lease.token, lease.mode)
      end
      if m then
        m.kind, m.slots = 'leases', slots
        rule.keep_memo(m, now + 3600000000)
      end
      return rule.granted(slots, 0)
    end
  end
  if ask.wait <= 0 then return refused(rule.why_of('lock_not_acquired', busy)) end
  for _, l in ipairs(found) do
    if l.waiting >= ask.queue_max then return refused(rule.why_of('queue_full', l), false) end
  end

  -- Only somebody who waits for more than this, or whom others wait for, can close a cycle.
  local tangled = #ask.wants > 1 or redis.call('EXISTS', key('waits', ask.client)) == 1
  local search = tangled
  for _, l in ipairs(found) do search = search or l.tangled or rule.holders_wait(l) end
  local w = {id = digits(rule.arrival()), state = 'waiting', client = ask.client, wants = ask.wants,
             multi = ask.multi, since = now, deadline = now + ask.wait, epoch = 0, attached = true, replica = ask.me,
             secrets = ask.secrets, session = ask.session, remembered = m and m.key or nil,
             terms = {ttl = ask.ttl, delay = ask.delay, max_hold = ask.max_hold, session = ask.session, auto = ask.auto,
                      metadata = ask.metadata}}
  waiters[w.id] = w
  for i, want in ipairs(ask.wants) do
    local l = found[i]
    if l.count == 0 and l.waiting == 0 then l.limit = want.mode == 'semaphore' and want.limit or 0 end
    if l.count == 0 and l.waiting == 0 then l.mode = want.mode end
    redis.call('ZADD', key('queue', l.name), w.id, w.id)
    l.waiting = l.waiting + 1
    l.tangled = l.tangled or tangled or nil
    l.dirty = true
    if not search then happened('queued', l.name, ask.client) end  -- else its replica says so, if it may stay
  end
  redis.call('SADD', key('waits', w.client), w.id)
  redis.call('PEXPIRE', key('waits', w.client), life(w.deadline + 3600000000))
  redis.call('SADD', key('of', w.replica), w.id)
  rule.be_heard()
  if w.session then redis.call('ZADD', key('bound_waiters', w.session), w.id, w.id) end
  if tangled then rule.tangle_others(w) end
  rule.keep_waiter(w)
  if m then
    m.kind, m.waiter = 'waiter', w.id
    rule.keep_memo(m, w.deadline)
  end
  return rule.queued(w, search)
end
