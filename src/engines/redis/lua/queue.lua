-- --- who waits
--
-- A waiter's record outlives its wait for a while as the answer to its replica, which may not have heard: kind `waiting`,
-- `granted` (slots) or `refused` (why).


function rule.waiter_of(id)
  local w = waiters[id]
  if w == nil then
    w = rule.read_waiter(redis.call('GET', key('waiter', id))) or false
    if w then w.id = id end
    waiters[id] = w
  end
  return w
end
function rule.keep_waiter(w)
  local life_of_it = w.state == 'waiting' and w.deadline + 3600000000 or now + ask.memory
  redis.call('SET', key('waiter', w.id), rule.waiter_text(w) or pack(w), 'PX', life(life_of_it))
end

-- Somebody speaks for it, and the replica that he is connected to is alive.
function rule.attached(w)
  return w.attached and rule.last_beat(w.replica) + ask.lapse > now
end
-- Until when its place is kept for a caller who has gone.
function rule.grace_end(w)
  if w.attached then return rule.last_beat(w.replica) + (w.remembered and ask.grace or 0) end
  return w.grace_end
end
function rule.be_spoken_for_no_more(w)
  if w.attached then
    redis.call('SREM', key('of', w.replica), w.id)
  else
    redis.call('ZREM', tag .. 'graces', w.id)
  end
