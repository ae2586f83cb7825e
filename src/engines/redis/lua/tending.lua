-- --- what nobody asks for

-- Ends what is over by now, a bounded amount of it. {1: there is more, when the next thing ends}
local SWEEP = 64
function rule.sweep()
  local left = false
  local names = redis.call('ZRANGEBYSCORE', tag .. 'by_end', '-inf', digits(now), 'LIMIT', 0, SWEEP)
  for _, name in ipairs(names) do
    local l = rule.lock_at(name)
    if l.plain and not l.dirty and l.count > 0 then
      rule.list_plain(l)
    else
      l.dirty, l.listed_by = true, nil  -- listed anew, by what it has now
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', tag .. 'graces', '-inf', digits(now), 'LIMIT', 0, SWEEP)) do
    local w = rule.waiter_of(id)
    if not w then
      redis.call('ZREM', tag .. 'graces', id)
    else
      for _, want in ipairs(w.wants) do rule.lock_at(want.name) end
      if w.state == 'waiting' then rule.give_up(w) end
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', tag .. 'sessions_by_end', '-inf', digits(now), 'LIMIT', 0, 4)) do
    local s = rule.session_of(id)
    local finished
    if not s then
      redis.call('ZREM', tag .. 'sessions_by_end', id)
      redis.call('ZREM', tag .. 'sessions', id)
      redis.call('DEL', key('bound', id), key('bound_waiters', id))
      finished = true
    elseif s.ended then
      finished = rule.end_pieces(id, s)
    elseif rule.session_lives(id) then
      finished = true  -- it lasts until the fence opens
    else
      finished = rule.start_ending(id, s, 'session_expired')
    end
    left = left or not finished
  end
  -- What the dead have left: their waiters lose their places when the grace is over, their autoRenew leases are ours now.
  local adopted = {}
  rule.last_beat(ask.me)
  rule.somebody_is_there()
  for replica, at in pairs(beats) do
    if at + ask.lapse <= now then
      for _, id in ipairs(redis.call('SRANDMEMBER', key('of', replica), SWEEP)) do
        local w = rule.waiter_of(id)
        if not w or w.state ~= 'waiting' then
          redis.call('SREM', key('of', replica), id)
        elseif rule.grace_end(w) <= now then
          for _, want in ipairs(w.wants) do rule.lock_at(want.name) end
          if w.state == 'waiting' then rule.give_up(w) end
        end
      end
      local orphans = redis.call('HGETALL', key('auto', replica))
      for i = 1, math.min(#orphans, 2 * SWEEP), 2 do
        redis.call('HDEL', key('auto', replica), orphans[i])
        local l = rule.lock_at(orphans[i + 1])
        local lease = rule.lease_of(l, orphans[i])
        if lease then
          lease.auto = ask.me
          redis.call('HSET', key('auto', ask.me), lease.id, l.name)
          rule.store_lease(l, lease)
          adopted[#adopted + 1] = {l.name, lease.id, lease.ttl, rule.effective_end(lease)}
        end
      end
    end
  end
  for _, name in ipairs(ask.names or {}) do
    local l = rule.lock_at(name)
    if l.waiting > 0 then rule.hand_on(l) end
  end
  local nxt = NEVER
  for _, at in ipairs({'sessions_by_end', 'by_end', 'graces'}) do
    local first = redis.call('ZRANGEBYSCORE', tag .. at, '(' .. digits(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if first[2] and tonumber(first[2]) < nxt then nxt = tonumber(first[2]) end
  end
  if fence and fence.closed > now and fence.closed < nxt then nxt = fence.closed end
  return {'done', {(left or #names == SWEEP) and 1 or 0, nxt, adopted}}  -- and the counts, once all is written
end

-- Lists plain locks as they are now.
function rule.index()
  for _, name in ipairs(ask.names) do
    local l = rule.lock_at(name)
    if l.plain and not l.dirty then rule.list_plain(l) end
  end
  return {'done', 0}
end

-- The replica that asks is alive. Those that have not been for long are forgotten.
function rule.beat()
  rule.last_beat(ask.me)
  rule.somebody_is_there()
  redis.call('HSET', tag .. 'replicas', ask.me, digits(now))
  local all = redis.call('HGETALL', tag .. 'replicas')
  for i = 1, #all, 2 do
    local replica = all[i]
    if tonumber(all[i + 1]) < now - 60000000 and redis.call('EXISTS', key('of', replica), key('auto', replica)) == 0 then
      redis.call('HDEL', tag .. 'replicas', replica)
    end
  end
  return {'done', {}}
end

-- Those of the waiters that do not wait any more. In one command, however many they are.
function rule.news()
  local out, keys = {}, {}
  for i, id in ipairs(ask.waiters) do keys[i] = key('waiter', id) end
  for i, raw in ipairs(redis.call('MGET', unpack(keys))) do
    local w = rule.read_waiter(raw)
    if not w or w.state ~= 'waiting' or w.deadline <= now then out[#out + 1] = ask.waiters[i] end
  end
  return {'done', out}
end

-- Raises the ceiling of tokens and the horizon of ends. Both count once `confirm` says that the replicas have them. Whoever
-- raises says which incarnation he has seen, so that he is told when the connection knows an older one, and what he knew
-- before, in case the record is gone. On a Cluster, after an answer `moved`, `moved_from` names the store that is known to have
-- given the slot away, or `lost` the one of which that is not known; `time` is the earliest that it can be by that one's clock.
-- {1, ceiling, horizon, closed until, skew, the record was gone}, or {0}
function rule.raise()
  if string.sub(ask.seen, 1, 16) ~= store then return {'done', {0}} end
  local function up(old, to) return to > old and to or old end
  local f = rule.fence_record()
  local gone = f.ceiling == 0 and not ask.counter and ask.floor_horizon and ask.floor_horizon > now
  if gone then
    f.last = up(f.last, ask.floor_ceiling)
    if ask.exclusive then f.closed, f.since = ask.floor_horizon, now end
  end
  f.ceiling = up(f.ceiling, (f.last > now and f.last or now) + ask.ahead)
  f.horizon = up(f.horizon, now + ask.ahead + ask.covered)
  f.dirty = true
  return {'done', {1, f.ceiling, f.horizon, f.closed, f.skew, gone and 1 or 0}}
end
function rule.confirm()
  if string.sub(ask.seen, 1, 16) ~= store then return {'done', {0}} end
  local f = rule.fence_record()
  if f.dirty then return {'done', {0}} end  -- another incarnation was here meanwhile
  f.confirmed = ask.ceiling > f.confirmed and ask.ceiling or f.confirmed
  f.confirmed_horizon = ask.horizon > f.confirmed_horizon and ask.horizon or f.confirmed_horizon
  f.dirty = true
  return {'done', {1}}
end

-- The clock was set: without that it would show `before`. Forward, nothing is granted until the latest end that anybody was
-- told has passed by a clock that was not set; back, a pause that is under way gets no longer. One of those who notice says it;
-- `skew` is what all of them had noticed before.
-- {1, skew, closed until}, or {0, skew}
function rule.stepped()
  local f = rule.fence_record()
  if ask.skew ~= f.skew then return {'done', {0, f.skew}} end
  local latest = math.max(f.horizon, f.latest, f.closed)
  if now < ask.before then
    f.closed = f.closed > ask.before and now + (f.closed - ask.before) or 0
  elseif latest > ask.before then
    if f.closed <= ask.before or ask.before < f.since then f.since = ask.before end
    f.closed = now + (latest - ask.before)
    if f.closed > f.horizon then f.horizon = f.closed end
  end
  f.skew = f.skew + now - ask.before
  f.dirty = true
  local all = redis.call('HGETALL', tag .. 'replicas')
  for i = 1, #all, 2 do redis.call('HSET', tag .. 'replicas', all[i], digits(tonumber(all[i + 1]) + now - ask.before)) end
  return {'done', {1, f.skew, f.closed}}
end
