-- --- giving back

-- Runs `decide` once per request id; `again` makes the answer of a remembered call.
local function once(again, decide)
  local m = find_memo(ask.scope, ask.client or '', ask.request)
  if m then
    if m.kind == 'cancelled' then return refusal(why_of('request_cancelled')) end
    if m.print ~= ask.print then return refusal(why_of('request_id_reused')) end
    if m.kind == 'refused' then return refusal(m.why) end
    return again(m)
  end
  if ask.request ~= '' then m = new_memo(ask.scope, ask.client or '', ask.request, ask.print) end
  local what, why = decide()
  if why then return remember_refusal(m, why) end
  if m then
    m.kind, m.what = 'done', what
    keep_memo(m)
  end
  return {'done', what}
end

-- A row for each lease: {1, ended, holds} or {0, code, how it ended}.
local function release_one(proof)
  local lease, l = find_live(proof.name, proof.id, '', ask.client or '', false)
  if not lease then return nil, not_held(proof.id, '') end
  if lease.holds > 1 then
    claim(l, lease)
    lease.holds = lease.holds - 1
    store_lease(l, lease)
    return {1, 0, lease.holds}
  end
  end_lease(l, lease, 'released')
  hand_on(l)
  return {1, 1, 0}
end
local function release()
  return once(function(m) return {'done', m.what} end, function()
    local rows = {}
    for i, proof in ipairs(ask.leases) do
      local row, why = release_one(proof)
      if not row and not ask.multi then return nil, why end
      rows[i] = row or {0, why.code, why.ended}
    end
    return rows
  end)
end

-- {1, end, token} or {0, code, how it ended}.
local function renew_one(proof)
  local lease, l = find_live(proof.name, proof.id, proof.renewal, ask.client or '', true)
  if not lease then return nil, not_held(proof.id, proof.renewal) end
  if ask.by_service and lease.provisional then return nil, why_of('lock_not_held') end
  if lease.sent_to and not ask.by_service then
    lease.sent_to = nil
    redis.call('DEL', key('sent', lease.id))
  end
  if not ask.by_service then
    lease.told = lease.told + 1
    claim(l, lease)
  end
  if not lease.session then
    if ask.ttl then lease.ttl = ask.ttl end
    local stop, was = now + lease.ttl, effective_end(lease)
    if stop > lease.limit then stop = lease.limit end
    lease.stop = stop > was and stop or was
  end
  store_lease(l, lease)
  redis.call('PEXPIRE', canonical .. l.name, life(canonical_end(l)))
  return {1, effective_end(lease), lease.token}
end
local function renew()
  local function again(m)
    local rows = {}
    for i, was in ipairs(m.what) do
      local proof = ask.leases[i]
      local lease = proof and find_live(proof.name, proof.id, proof.renewal, ask.client or '', true)
      if was[1] == 0 then
        rows[i] = was
      elseif lease and lease.token == was[3] then
        rows[i] = {1, effective_end(lease), lease.token}
      else
        rows[i] = {0, 'lock_not_held', ''}
      end
    end
    if not ask.multi and rows[1][1] == 0 then
      local why = why_of(rows[1][2])
      why.ended = rows[1][3]
      return refusal(why)
    end
    return {'done', rows}
  end
  return once(again, function()
    local rows = {}
    for i, proof in ipairs(ask.leases) do
      local row, why = renew_one(proof)
      if not row and not ask.multi then return nil, why end
      rows[i] = row or {0, why.code, why.ended}
    end
    return rows
  end)
end

local function cancel()
  local m = find_memo(ask.scope, ask.client, ask.request)
  if not m then
    keep_memo(new_memo(ask.scope, ask.client, ask.request, ''))
    return {'done', 1}
  end
  if m.kind == 'cancelled' then return {'done', 1} end
  if m.kind == 'waiter' then
    local w = waiter_of(m.waiter)
    for _, want in ipairs(w.wants) do lock_at(want.name) end
    if w.state == 'waiting' then
      m.kind, m.waiter = 'cancelled', nil
      keep_memo(m)
      w.remembered = nil
      drop(w, why_of('request_cancelled'), 'cancelled', 'cancelled')
      return {'done', 1}
    end
    m = find_memo(ask.scope, ask.client, ask.request)
  end
  if m.kind == 'reentered' then
    local slot = m.slots[1]
    local lease, l = find_live(slot[1], slot[2], '', '', false)
    if not lease then return {'done', 0} end
    for i, at in ipairs(lease.memos) do
      if at == m.key then table.remove(lease.memos, i) break end
    end
    m.kind, m.slots = 'cancelled', nil
    keep_memo(m)
    release_one({name = slot[1], id = slot[2]})
    return {'done', 1}
  end
  if m.kind ~= 'leases' then return {'done', 0} end
  local any = false
  for _, slot in ipairs(m.slots) do
    local l = lock_at(slot[1])
    local lease = lease_of(l, slot[2])
    if lease then
      local lived = lives(lease)
      any = any or lived
      end_lease(l, lease, lived and 'cancelled' or why_over(lease))
      hand_on(l)
    end
  end
  if not any then return {'done', 0} end
  m.kind, m.slots = 'cancelled', nil
  keep_memo(m)
  return {'done', 1}
end

local function force()
  return once(function(m) return {'done', m.what} end, function()
    local l = lock_at(ask.name)
    local tokens = {}
    local all = leases_of(l, l.count)
    if ask.token then all = {lease_of_token(l, ask.token)} end
    for _, lease in ipairs(all) do
      if lives(lease) then
        tokens[#tokens + 1] = lease.token
        end_lease(l, lease, 'forced', ask.reason)
      end
    end
    hand_on(l)
    return tokens
  end)
end
