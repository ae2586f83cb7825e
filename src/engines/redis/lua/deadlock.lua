-- --- deadlocks
--
-- A new wait that may close a cycle is searched by the replica that made it (core/wait_for_graph.hpp), over what `graph` tells
-- it. `refuse` ends the wait only if the graph is still the one in which the cycle was found.

-- Whether a holder of the lock waits for something himself, or is the one who asks.
function rule.holders_wait(l)
  if l.count > 64 then return true end
  for _, lease in ipairs(rule.leases_of(l, l.count)) do
    if lease.client == ask.client or redis.call('EXISTS', key('waits', lease.client)) == 1 then return true end
  end
  return false
end
-- The newest first.
function rule.waits_of(client)
  local ids = redis.call('SMEMBERS', key('waits', client))
  table.sort(ids, function(a, b) return a > b end)
  return ids
end
-- A client that waits for several locks can block those behind it by what it gets last.
function rule.tangle_others(w)
  for _, id in ipairs(rule.waits_of(w.client)) do
    local other = id ~= w.id and rule.waiter_of(id)
    if other then
      for _, want in ipairs(other.wants) do
        local l = rule.lock_at(want.name, true)
        l.tangled, l.dirty = true, true
      end
    end
  end
end

-- The part of the wait-for graph that `newest` can reach: {clients, their needs}; a need: {lock, enough, {{blocker, permits,
-- behind}..}}, with clients named by their place.
local MOST_WAITS = 20000
function rule.graph_from(newest)
  local clients, places, needs, seen = {newest.client}, {[newest.client] = 0}, {}, 0
  local function place_of(client)
    if not places[client] then
      places[client] = #clients
      clients[#clients + 1] = client
    end
    return places[client]
  end
  local i = 1
  while clients[i] do
    local mine, permits = {}, {}
    for _, id in ipairs(rule.waits_of(clients[i])) do
      local w = rule.waiter_of(id)
      if w and w.state == 'waiting' then
        for _, want in ipairs(w.wants) do
          seen = seen + 1
          if seen > MOST_WAITS then return nil end
          local l = rule.lock_at(want.name, true)
          local need = {want.name, 0, {}}
          local semaphore = want.mode == 'semaphore'
          if semaphore then
            local room = l.limit - l.used
            permits[want.name] = (permits[want.name] or 0) + want.permits
            if permits[want.name] > room then need[2] = permits[want.name] - room end
          end
          local all = want.mode == 'exclusive' or (want.mode == 'shared' and l.mode == 'exclusive')
          if l.count > 0 and (all or need[2] > 0) then
            for _, lease in ipairs(rule.leases_of(l, l.count)) do
              need[3][#need[3] + 1] = {place_of(lease.client), lease.permits, 0}
            end
          end
          if semaphore and permits[want.name] > l.limit then need[3][#need[3] + 1] = {i - 1, 0, 1} end
          if #need[3] > 0 then mine[#mine + 1] = need end
          local rank = redis.call('ZRANK', key('queue', want.name), id)
          if rank and rank > 0 then
            local before_id = redis.call('ZRANGE', key('queue', want.name), rank - 1, rank - 1)[1]
            local before = rule.waiter_of(before_id)
            if before then
              local its_mode
              for _, other in ipairs(before.wants) do if other.name == want.name then its_mode = other.mode end end
              local together = want.mode ~= 'exclusive' and its_mode ~= 'exclusive'
              if before.client ~= clients[i] or not together then
                mine[#mine + 1] = {want.name, 0, {{place_of(before.client), 0, 1}}}
              end
            end
          end
        end
      end
    end
    needs[i] = mine
    i = i + 1
  end
  return {clients, needs}
end
function rule.graph()
  local w = rule.waiter_of(ask.waiter)
  if not w then return {'graph', '', {}, {}} end
  for _, want in ipairs(w.wants) do rule.lock_at(want.name) end
  local found = w.state == 'waiting' and rule.graph_from(w)
  if not found then return {'graph', '', {}, {}} end
  return {'graph', redis.sha1hex(pack(found)), found[1], found[2]}
end
function rule.refuse()
  local w = rule.waiter_of(ask.waiter)
  if not w then return {'done', 0} end
  for _, want in ipairs(w.wants) do rule.lock_at(want.name) end
  if w.state ~= 'waiting' or w.epoch ~= ask.epoch then return {'done', 0} end
  local found = rule.graph_from(w)
  if not found or redis.sha1hex(pack(found)) ~= ask.graph then return {'done', 0} end
  local why = rule.why_of('deadlock_detected', rule.lock_at(ask.cycle[1].lock, true))
  why.queue = why.queue - 1
  why.cycle = ask.cycle
  happened('deadlock', ask.cycle[1].lock, w.client)
  local left = rule.leave_queues(w)
  if w.remembered then
    local m = unpacked(redis.call('GET', w.remembered))
    if m and m.kind == 'waiter' and m.waiter == w.id then
      m.key = w.remembered
      m.kind, m.waiter, m.why = 'refused', nil, rule.without_holders(why)
      rule.keep_memo(m)
    end
  end
  redis.call('DEL', key('waiter', w.id))
  w.state = 'refused'
  local out = rule.refusal(why)
  for _, l in ipairs(left) do rule.hand_on(l) end
  return out
end
