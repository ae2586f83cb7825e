-- --- giving back

-- Runs `decide` once per request id; `again` makes the answer of a remembered call.
function rule.once(again, decide)
  local m = rule.find_memo(ask.scope, ask.client or '', ask.request)
  if m then
    if m.kind == 'cancelled' then return rule.refusal(rule.why_of('request_cancelled')) end
    if m.print ~= ask.print then return rule.refusal(rule.why_of('request_id_reused')) end
    if m.kind == 'refused' then return rule.refusal(m.why) end
    return again(m)
  end
  if ask.request ~= '' then m = rule.new_memo(ask.scope, ask.client or '', ask.request, ask.print) end
  local what, why = decide()
  if why then return rule.remember_refusal(m, why) end
  if m then
    m.kind, m.what = 'done', what
    rule.keep_memo(m)
  end
  return {'done', what}
end

-- A row for each lease: {1, ended, holds} or {0, code, how it ended}.
function rule.release_one(proof)
  local lease, l = rule.find_live(proof.name, proof.id, '', ask.client or '', false)
  if not lease then return nil, rule.not_held(proof.id, '') end
  if lease.holds > 1 then
    rule.claim(l, lease)
    lease.holds = lease.holds - 1
    rule.store_lease(l, lease)
    return {1, 0, lease.holds}
  end
  rule.end_lease(l, lease, 'released')
  rule.hand_on(l)
  return {1, 1, 0}
end
function rule.release()
  return rule.once(function(m) return {'done', m.what} end, function()
    local rows = {}
    for i, proof in ipairs(ask.leases) do
      local row, why = rule.release_one(proof)
      if not row and not ask.multi then return nil, why end
      rows[i] = row or {0, why.code, why.ended}
    end
    return rows
  end)
end

-- {1, end, token} or {0, code, how it ended}.
function rule.renew_one(proof)
  local lease, l = rule.find_live(proof.name, proof.id, proof.renewal, ask.client or '', true)
  if not lease then return nil, rule.not_held(proof.id, proof.renewal) end
  if ask.by_service and lease.provisional then return nil, rule.why_of('lock_not_held') end
  if lease.sent_to and not ask.by_service then
    lease.sent_to = nil
    redis.call('DEL', key('sent', lease.id))
  end
  if not ask.by_service then
    lease.told = lease.told + 1
    rule.claim(l, lease)
  end
  if not lease.session then
    if ask.ttl then lease.ttl = ask.ttl end
    local stop, was = now + lease.ttl, rule.effective_end(lease)
    if stop > lease.limit then stop = lease.limit end
    lease.stop = stop > was and stop or was
  end
  rule.store_lease(l, lease)
  redis.call('PEXPIRE', canonical .. l.name, life(rule.canonical_end(l)))
  return {1, rule.effective_end(lease), lease.token}
end
function rule.renew()
  local function again(m)
    local rows = {}
    for i, was in ipairs(m.what) do
      local proof = ask.leases[i]
      local lease = proof and rule.find_live(proof.name, proof.id, proof.renewal, ask.client or '', true)
      if was[1] == 0 then
        rows[i] = was
      elseif lease and lease.token == was[3] then
        rows[i] = {1, rule.effective_end(lease), lease.token}
      else
        rows[i] = {0, 'lock_not_held', ''}
      end
    end
    if not ask.multi and rows[1][1] == 0 then
      local why = rule.why_of(rows[1][2])
      why.ended = rows[1][3]
      return rule.refusal(why)
    end
    return {'done', rows}
  end
  return rule.once(again, function()
    local rows = {}
    for i, proof in ipairs(ask.leases) do
      local row, why = rule.renew_one(proof)
      if not row and not ask.multi then return nil, why end
      rows[i] = row or {0, why.code, why.ended}
    end
    return rows
  end)
end

function rule.cancel()
  local m = rule.find_memo(ask.scope, ask.client, ask.request)
  if not m then
    rule.keep_memo(rule.new_memo(ask.scope, ask.client, ask.request, ''))
    return {'done', 1}
  end
  if m.kind == 'cancelled' then return {'done', 1} end
  if m.kind == 'waiter' then
    local w = rule.waiter_of(m.waiter)
    for _, want in ipairs(w and w.wants or {}) do rule.lock_at(want.name) end
    if not w then  -- a failover has lost it
      m.kind, m.waiter = 'cancelled', nil
      rule.keep_memo(m)
      return {'done', 1}
    end
    if w.state == 'waiting' then
      m.kind, m.waiter = 'cancelled', nil
      rule.keep_memo(m)
      w.remembered = nil
      rule.drop(w, rule.why_of('request_cancelled'), 'cancelled', 'cancelled')
      return {'done', 1}
    end
    m = rule.find_memo(ask.scope, ask.client, ask.request)
  end
  if m.kind == 'reentered' then
    local slot = m.slots[1]
    local lease, l = rule.find_live(slot[1], slot[2], '', '', false)
    if not lease then return {'done', 0} end
    for i, at in ipairs(lease.memos) do
      if at == m.key then table.remove(lease.memos, i) break end
    end
    m.kind, m.slots = 'cancelled', nil
    rule.keep_memo(m)
    rule.release_one({name = slot[1], id = slot[2]})
    return {'done', 1}
  end
  if m.kind ~= 'leases' then return {'done', 0} end
  local any = false
  for _, slot in ipairs(m.slots) do
    local l = rule.lock_at(slot[1])
    local lease = rule.lease_of(l, slot[2])
    if lease then
      local lived = rule.lives(lease)
      any = any or lived
      rule.end_lease(l, lease, lived and 'cancelled' or rule.why_over(lease))
      rule.hand_on(l)
    end
  end
  if not any then return {'done', 0} end
  m.kind, m.slots = 'cancelled', nil
  rule.keep_memo(m)
  return {'done', 1}
end

-- Of an acquire without a request id, which asked for this lease id: {1} nothing of it is left, and nothing will come; {0} it may
-- still be on its way, because no call is decided after the latest instant that its asker knew of (step.lua), and that is not over.
function rule.settle_acquire()
  local l = rule.lock_at(ask.name)
  local lease = rule.lease_of(l, ask.id)
  if lease then
    rule.end_lease(l, lease, rule.lives(lease) and 'cancelled' or rule.why_over(lease))
    rule.hand_on(l)
    return {'done', {1}}
  end
  for _, waiter in ipairs(redis.call('ZRANGE', key('queue', l.name), 0, -1)) do
    local w = rule.waiter_of(waiter)
    if w and w.state == 'waiting' and w.secrets[1][1] == ask.id then
      rule.drop(w, rule.why_of('request_cancelled'), 'cancelled', 'cancelled')
      return {'done', {1}}
    end
  end
  return {'done', {now > ask.bound and 1 or 0}}
end

function rule.force()
  return rule.once(function(m) return {'done', m.what} end, function()
    local l = rule.lock_at(ask.name)
    local tokens = {}
    local all = rule.leases_of(l, l.count)
    if ask.token then all = {rule.lease_of_token(l, ask.token)} end
    for _, lease in ipairs(all) do
      if rule.lives(lease) then
        tokens[#tokens + 1] = lease.token
        rule.end_lease(l, lease, 'forced', ask.reason)
      end
    end
    rule.hand_on(l)
    return tokens
  end)
end
