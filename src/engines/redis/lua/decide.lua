-- --- the step

-- All others have the name of their rule.
local verbs = {list = rule.list_locks, sessions = rule.list_sessions, settle = rule.settle_acquire}
-- A store that is full refuses to begin with what needs memory, but not to go on with it: what frees memory, or keeps a lease
-- alive, begins with something that changes nothing.
if ask.verb ~= 'acquire' and ask.verb ~= 'open_session' then redis.call('PERSIST', tag .. 'fence') end
local out = (verbs[ask.verb] or rule[ask.verb])()
local i = 1
while unserved[i] do
  rule.hand_on(unserved[i])
  i = i + 1
end

-- What waiters of the asking replica are to be told goes with the answer. The grants among it are taken back unless the replica
-- deletes `sent:<lease>` before it tells its caller.
local tellings = {}
for i, t in ipairs(told) do
  local w = rule.waiter_of(t[1])
  local outcome
  if t[3] == 'superseded' then
    outcome = rule.refusal(rule.why_of('superseded'))
  elseif w.state == 'refused' then
    outcome = rule.refusal(w.why)
  else
    local first = rule.lease_of(rule.lock_at(w.slots[1][1], true), w.slots[1][2])
    outcome = first and rule.granted(w.slots, first.at - w.since) or rule.refusal(rule.why_of('lock_not_held'))
  end
  tellings[i] = {t[1], t[2], outcome}
end

local looks = {}
for name, l in pairs(locks) do
  if l.waiting > 0 then looks[#looks + 1] = {name, digits(rule.next_look(l))} end
  rule.save(l)
end
if counted ~= 0 then redis.call('HINCRBY', tag .. 'counts', 'leases', counted) end
rule.save_fence()
if ask.verb == 'sweep' then
  local row, waiting = out[2], redis.call('ZCARD', tag .. 'graces')
  for replica in pairs(beats) do waiting = waiting + redis.call('SCARD', key('of', replica)) end
  row[4], row[5] = redis.call('ZCARD', tag .. 'names'), tonumber(redis.call('HGET', tag .. 'counts', 'leases') or 0)
  row[6], row[7] = waiting, redis.call('ZCARD', tag .. 'sessions')
end
return {digits(now), out, events, tellings, looks, cannot_grant or '', digits(soonest)}

end)()
