-- --- sessions: one heartbeat for many leases

local SESSION_PIECE = 128
local function keep_session_record(id, s)
  reach(s.stop)
  redis.call('SET', key('session', id), pack(s), 'PX', life((s.stop > now and s.stop or now) + 3600000000))
end

-- From `start_ending` on the session and its leases count as ended; taking them apart may need several steps. True: it is done.
local function end_pieces(id, s)
  local budget = SESSION_PIECE
  for _, waiter in ipairs(redis.call('ZRANGE', key('bound_waiters', id), 0, budget - 1)) do
    local w = waiter_of(waiter)
    if w and w.state == 'waiting' then
      drop(w, why_of('session_not_found'), 'refused', s.ended)
    else
      redis.call('ZREM', key('bound_waiters', id), waiter)
    end
    budget = budget - 1
  end
  if budget > 0 then
    for _, bound in ipairs(redis.call('ZRANGE', key('bound', id), 0, budget - 1)) do
      local at = string.find(bound, '\n', 1, true)
      local l = lock_at(string.sub(bound, 1, at - 1), true)
      local lease = lease_of(l, string.sub(bound, at + 1))
      if lease then
        end_lease(l, lease, s.ended)
      else
        redis.call('ZREM', key('bound', id), bound)
      end
      hand_on(l)
      budget = budget - 1
    end
  end
  if budget == 0 then return false end
  redis.call('DEL', key('session', id), key('bound', id), key('bound_waiters', id))
  redis.call('ZREM', tag .. 'sessions_by_end', id)
  return true
end
local function start_ending(id, s, how)
  s.ended = how
  keep_session_record(id, s)
  redis.call('ZREM', tag .. 'sessions', id)
  redis.call('ZADD', tag .. 'sessions_by_end', 0, id)
  happened(how == 'session_closed' and 'session_closed' or 'session_expired', nil, s.client)
  return end_pieces(id, s)
end

local function live_session(id)
  return session_lives(id) and session_of(id) or nil
end

-- {session id, public id, end, ttl}
local function open_session()
  local function again(m)
    local s = live_session(m.what[1])
    if not s then return refusal(why_of('session_not_found')) end
    return {'done', {m.what[1], m.what[2], s.stop, m.what[4]}}
  end
  return once(again, function()
    local id = ask.secrets[1][1]
    local s = {client = ask.client, public = arrival(), ttl = ask.ttl, stop = now + ask.ttl}
    sessions[id] = s
    keep_session_record(id, s)
    redis.call('ZADD', tag .. 'sessions', digits(s.public), id)
    redis.call('ZADD', tag .. 'sessions_by_end', digits(s.stop), id)
    happened('session_opened', nil, ask.client)
    return {id, s.public, s.stop, s.ttl}
  end)
end

-- {end, how many leases, where to go on with their keys or -1}
local function keep_keys(id, s, from)
  local bound = redis.call('ZRANGE', key('bound', id), from, from + SESSION_PIECE - 1)
  for _, each in ipairs(bound) do
    local l = lock_at(string.sub(each, 1, string.find(each, '\n', 1, true) - 1), true)
    if l.count > 0 then
      l.dirty = true
      redis.call('PEXPIRE', canonical .. l.name, life(canonical_end(l)))
    end
  end
  return #bound == SESSION_PIECE and from + SESSION_PIECE or -1
end
local function keep_session()
  local function kept(s, from)
    return {'done', {s.stop, redis.call('ZCARD', key('bound', ask.session)), from}}
  end
  if ask.from then
    local s = live_session(ask.session)
    if not s then return refusal(why_of('session_not_found')) end
    return kept(s, keep_keys(ask.session, s, ask.from))
  end
  local function again()
    local s = live_session(ask.session)
    if not s then return refusal(why_of('session_not_found')) end
    return kept(s, -1)
  end
  return once(again, function()
    local s = live_session(ask.session)
    if not s then return nil, why_of('session_not_found') end
    s.stop = lasting(s.stop)
    if now + s.ttl > s.stop then s.stop = now + s.ttl end
    keep_session_record(ask.session, s)
    redis.call('ZADD', tag .. 'sessions_by_end', digits(s.stop), ask.session)
    return kept(s, keep_keys(ask.session, s, 0))[2]
  end)
end

-- {how many leases}
local function close_session()
  return once(function(m) return {'done', m.what} end, function()
    local s = live_session(ask.session)
    if not s then return nil, why_of('session_not_found') end
    local leases = redis.call('ZCARD', key('bound', ask.session))
    start_ending(ask.session, s, 'session_closed')
    return {leases}
  end)
end