end
function rule.leave_queues(w)
  local left = {}
  for _, want in ipairs(w.wants) do
    local l = rule.lock_at(want.name, true)
    redis.call('ZREM', key('queue', l.name), w.id)
    l.waiting = l.waiting - 1
    l.dirty = true
    left[#left + 1] = l
  end
  redis.call('SREM', key('waits', w.client), w.id)
  rule.be_spoken_for_no_more(w)
  if w.session then redis.call('ZREM', key('bound_waiters', w.session), w.id) end
  return left
end
-- Tells the replica that speaks for the waiter. Not what: that it asks for.
function rule.tell(w)
  if not rule.attached(w) then return end
  if w.replica == ask.me then
    told[#told + 1] = {w.id, w.epoch}
  else
    redis.call('PUBLISH', tag .. 'to:' .. w.replica, w.id .. ':' .. w.epoch)
  end
end

function rule.holder_rows(l, most)
  local rows, count = {}, 0
  for _, lease in ipairs(rule.leases_of(l, l.count)) do
    if rule.lives(lease) then
      count = count + 1
      if #rows < most then
        rows[#rows + 1] = {lease.client, lease.token, lease.mode, lease.permits, lease.holds, lease.at, rule.effective_end(lease),
                           lease.auto and 1 or 0, lease.session and 1 or 0, lease.metadata or ''}
      end
    end
  end
  return rows, count
end
-- why: {code, lock, waited, queue length, mode, limit, how it ended, cycle, holders, how many}
function rule.why_of(code, l)
  local holders, count
  if l then holders, count = rule.holder_rows(l, 10) end
  return {code = code, lock = l and l.name or '', waited = 0, queue = l and l.waiting or 0, mode = '', limit = 0, ended = '',
          holders = holders, count = count}
end
-- As it is remembered: a repeat is told who holds the lock then.
function rule.without_holders(why)
  local out = {}
  for name, value in pairs(why) do out[name] = value end
  out.holders, out.count = nil, nil
  return out
end

-- Ends a wait without a grant, and hands on the locks that the waiter stood in front of.
function rule.drop(w, why, kind, reason)
  for _, want in ipairs(w.wants) do happened(kind, want.name, w.client, nil, nil, reason, now - w.since) end
  local left = rule.leave_queues(w)
  if w.remembered then
    local m = unpacked(redis.call('GET', w.remembered))
    if m and m.kind == 'waiter' and m.waiter == w.id then
      m.key = w.remembered
      m.kind, m.waiter, m.why = 'refused', nil, rule.without_holders(why)
      rule.keep_memo(m)
    end
  end
  w.state, w.why = 'refused', why
  rule.keep_waiter(w)
  rule.tell(w)
  for _, l in ipairs(left) do rule.hand_on(l) end
end

function rule.heads(l, w)
  local head = redis.call('ZRANGE', key('queue', l.name), 0, 0)
  return head[1] == w.id
end

-- Ends a wait whose patience or grace is over.
function rule.give_up(w)
  local in_the_way
  for _, want in ipairs(w.wants) do
    local l = rule.lock_at(want.name, true)
    if not in_the_way and not (rule.heads(l, w) and rule.fits(l, want.mode, want.permits)) then in_the_way = l end
  end
  local why = rule.why_of('lock_not_acquired', in_the_way or rule.lock_at(w.wants[1].name, true))
  why.waited = now - w.since
  why.queue = why.queue - 1
  if w.deadline <= now then
    rule.drop(w, why, 'refused', 'lock_not_acquired')
  else
    rule.drop(w, why, 'cancelled', 'disconnected')
  end
end

-- 'granted', 'over' (to be given up), or false: it has to go on waiting.
function rule.try_to_start(w)
  if w.deadline < now or (not rule.attached(w) and rule.grace_end(w) <= now) then return 'over' end
  if w.session and not rule.session_lives(w.session) then return false end
  local found = {}
  for i, want in ipairs(w.wants) do
    local l = rule.lock_at(want.name, true)
    if not rule.heads(l, w) or not rule.fits(l, want.mode, want.permits) then return false end
    if l.count == 0 and redis.call('EXISTS', canonical .. l.name) == 1 then
      l.foreign = true
      return false
    end
    found[i] = l
  end
  if rule.fence_is_shut() then return false end
  rule.leave_queues(w)
  local here = rule.attached(w)
  local slots = {}
  for i, want in ipairs(w.wants) do
    local l = found[i]
    w.terms.replica = w.replica  -- which renews it, if the service is to
    local lease = rule.make_lease(l, w.client, want, w.terms, w.secrets[i])
    if w.remembered then lease.memos = {w.remembered} end
    if not here then
      lease.provisional = true
      lease.stop = rule.grace_end(w) < lease.limit and rule.grace_end(w) or lease.limit
      redis.call('PEXPIRE', canonical .. l.name, life(lease.stop))
    elseif not (ask.here and w.replica == ask.me) then
      -- taken back unless its replica says that it has it, which it does before it tells the caller
      lease.sent_to = w.replica
      l.sent = true
      redis.call('SET', key('sent', lease.id), w.replica, 'PX', life(now + lease.ttl))
    end
    if w.session then redis.call('ZADD', key('bound', w.session), digits(lease.token), l.name .. '\n' .. lease.id) end
    rule.keep_lease(l, lease)
    slots[i] = {l.name, lease.id, lease.token, ''}
    happened('acquired', l.name, w.client, lease.token, lease.mode, nil, now - w.since)
  end
  if w.remembered then
    local m = unpacked(redis.call('GET', w.remembered))
    if m then
      m.key = w.remembered
      m.kind, m.waiter, m.slots = 'leases', nil, slots
      rule.keep_memo(m, now + 3600000000)
    end
  end
  w.state, w.slots = 'granted', slots
  rule.keep_waiter(w)
  if here then rule.tell(w) end
  return 'granted'
end

-- Serves the head of the queue for as long as it fits. A multi request that starts frees the heads of its other queues, so
-- those are looked at too. A step grants, and drops, a bounded number; `more` names the locks that have more to give.
local work, working = {}, false
function rule.serve(l)
  while l.waiting > 0 do
    local head = redis.call('ZRANGE', key('queue', l.name), 0, 0)[1]
    local w = head and rule.waiter_of(head)
    if not head then
      l.waiting = 0
      l.dirty = true
    elseif not w or w.state ~= 'waiting' then
      redis.call('ZREM', key('queue', l.name), head)
      l.waiting = l.waiting - 1
      l.dirty = true
    elseif grants_left == 0 or drops_left == 0 then
      more[l.name] = true
      return
    else
      local did = rule.try_to_start(w) or (w.deadline <= now and 'over')
      if not did then return end
      if did == 'over' then
        drops_left = drops_left - 1
        rule.give_up(w)
      else
        grants_left = grants_left - 1
      end
      for _, want in ipairs(w.wants) do
        if want.name ~= l.name then work[#work + 1] = rule.lock_at(want.name, true) end
      end
    end
  end
end
function rule.hand_on(first)
  work[#work + 1] = first
  if working then return end  -- whoever is at it goes on
  working = true
  while #work > 0 do rule.serve(table.remove(work)) end
  working = false
end

-- What is over is over before it is asked about.
function rule.settle_lease(l, lease)
  if not rule.lives(lease) then
    rule.end_lease(l, lease, rule.why_over(lease))
  elseif lease.sent_to and rule.last_beat(lease.sent_to) + ask.lapse <= now then
    if redis.call('DEL', key('sent', lease.id)) == 1 then
      rule.end_lease(l, lease, 'undelivered')  -- its replica has died before it could say that it has the grant
    else
      lease.sent_to = nil
      rule.store_lease(l, lease)
    end
  end
end
function rule.settle(l)
  local held = l.holder
  if held then
    rule.settle_lease(l, held)
    if l.holder and l.shown ~= held.id then
      -- Somebody has taken our key away. That of a session's lease is only late, and one that lasts beyond its end has none.
      if (held.session or rule.own_end(held) <= now) and not l.shown and
         redis.call('SET', canonical .. l.name, held.id, 'NX', 'PX', life(rule.effective_end(held))) then
        l.shown = held.id
      else
        rule.end_lease(l, held, 'forced', 'the key was deleted in the store')
      end
    end
  elseif l.count > 0 and (l.bound or l.sent) then
    for _, lease in ipairs(rule.leases_of(l, l.count)) do rule.settle_lease(l, lease) end
  elseif l.count > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('ends', l.name), 0, digits(now), 'LIMIT', 0, 256)) do
      local lease = rule.lease_of(l, id)
      if lease and not rule.lives(lease) then rule.end_lease(l, lease, rule.why_over(lease)) end
    end
    local stop = rule.canonical_end(l)
    if l.count > 0 and not l.shown and fence and fence.closed > now and
       redis.call('SET', canonical .. l.name, 'dislock:' .. l.mode, 'NX', 'PX', life(stop)) then
      l.shown = 'dislock:' .. l.mode
    end
  end
  if l.count == 0 and l.shown then l.foreign = true end
  if l.delay > 0 and l.delay <= now then
    l.delay = 0
    l.dirty = true
  end
end
local unserved = {}  -- locks that were looked at in the middle of something else
function rule.lock_at(name, raw)
  local l = locks[name]
  if not l then
    l = rule.lock_as_stored(name)
    locks[name] = l
    rule.settle(l)
    if not raw then
      rule.hand_on(l)
    elseif l.waiting > 0 then
      unserved[#unserved + 1] = l
    end
  end
  return l
end

-- When somebody has to look at the lock again on behalf of those who wait; 0: nobody does.
function rule.next_look(l)
  if l.waiting == 0 then return 0 end
  if more[l.name] then return now end
  local at = rule.next_end(l)
  local function by(instant) if instant < at then at = instant end end
  if l.foreign then by(now + 1000000) end
  if l.holder and l.holder.sent_to then by(rule.last_beat(l.holder.sent_to) + ask.lapse) end
  local head = redis.call('ZRANGE', key('queue', l.name), 0, 0)[1]
  local w = head and rule.waiter_of(head)
  if w then
    by(w.deadline)
    by(rule.attached(w) and rule.last_beat(w.replica) + ask.lapse or rule.grace_end(w))
  end
  if cannot_grant == 'closed' then by(fence.closed) end
  return at > now and at or now
end
