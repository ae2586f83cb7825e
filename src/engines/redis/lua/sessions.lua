-- --- sessions: one heartbeat for many leases

local SESSION_PIECE = 128
function rule.keep_session_record(id, s)
  rule.reach(s.stop)
  redis.call('SET', key('session', id), pack(s), 'PX', life((s.stop > now and s.stop or now) + 3600000000))
end

-- From `start_ending` on the session and its leases count as ended; taking them apart may need several steps. True: it is done.
function rule.end_pieces(id, s)
  local budget = SESSION_PIECE
  for _, waiter in ipairs(redis.call('ZRANGE', key('bound_waiters', id), 0, budget - 1)) do
    local w = rule.waiter_of(waiter)
    if w and w.state == 'waiting' then
      rule.drop(w, rule.why_of('session_not_found'), 'refused', s.ended)
    else
      redis.call('ZREM', key('bound_waiters', id), waiter)
    end
    budget = budget - 1
  end
  if budget > 0 then
    for _, bound in ipairs(redis.call('ZRANGE', key('bound', id), 0, budget - 1)) do
      local at = string.find(bound, '\n', 1, true)
      local l = rule.lock_at(string.sub(bound, 1, at - 1), true)
      local lease = rule.lease_of(l, string.sub(bound, at + 1))
      if lease then
        rule.end_lease(l, lease, s.ended)
      else
        redis.call('ZREM', key('bound', id), bound)
      end
      rule.hand_on(l)
      budget = budget - 1
    end
  end
  if budget == 0 then return false end
  redis.call('DEL', key('session', id), key('bound', id), key('bound_waiters', id))
  redis.call('ZREM', tag .. 'sessions_by_end', id)
  return true
end
function rule.start_ending(id, s, how)
  s.ended = how
  rule.keep_session_record(id, s)
  redis.call('ZREM', tag .. 'sessions', id)
  redis.call('ZADD', tag .. 'sessions_by_end', 0, id)
  happened(how == 'session_closed' and 'session_closed' or 'session_expired', nil, s.client)
  return rule.end_pieces(id, s)
end

function rule.live_session(id)
  return rule.session_lives(id) and rule.session_of(id) or nil
end

-- {session id, public id, end, ttl}
function rule.open_session()
  local function again(m)
    local s = rule.live_session(m.what[1])
    if not s then return rule.refusal(rule.why_of('session_not_found')) end
    return {'done', {m.what[1], m.what[2], s.stop, m.what[4]}}
  end
  return rule.once(again, function()
    local id = ask.secrets[1][1]
    local s = {client = ask.client, public = rule.arrival(), ttl = ask.ttl, stop = now + ask.ttl}
    sessions[id] = s
    rule.keep_session_record(id, s)
    redis.call('ZADD', tag .. 'sessions', digits(s.public), id)
    redis.call('ZADD', tag .. 'sessions_by_end', digits(s.stop), id)
    happened('session_opened', nil, ask.client)
    return {id, s.public, s.stop, s.ttl}
  end)
end

-- {end, how many leases, where to go on with their keys or -1}
function rule.keep_keys(id, s, from)
  local bound = redis.call('ZRANGE', key('bound', id), from, from + SESSION_PIECE - 1)
  for _, each in ipairs(bound) do
    local l = rule.lock_at(string.sub(each, 1, string.find(each, '\n', 1, true) - 1), true)
    if l.count > 0 then
      l.dirty = true
      redis.call('PEXPIRE', canonical .. l.name, life(rule.canonical_end(l)))
    end
  end
  return #bound == SESSION_PIECE and from + SESSION_PIECE or -1
end
function rule.keep_session()
  local function kept(s, from)
    return {'done', {s.stop, redis.call('ZCARD', key('bound', ask.session)), from}}
  end
  if ask.from then
    local s = rule.live_session(ask.session)
    if not s then return rule.refusal(rule.why_of('session_not_found')) end
    return kept(s, rule.keep_keys(ask.session, s, ask.from))
  end
  local function again()
    local s = rule.live_session(ask.session)
    if not s then return rule.refusal(rule.why_of('session_not_found')) end
    return kept(s, -1)
  end
  return rule.once(again, function()
    local s = rule.live_session(ask.session)
    if not s then return nil, rule.why_of('session_not_found') end
    s.stop = rule.lasting(s.stop)
    if now + s.ttl > s.stop then s.stop = now + s.ttl end
    rule.keep_session_record(ask.session, s)
    redis.call('ZADD', tag .. 'sessions_by_end', digits(s.stop), ask.session)
    return kept(s, rule.keep_keys(ask.session, s, 0))[2]
  end)
end

-- {how many leases}
function rule.close_session()
  return rule.once(function(m) return {'done', m.what} end, function()
    local s = rule.live_session(ask.session)
    if not s then return nil, rule.why_of('session_not_found') end
    local leases = redis.call('ZCARD', key('bound', ask.session))
    rule.start_ending(ask.session, s, 'session_closed')
    return {leases}
  end)
end
