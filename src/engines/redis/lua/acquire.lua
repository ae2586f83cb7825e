-- --- asking for locks

local function remember_refusal(m, why)
  if m then
    m.kind, m.why = 'refused', without_holders(why)
    keep_memo(m)
  end
  return refusal(why)
end

local function repeat_acquire(m)
  if m.kind == 'cancelled' then return refusal(why_of('request_cancelled')) end
  if m.print ~= ask.print then return refusal(why_of('request_id_reused')) end
  if m.kind == 'waiter' then
    local w = waiter_of(m.waiter)
    if not w then return refusal(why_of('request_cancelled')) end
    for _, want in ipairs(w.wants) do lock_at(want.name) end  -- it may be over, or its turn
    if w.state == 'waiting' then
      if attached(w) then
        -- an older call with the same id is told that it no longer speaks for the request
        if w.replica == ask.me then
          told[#told + 1] = {w.id, w.epoch, 'superseded'}
        else
          redis.call('PUBLISH', tag .. 'to:' .. w.replica, w.id .. ':' .. w.epoch .. ':superseded')
        end
      end
      redis.call('ZREM', w.attached and key('of', w.replica) or tag .. 'graces', w.id)
      redis.call('ZADD', key('of', ask.me), w.id, w.id)
      w.epoch, w.attached, w.replica, w.grace_end = w.epoch + 1, true, ask.me, nil
      keep_waiter(w)
      return queued(w)
    end
    m = find_memo(ask.scope, ask.client, ask.request)
  end
  if m.kind == 'refused' then return refusal(m.why) end
  if not m.slots then return refusal(why_of('request_id_reused')) end
  for _, slot in ipairs(m.slots) do
    local l = lock_at(slot[1], true)
    local lease = lease_of(l, slot[2])
    if not lease or not lives(lease) then
      local why = why_of('lock_not_held')
      local current = find_memo(ask.scope, ask.client, ask.request)
      why.ended = slot[4] ~= '' and slot[4] or 'unknown'
      for _, s in ipairs(current and current.slots or {}) do
        if s[2] == slot[2] and s[4] ~= '' then why.ended = s[4] end
      end
      return refusal(why)
    end
  end
  local claimed, at = false, now
  for _, slot in ipairs(m.slots) do
    local l = lock_at(slot[1], true)
    local lease = lease_of(l, slot[2])
    lease.told = lease.told + 1
    lease.sent_to = nil
    redis.call('DEL', key('sent', lease.id))
    claimed = claimed or (lease.provisional and true or false)
    at = lease.at
    claim(l, lease)
    store_lease(l, lease)
  end
  return granted(m.slots, m.kind == 'reentered' and 0 or at - m.at, true, claimed)
end

local function find_live(name, id, renewal, client, renewal_is_enough)
  local l = lock_at(name)
  local lease
  if id ~= '' then
    lease = lease_of(l, id)
  elseif renewal_is_enough and renewal ~= '' then
    lease = lease_of_renewal(l, renewal)
  end
  if not lease or (client ~= '' and lease.client ~= client) or not lives(lease) then return nil, l end
  return lease, l
end
local function not_held(id, renewal)
  local why = why_of('lock_not_held')
  local secret = id ~= '' and id or renewal
  why.ended = secret ~= '' and redis.call('GET', key('ended', secret)) or ''
  return why
end

local function reenter(m)
  local want = ask.wants[1]
  local lease, l = find_live(want.name, ask.reentry, '', ask.client, false)
  if not lease then return remember_refusal(m, not_held(ask.reentry, '')) end
  local limit = want.mode == 'semaphore' and want.limit or 0
  local otherwise = lease.mode ~= want.mode or l.limit ~= limit or (want.mode == 'semaphore' and lease.permits ~= want.permits)
  if otherwise and not ask.as_held then
    local why = why_of('lock_mode_conflict', l)
    why.mode, why.limit = lease.mode, l.limit
    return remember_refusal(m, why)
  end
  claim(l, lease)
  lease.holds = lease.holds + 1
  if not lease.session and now + ask.ttl > lease.stop then
    lease.ttl = ask.ttl
    lease.stop = now + ask.ttl < lease.limit and now + ask.ttl or lease.limit
    redis.call('PEXPIRE', canonical .. l.name, life(lease.stop > canonical_end(l) and lease.stop or canonical_end(l)))
  end
  local slots = {{l.name, lease.id, lease.token, ''}}
  if m then
    lease.memos = lease.memos or {}
    table.insert(lease.memos, 1, m.key)
    m.kind, m.slots = 'reentered', slots
    keep_memo(m, lease.stop + 3600000000)
  end
  store_lease(l, lease)
  return granted(slots, 0)
end

local function acquire()
  local m = find_memo(ask.scope, ask.client, ask.request)
  if m then return repeat_acquire(m) end
  if ask.request ~= '' then m = new_memo(ask.scope, ask.client, ask.request, ask.print) end
  if ask.session and not session_lives(ask.session) then return remember_refusal(m, why_of('session_not_found')) end
  if ask.reentry then return reenter(m) end

  local found = {}
  for i, want in ipairs(ask.wants) do found[i] = lock_at(want.name) end
  local function refused(why, remembered)
    happened('refused', why.lock, ask.client, nil, nil, why.code)
    if remembered == false then return refusal(why) end
    return remember_refusal(m, why)
  end
  for i, want in ipairs(ask.wants) do
    local l = found[i]
    local limit = want.mode == 'semaphore' and want.limit or 0
    if (l.count > 0 or l.waiting > 0) and l.limit ~= limit then
      local why = why_of('lock_mode_conflict', l)
      why.mode, why.limit = l.limit > 0 and 'semaphore' or l.mode, l.limit
      return refused(why)
    end
  end
  local busy
  for i, want in ipairs(ask.wants) do
    local l = found[i]
    if not busy and (l.waiting > 0 or not fits(l, want.mode, want.permits)) then busy = l end
  end
  local shut = not busy and fence_is_shut()
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
        local lease = make_lease(l, ask.client, want, terms, ask.secrets[i])
        if m then lease.memos = {m.key} end
        if ask.session then redis.call('ZADD', key('bound', ask.session), digits(lease.token), l.name .. '\n' .. lease.id) end
        keep_lease(l, lease)
        slots[i] = {l.name, lease.id, lease.token, ''}
        happened('acquired', l.name, ask.client, lease.token, lease.mode)
      end
      if m then
        m.kind, m.slots = 'leases', slots
        keep_memo(m, now + 3600000000)
      end
      return granted(slots, 0)
    end
  end
  if ask.wait <= 0 then return refused(why_of('lock_not_acquired', busy)) end
  for _, l in ipairs(found) do
    if l.waiting >= ask.queue_max then return refused(why_of('queue_full', l), false) end
  end

  -- Only somebody who waits for more than this, or whom others wait for, can close a cycle.
  local tangled = #ask.wants > 1 or redis.call('EXISTS', key('waits', ask.client)) == 1
  local search = tangled
  for _, l in ipairs(found) do search = search or l.tangled or holders_wait(l) end
  local w = {id = digits(arrival()), state = 'waiting', client = ask.client, wants = ask.wants,
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
  counted.waiters = counted.waiters + 1
  redis.call('ZADD', key('waits', w.client), w.id, w.id)
  redis.call('PEXPIRE', key('waits', w.client), life(w.deadline + 3600000000))
  redis.call('ZADD', key('of', w.replica), w.id, w.id)
  be_heard()
  if w.session then redis.call('ZADD', key('bound_waiters', w.session), w.id, w.id) end
  if tangled then tangle_others(w) end
  keep_waiter(w)
  if m then
    m.kind, m.waiter = 'waiter', w.id
    keep_memo(m, w.deadline)
  end
  return queued(w, search)
end
