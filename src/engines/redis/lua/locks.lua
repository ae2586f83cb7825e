-- --- locks

function rule.is_idle(l) return l.count == 0 and l.waiting == 0 and l.delay == 0 end

local stored = {}  -- by name: locks as they were read
function rule.lock_as_stored(name)
  if stored[name] then return stored[name] end
  local raw = redis.call('MGET', key('lock', name), canonical .. name)
  local r = rule.plain_record(raw[1])
  local l = r and rule.plain_lock(name, r) or rule.crowd_lock(name, raw[1]) or unpacked(raw[1]) or
            {mode = '', limit = 0, used = 0, count = 0, delay = 0, latest = 0, plain = true, memos = {}}
  l.name = name
  l.waiting = l.queue and redis.call('ZCARD', key('queue', name)) or 0
  l.shown = raw[2]
  l.were = l.count
  l.known = raw[1] and true or false
  stored[name] = l
  return l
end

-- A lease lives in the lock's record (exclusive), or in a hash of its own (readers, permits), with a line by end and one by
-- token beside it.
function rule.lease_of(l, id)
  if l.holder then return l.holder.id == id and l.holder or nil end
  if l.count == 0 or l.mode == 'exclusive' then return nil end
  return unpacked(redis.call('HGET', key('leases', l.name), id))
end
function rule.lease_of_renewal(l, renewal)
  if l.holder then return l.holder.renewal == renewal and l.holder or nil end
  if l.count == 0 or l.mode == 'exclusive' then return nil end
  local id = redis.call('HGET', key('leases', l.name), '~' .. renewal)
  return id and rule.lease_of(l, id) or nil
end
function rule.lease_of_token(l, token)
  if l.holder then return l.holder.token == token and l.holder or nil end
  if l.count == 0 or l.mode == 'exclusive' then return nil end
  local found = redis.call('ZRANGEBYSCORE', key('tokens', l.name), digits(token), digits(token), 'LIMIT', 0, 1)
  return found[1] and rule.lease_of(l, found[1]) or nil
