-- --- the step

local verbs = {
  acquire = acquire, release = release, renew = renew, cancel = cancel, force = force, detach = detach,
  undelivered = undelivered, collect = collect, graph = graph, refuse = refuse, open_session = open_session,
  keep_session = keep_session, close_session = close_session, status = status, validate = validate, places = places,
  list = list_locks, sessions = list_sessions, edges = edges, index = index, sweep = sweep, beat = beat, news = news, raise = raise,
  confirm = confirm, stepped = stepped}

local out = verbs[ask.verb]()
local i = 1
while unserved[i] do
  hand_on(unserved[i])
  i = i + 1
end

-- What waiters of the asking replica are to be told goes with the answer. The grants among it are taken back unless the replica
-- deletes `sent:<lease>` before it tells its caller.
local tellings = {}
for i, t in ipairs(told) do
  local w = waiter_of(t[1])
  local outcome
  if t[3] == 'superseded' then
    outcome = refusal(why_of('superseded'))
  elseif w.state == 'refused' then
    outcome = refusal(w.why)
  else
    local first = lease_of(lock_at(w.slots[1][1], true), w.slots[1][2])
    outcome = first and granted(w.slots, first.at - w.since) or refusal(why_of('lock_not_held'))
  end
  tellings[i] = {t[1], t[2], outcome}
end

local looks = {}
for name, l in pairs(locks) do
  if l.waiting > 0 then looks[#looks + 1] = {name, digits(next_look(l))} end
  save(l)
end
for what, by in pairs(counted) do
  if by ~= 0 then redis.call('HINCRBY', tag .. 'counts', what, by) end
end
save_fence()
if ask.verb == 'sweep' then
  local c = redis.call('HMGET', tag .. 'counts', 'leases', 'waiters')
  local row = out[2]
  row[4], row[5], row[6] = redis.call('ZCARD', tag .. 'names'), tonumber(c[1] or 0), tonumber(c[2] or 0)
  row[7] = redis.call('ZCARD', tag .. 'sessions')
end
return {digits(now), out, events, tellings, looks, cannot_grant or '', digits(soonest)}
