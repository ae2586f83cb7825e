-- --- what there is, as everybody may see it

function rule.view_of(l, most_holders, most_waiters)
  -- The value that was read with the record says nothing of a key that is no string.
  if l.count == 0 and not l.foreign and redis.call('EXISTS', canonical .. l.name) == 1 then l.foreign = true end
  if rule.is_idle(l) and not l.foreign then return {l.name, 0, 'exclusive', 0, 0, {}, 0, {}, 0, 0, 0} end
  local rows, count = rule.holder_rows(l, most_holders)
  local mode, waiting = l.mode, {}
  if most_waiters > 0 and l.waiting > 0 then
    for position, id in ipairs(redis.call('ZRANGE', key('queue', l.name), 0, most_waiters - 1)) do
      local w = rule.waiter_of(id)
      if w then
        for _, want in ipairs(w.wants) do
          if want.name == l.name then
            waiting[#waiting + 1] = {w.client, want.mode, want.permits, position, w.since, w.deadline, rule.attached(w) and 1 or 0}
          end
        end
      end
    end
  end
  if l.limit > 0 then
    mode = 'semaphore'
  elseif l.count == 0 and l.waiting > 0 then
    local w = rule.waiter_of(redis.call('ZRANGE', key('queue', l.name), 0, 0)[1])
    for _, want in ipairs(w and w.wants or {}) do if want.name == l.name then mode = want.mode end end
  end
  return {l.name, (count > 0 or l.foreign) and 1 or 0, mode == '' and 'exclusive' or mode, l.limit, l.limit > 0 and l.used or 0, rows,
          count, waiting, l.waiting, l.latest, l.delay > now and l.delay or 0}
end

function rule.status()
  return {'done', rule.view_of(rule.lock_at(ask.name), ask.holders, ask.waiters)}
end
function rule.validate()
  local l = rule.lock_at(ask.name)
  local lease = rule.lease_of_token(l, ask.token)
  return {'done', {lease and rule.lives(lease) and 1 or 0, rule.is_idle(l) and 0 or l.latest}}
end

-- A row for each lock: {lock, position, holders, how many}; none: it does not wait any more.
function rule.places()
  local w = rule.waiter_of(ask.waiter)
  if w then
    for _, want in ipairs(w.wants) do rule.lock_at(want.name) end
  end
  if not w or w.state ~= 'waiting' then return {'done', {}} end
  local rows = {}
  for i, want in ipairs(w.wants) do
    local l = rule.lock_at(want.name, true)
    local holders, count = rule.holder_rows(l, 10)
    rows[i] = {l.name, (redis.call('ZRANK', key('queue', l.name), w.id) or 0) + 1, holders, count}
  end
  return {'done', rows}
end

local LOOKED_AT = 2000
function rule.has_client(l, client)
  for _, lease in ipairs(rule.leases_of(l, l.count)) do if lease.client == client then return true end end
  if l.waiting == 0 then return false end
  for _, id in ipairs(redis.call('ZRANGE', key('queue', l.name), 0, -1)) do
    local w = rule.waiter_of(id)
    if w and w.client == client then return true end
  end
  return false
end
-- {where to go on or 0, views}
function rule.list_locks()
  local found, at, views = redis.call('ZRANGEBYSCORE', tag .. 'names', '(' .. digits(ask.cursor), '+inf', 'WITHSCORES', 'LIMIT', 0, LOOKED_AT), ask.cursor, {}
  for i = 1, #found, 2 do
    if #views == ask.limit then return {'done', {at, views}} end
    at = tonumber(found[i + 1])
    if string.sub(found[i], 1, #ask.prefix) == ask.prefix then
      local l = rule.lock_at(found[i])
      if not rule.is_idle(l) and (ask.client == '' or rule.has_client(l, ask.client)) then views[#views + 1] = rule.view_of(l, 10, 0) end
    end
  end
  return {'done', {#found == 2 * LOOKED_AT and at or 0, views}}
end
-- {where to go on or 0, {public id, client, end, ttl, how many leases}..}
function rule.list_sessions()
  local found = redis.call('ZRANGEBYSCORE', tag .. 'sessions', '(' .. digits(ask.cursor), '+inf', 'LIMIT', 0, ask.limit + 1)
  local rows, at = {}, 0
  for i, id in ipairs(found) do
    local s = rule.session_of(id)
    if i > ask.limit then return {'done', {at, rows}} end
    if s then
      at = s.public
      if rule.session_lives(id) then rows[#rows + 1] = {s.public, s.client, s.stop, s.ttl, redis.call('ZCARD', key('bound', id))} end
    end
  end
  return {'done', {0, rows}}
end
-- {where to go on or 0, {from, to, lock, behind}..}
function rule.edges()
  local found = redis.call('ZRANGEBYSCORE', tag .. 'names', '(' .. digits(ask.cursor), '+inf', 'WITHSCORES', 'LIMIT', 0, LOOKED_AT)
  local rows, at = {}, 0
  for i = 1, #found, 2 do
    at = tonumber(found[i + 1])
    local l = rule.lock_at(found[i])
    if l.waiting > 0 then
      local before
      local holders = rule.leases_of(l, l.count)
      for _, id in ipairs(redis.call('ZRANGE', key('queue', l.name), 0, ask.limit - 1)) do
        local w = rule.waiter_of(id)
        if w then
          for _, lease in ipairs(holders) do
            if #rows < ask.limit then rows[#rows + 1] = {w.client, lease.client, l.name, 0} end
          end
          if before and #rows < ask.limit then rows[#rows + 1] = {w.client, before, l.name, 1} end
          before = w.client
        end
      end
      if #rows >= ask.limit then return {'done', {0, rows}} end
    end
  end
  return {'done', {#found == 2 * LOOKED_AT and at or 0, rows}}
end