end
-- By token, `most` of them.
function rule.leases_of(l, most)
  if l.holder then return {l.holder} end
  if l.count == 0 or l.mode == 'exclusive' then return {} end
  local out = {}
  for _, id in ipairs(redis.call('ZRANGE', key('tokens', l.name), 0, most - 1)) do out[#out + 1] = rule.lease_of(l, id) end
  return out
end

function rule.end_of_key(lease)
  if lease.session and not lease.provisional then
    return lease.limit
  end
  return lease.stop
end
function rule.store_lease(l, lease)
  l.dirty = true
  if lease.session then l.bound = true else rule.reach(lease.stop) end
  if l.mode == 'exclusive' then
    l.holder = lease
    return
  end
  redis.call('HSET', key('leases', l.name), lease.id, pack(lease), '~' .. lease.renewal, lease.id)
  redis.call('ZADD', key('ends', l.name), digits(rule.end_of_key(lease)), lease.id)
  redis.call('ZADD', key('tokens', l.name), digits(lease.token), lease.id)
end
function rule.drop_lease(l, lease)
  l.dirty = true
  if l.mode == 'exclusive' then
    l.holder = nil
    return
  end
  redis.call('HDEL', key('leases', l.name), lease.id, '~' .. lease.renewal)
  redis.call('ZREM', key('ends', l.name), lease.id)
  redis.call('ZREM', key('tokens', l.name), lease.id)
end

-- How long the canonical key of a lock has to last: until its last lease ends.
function rule.canonical_end(l)
  if l.holder then return rule.effective_end(l.holder) end
  if l.bound then
    local stop = now
    for _, lease in ipairs(rule.leases_of(l, l.count)) do
      local its = rule.effective_end(lease)
      if its > stop then stop = its end
    end
    return stop
  end
  local last = redis.call('ZRANGE', key('ends', l.name), -1, -1, 'WITHSCORES')
  return last[2] and rule.lasting(tonumber(last[2])) or now
end
-- When something about the lock ends by itself, whether or not anybody waits.
function rule.next_end(l)
  local at = NEVER
  local function by(instant) if instant < at then at = instant end end
  if l.delay > 0 then by(l.delay) end
  if l.holder then
    by(rule.effective_end(l.holder))
  elseif l.bound then
    for _, lease in ipairs(rule.leases_of(l, l.count)) do by(rule.effective_end(lease)) end
  elseif l.count > 0 then
    local first = redis.call('ZRANGE', key('ends', l.name), 0, 0, 'WITHSCORES')
    if first[2] then by(rule.lasting(tonumber(first[2]))) end
  end
  return at
end

-- All locks that are in use, for lists and for those who end what nobody looks at: by when they came, and by when something
-- of them ends. A crowded lock stays listed by an end that has moved on: whoever looks at it then lists it anew (`listed_by`:
-- that, or later).
local soonest = NEVER
local more = {}  -- by name: as many were served as may be in one step, and there are others
function rule.list(l, at)
  if at < soonest then soonest = at end
  if not l.listed_by or at < l.listed_by then redis.call('ZADD', tag .. 'by_end', digits(at), l.name) end
  if not l.known then redis.call('ZADD', tag .. 'names', 'NX', digits(rule.arrival()), l.name) end
end
-- A plain lock, of which these rules have no record (see plain.lua), is listed, counted and taken off the list a moment later by
-- the replica that granted it.
function rule.is_listed(l) return redis.call('ZSCORE', tag .. 'names', l.name) and true or false end
function rule.list_plain(l)
  if l.count > 0 then
    l.known = rule.is_listed(l)
    rule.list(l, rule.next_end(l))
    if not l.known then counted = counted + 1 end
  elseif redis.call('ZREM', tag .. 'names', l.name) == 1 then
    redis.call('ZREM', tag .. 'by_end', l.name)
    counted = counted - 1
  end
end
-- Writes what has changed. A lock that is in use keeps its record for an hour beyond its leases; whoever waits looks at it
-- more often than that.
function rule.save(l)
  if not l.dirty then return end
  local name = l.name
  if l.plain then  -- it is so no longer
    l.known = rule.is_listed(l)
    l.were = l.known and 1 or 0
    for at, m in pairs(l.memos) do
      if not kept[at] and m.forget > now then rule.keep_memo(m, m.forget - ask.memory) end
    end
  end
  counted = counted + l.count - l.were
  if rule.is_idle(l) then
    redis.call('DEL', key('lock', name), key('leases', name), key('ends', name), key('tokens', name), key('queue', name))
    redis.call('ZREM', tag .. 'names', name)
    redis.call('ZREM', tag .. 'by_end', name)
    return
  end
  local at = rule.next_end(l)
  if more[name] then at = now end
  rule.list(l, at < NEVER and at or now + 60000000)
  local stop = l.count > 0 and rule.canonical_end(l) or now
  if l.count == 0 or l.mode == 'exclusive' then l.bound = l.holder and l.holder.session and true or nil end
  local hour = life((stop > l.delay and stop or l.delay) + 3600000000)
  redis.call('SET', key('lock', name), rule.crowd_lock_text(l) or pack({
    mode = l.mode, limit = l.limit, used = l.used, count = l.count, delay = l.delay, latest = l.latest, holder = l.holder,
    queue = l.waiting > 0 or nil, bound = l.bound, tangled = l.waiting > 0 and l.tangled or nil, sent = l.sent}), 'PX', hour)
  if l.waiting > 0 then redis.call('PEXPIRE', key('queue', name), hour) end
  if l.count > 0 and l.mode ~= 'exclusive' then
    redis.call('PEXPIRE', key('leases', name), hour)
    redis.call('PEXPIRE', key('ends', name), hour)
    redis.call('PEXPIRE', key('tokens', name), hour)
  end
end
