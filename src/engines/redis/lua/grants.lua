-- --- granting and ending

-- Whether the lock's holders leave room for somebody of the same family.
function rule.fits(l, mode, permits)
  if l.delay > now or l.foreign then return false end
  if l.count == 0 then return true end
  if mode == 'exclusive' then return false end
  if mode == 'shared' then return l.mode == 'shared' end
  return l.limit - l.used >= permits
end

function rule.told_of(l, lease)
  local renewed_until = lease.auto and lease.limit or 0
  return {l.name, lease.id, lease.renewal, lease.token, lease.mode, lease.session and 1 or 0, lease.provisional and 1 or 0,
          lease.permits, l.limit, lease.holds, lease.told, rule.effective_end(lease), renewed_until}
end

-- nil: somebody who is not one of us has the canonical key.
function rule.make_lease(l, client, want, terms, secrets)
  local stop = now + terms.ttl
  local s = terms.session and rule.session_of(terms.session)
  if s then stop = s.stop end
  local lease = {
    id = secrets[1], renewal = secrets[2], token = 0, client = client, mode = want.mode, permits = want.permits, at = now,
    stop = stop, ttl = s and s.ttl or terms.ttl, delay = terms.delay, limit = terms.max_hold and now + terms.max_hold or NEVER,
    holds = 1, told = 0, session = terms.session, auto = terms.auto, metadata = terms.metadata}
  if lease.limit < lease.stop and not lease.session then lease.stop = lease.limit end
  if l.count == 0 then
    local value = want.mode == 'exclusive' and lease.id or 'dislock:' .. want.mode
    if not redis.call('SET', canonical .. l.name, value, 'NX', 'PX', life(stop)) then
      l.foreign = true
      return nil
    end
    l.shown = value
  end
  lease.token = rule.mint()
  if lease.auto then
    lease.auto = terms.replica or ask.me
    rule.be_heard()
    redis.call('HSET', key('auto', lease.auto), lease.id, l.name)
  end
  l.mode = want.mode
  l.limit = want.mode == 'semaphore' and want.limit or 0
  if want.mode == 'semaphore' then l.used = l.used + want.permits end
  l.count = l.count + 1
  l.latest = lease.token
  return lease
end
-- After the lease has got all that it is to have.
function rule.keep_lease(l, lease)
  rule.store_lease(l, lease)
  if l.count > 1 then
    local stop = rule.canonical_end(l)
    if redis.call('PTTL', canonical .. l.name) < (stop - now) / 1000 then
      redis.call('PEXPIRE', canonical .. l.name, life(stop))
    end
  end
end

local ended_as = {expired = 'expired', max_hold = 'expired', session_expired = 'expired', forced = 'forced', undelivered = 'undelivered'}
local starts_delay = {expired = true, max_hold = true, forced = true, session_expired = true}

-- Takes the lease out of everything. The lock stays, for the caller to hand on and to save.
function rule.end_lease(l, lease, how, reason)
  local its_end = rule.effective_end(lease)
  local ended_at = (how == 'expired' or how == 'max_hold') and its_end < now and its_end or now
  -- What frees memory comes first: then the store lets the rest be written, too.
  rule.drop_lease(l, lease)
  l.count = l.count - 1
  if lease.mode == 'semaphore' then l.used = l.used - lease.permits end
  if l.count == 0 and l.shown then
    local value = redis.call('GET', canonical .. l.name)
    if value == lease.id or value == 'dislock:' .. lease.mode then
      redis.call('DEL', canonical .. l.name)
      value = false
    end
    l.shown = value
  end
  if lease.sent_to then redis.call('DEL', key('sent', lease.id)) end
  if lease.auto then redis.call('HDEL', key('auto', lease.auto), lease.id) end
  happened(ended_as[how] or 'released', l.name, lease.client, lease.token, lease.mode, reason or how, ended_at - lease.at)
  for _, at in ipairs(lease.memos or {}) do
    local m = rule.memo_at(at, l)
    if m and m.slots then
      for _, slot in ipairs(m.slots) do
        if slot[2] == lease.id then slot[4] = how end
      end
      rule.keep_memo(m)
    end
  end
  if starts_delay[how] then
    redis.call('SET', key('ended', lease.id), how, 'PX', life(now + ask.memory))
    redis.call('SET', key('ended', lease.renewal), how, 'PX', life(now + ask.memory))
  end
  if lease.session then redis.call('ZREM', key('bound', lease.session), l.name .. '\n' .. lease.id) end
  if lease.delay > 0 and starts_delay[how] then
    local until_then = ended_at + lease.delay
    if until_then > now and until_then > l.delay then l.delay = until_then end
  end
end

-- Whoever shows the secret of a provisional lease has received the grant.
function rule.claim(l, lease)
  if not lease.provisional then return end
  lease.provisional = nil
  local stop = now + lease.ttl
  if lease.session then stop = rule.session_of(lease.session).stop end
  lease.stop = stop < lease.limit and stop or lease.limit
  redis.call('PEXPIRE', canonical .. l.name, life(rule.canonical_end(l) > lease.stop and rule.canonical_end(l) or lease.stop))
  rule.store_lease(l, lease)
end
