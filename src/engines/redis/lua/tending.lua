-- --- what nobody asks for

-- Ends what is over by now, a bounded amount of it. {1: there is more, when the next thing ends}
local SWEEP = 64
local function sweep()
  local left = false
  local names = redis.call('ZRANGEBYSCORE', tag .. 'by_end', '-inf', digits(now), 'LIMIT', 0, SWEEP)
  for _, name in ipairs(names) do
    local l = lock_at(name)
    l.dirty = true  -- listed anew, by what it has now
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', tag .. 'graces', '-inf', digits(now), 'LIMIT', 0, SWEEP)) do
    local w = waiter_of(id)
    if not w then
      redis.call('ZREM', tag .. 'graces', id)
    else
      for _, want in ipairs(w.wants) do lock_at(want.name) end
      if w.state == 'waiting' then give_up(w) end
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', tag .. 'sessions_by_end', '-inf', digits(now), 'LIMIT', 0, 4)) do
    local s = session_of(id)
    local finished
    if not s then
      redis.call('ZREM', tag .. 'sessions_by_end', id)
      redis.call('ZREM', tag .. 'sessions', id)
      finished = true
    elseif s.ended then
      finished = end_pieces(id, s)
    else
      finished = start_ending(id, s, 'session_expired')
    end
    left = left or not finished
  end
  -- What the dead have left: their waiters lose their places when the grace is over, their autoRenew leases are ours now.
  local adopted = {}
  last_beat(ask.me)
  for replica, at in pairs(beats) do
    if at + ask.lapse <= now then
      for _, id in ipairs(redis.call('ZRANGE', key('of', replica), 0, SWEEP - 1)) do
        local w = waiter_of(id)
        if not w or w.state ~= 'waiting' then
          redis.call('ZREM', key('of', replica), id)
        elseif grace_end(w) <= now then
          for _, want in ipairs(w.wants) do lock_at(want.name) end
          if w.state == 'waiting' then give_up(w) end
        end
      end
      local orphans = redis.call('HGETALL', key('auto', replica))
      for i = 1, math.min(#orphans, 2 * SWEEP), 2 do
        redis.call('HDEL', key('auto', replica), orphans[i])
        local l = lock_at(orphans[i + 1])
        local lease = lease_of(l, orphans[i])
        if lease then
          lease.auto = ask.me
          redis.call('HSET', key('auto', ask.me), lease.id, l.name)
          store_lease(l, lease)
          adopted[#adopted + 1] = {l.name, lease.id, lease.ttl, effective_end(lease)}
        end
      end
    end
  end
  for _, name in ipairs(ask.names or {}) do
    local l = lock_at(name)
    if l.waiting > 0 then hand_on(l) end
  end
  local nxt = NEVER
  for _, at in ipairs({'sessions_by_end', 'by_end', 'graces'}) do
    local first = redis.call('ZRANGEBYSCORE', tag .. at, '(' .. digits(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if first[2] and tonumber(first[2]) < nxt then nxt = tonumber(first[2]) end
  end
  return {'done', {(left or #names == SWEEP) and 1 or 0, nxt, adopted}}  -- and the counts, once all is written
end

-- The replica that asks is alive. Those that have not been for long are forgotten.
local function beat()
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

-- Those of the waiters that do not wait any more.
local function news()
  local out = {}
  for _, id in ipairs(ask.waiters) do
    local w = waiter_of(id)
    if not w or w.state ~= 'waiting' or w.deadline <= now then out[#out + 1] = id end
  end
  return {'done', out}
end

-- Raises the ceiling of tokens and the horizon of ends. Both count once `confirm` says that the replicas have them.
local function raise()
  local f = fence_record()
  fence_is_shut()  -- which notices a new incarnation
  local function up(old, to) return to > old and to or old end
  f.ceiling = up(f.ceiling, (f.last > now and f.last or now) + ask.ahead)
  f.horizon = up(f.horizon, now + ask.ahead + ask.longest)
  f.dirty = true
  cannot_grant = nil
  return {'done', {f.ceiling, f.horizon, f.closed}}
end
local function confirm()
  local f = fence_record()
  if f.store ~= store then return {'done', {0}} end
  f.confirmed = ask.ceiling > f.confirmed and ask.ceiling or f.confirmed
  f.confirmed_horizon = ask.horizon > f.confirmed_horizon and ask.horizon or f.confirmed_horizon
  f.dirty = true
  return {'done', {1}}
end
