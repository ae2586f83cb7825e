-- The crowded case: a plain lock (plain.lua) that somebody holds and others wait for, none of them for anything else. Taking a
-- place in its queue, and giving it back to the next one, is what such a lock is about, so both are decided here, without making
-- any of the rules below, and in few commands. They read and write the same records as the rules, to the same effect; whatever is
-- not as ordinary as that goes on to the rules, before anything is written.
--
-- KEYS and ARGV: as plain.lua has them. `seen`: the record of the lock, and no memo of the call is there; `seen_memo_at`: where that
-- will be.
if seen then
  local call, sub, pack, unpacked = redis.call, string.sub, cmsgpack.pack, cmsgpack.unpack
  local l, ask = unpacked(seen), cjson.decode(ARGV[2])
  local tag, name, held = ask.tag, sub(KEYS[1], ARGV[5] + 6), l.holder
  local clock = call('TIME')
  local now_text = clock[1] .. sub('00000' .. clock[2], -6)
  local behind = ask.cluster and tonumber(call('GETRANGE', tag .. 'fence', 160, 175))  -- see step.lua
  if behind then now_text = string.format('%016.0f', now_text - behind) end
  local now = tonumber(now_text)
  local function digits(number) return number == now and now_text or string.format('%.0f', number) end
  local function life(instant)
    local ms = math.ceil((instant - now) / 1000) + 1
    return ms < 1 and 1 or ms
  end
  -- If it is the store that was away, everybody seems dead, and the rules find out.
  local heard = {[ask.me] = now}
  local function last_beat(replica)
    heard[replica] = heard[replica] or tonumber(call('HGET', tag .. 'replicas', replica) or 0)
    return heard[replica]
  end
  local function is_alive(replica) return last_beat(replica) + ask.lapse > now end
  local function is_held_plainly()
    return held.mode == 'exclusive' and not held.session and not held.auto and not held.provisional and held.stop > now and
           (not held.sent_to or is_alive(held.sent_to))
  end
  -- It stays where it is until it is granted.
  local function waits_plainly(w)
    return w.state == 'waiting' and w.deadline > now and w.attached and is_alive(w.replica) and #w.wants == 1 and not w.session
  end
  local function keep(at, memo, forget)
    memo.forget = forget + ask.memory
    call('SET', at, pack(memo), 'PX', life(memo.forget))
  end
  -- When somebody has to look again on behalf of those who wait.
  local function next_look(lease, head)
    local at = math.min(lease.stop, head.deadline, last_beat(head.replica) + ask.lapse)
    if lease.sent_to then at = math.min(at, last_beat(lease.sent_to) + ask.lapse) end
    return at
  end

  local ordinary = held and l.queue and l.delay == 0 and l.limit == 0 and not ask.counter and now_text <= ARGV[3] and
                   is_held_plainly()

  if ordinary and ARGV[4] == 'acquire' and not l.tangled and tonumber(ARGV[10]) > 0 then
    local record = ARGV[9]
    local client, request, metadata = string.match(record, '^([^\n]*)\n([^\n]*)\n(.*)\n$', 97)
    local queue, waits = tag .. 'queue:' .. name, tag .. 'waits:' .. client
    local first = call('ZRANGE', queue, 0, 0)[1]
    local got = first and call('MGET', KEYS[2], tag .. 'arrivals', tag .. 'waiter:' .. first)
    local head = got and got[3] and unpacked(got[3])
    -- A client that waits for something else, or whom somebody waits for, may close a cycle.
    if head and got[1] == held.id and waits_plainly(head) and held.client ~= client and
       call('EXISTS', waits, tag .. 'waits:' .. held.client) == 0 and call('ZCARD', queue) < ask.queue_max then
      local arrival = tonumber(got[2] or 0) + 1
      local id = digits(arrival < now and now or arrival)
      local w = {id = id, state = 'waiting', client = client, wants = {{name = name, mode = 'exclusive', limit = 0, permits = 1}},
                 since = now, deadline = now + ARGV[10], epoch = 0, attached = true, replica = ask.me,
                 secrets = {{ARGV[6], sub(record, 45, 76)}}, remembered = seen_memo_at,
                 terms = {ttl = tonumber(sub(record, 1, 12)), delay = 0, metadata = metadata ~= '' and metadata or nil}}
      call('SET', tag .. 'arrivals', id)
      call('ZADD', queue, id, id)
      call('ZADD', waits, id, id)
      call('PEXPIRE', waits, life(w.deadline + 3600000000))
      call('ZADD', tag .. 'of:' .. ask.me, id, id)
      call('HSET', tag .. 'replicas', ask.me, now_text)
      call('SET', tag .. 'waiter:' .. id, pack(w), 'PX', life(w.deadline + 3600000000))
      call('HINCRBY', tag .. 'counts', 'waiters', 1)
      if seen_memo_at then keep(seen_memo_at, {print = sub(record, 77, 96), at = now, kind = 'waiter', waiter = id}, w.deadline) end
      return {now_text, {'queued', id, 0, w.deadline, seen_memo_at and 1 or 0, 0}, {{'queued', name, client, 0, '', '', 0}}, {},
              {{name, next_look(held, head)}}, '', held.stop}
    end

  elseif ordinary and ARGV[4] == 'release' and held.id == ARGV[6] and held.holds == 1 and (not held.memos or #held.memos == 1) then
    local client = string.match(ARGV[9], '^[^\n]*')
    local queue = tag .. 'queue:' .. name
    local waiting = (client == '' or client == held.client) and call('ZRANGE', queue, 0, 1) or {}
    local got = waiting[1] and call('MGET', tag .. 'fence', tag .. 'waiter:' .. waiting[1], tag .. 'waiter:' .. (waiting[2] or ''),
                                    held.memos and held.memos[1] or tag)
    local fence, w = got and got[1], got and got[2] and unpacked(got[2])
    local behind = got and got[3] and unpacked(got[3])
    local memo = got and got[4]
    if fence and w and waits_plainly(w) and (not waiting[2] or (behind and waits_plainly(behind))) and
       w.wants[1].mode == 'exclusive' and not w.terms.max_hold and not w.terms.auto and w.terms.ttl <= ask.covered and
       (not memo or sub(memo, 1, 1) ~= 'S') and sub(fence, 1, 16) == sub(ARGV[1], 1, 16) and sub(fence, 97, 112) <= now_text then
      local token = tonumber(sub(fence, 17, 32)) + 1
      token = token < now and now or token
      local token_text = digits(token)
      if token_text <= sub(fence, 49, 64) then
        local id, stop = w.secrets[1][1], now + w.terms.ttl
        -- First what a store that is full still does.
        call('ZREM', queue, w.id)
        call('ZREM', tag .. 'waits:' .. w.client, w.id)
        call('ZREM', tag .. 'of:' .. w.replica, w.id)
        if held.sent_to then call('DEL', tag .. 'sent:' .. held.id) end
        call('SET', KEYS[2], id, 'PX', life(stop))
        call('SETRANGE', tag .. 'fence', 16, token_text)
        local sent_to = not (ask.here and w.replica == ask.me) and w.replica or nil
        if sent_to then call('SET', tag .. 'sent:' .. id, sent_to, 'PX', life(stop)) end
        if memo then
          memo = unpacked(memo)
          for _, slot in ipairs(memo.slots or {}) do if slot[2] == held.id then slot[4] = 'released' end end
          if memo.slots then keep(held.memos[1], memo, now) end
        end
        if seen_memo_at then keep(seen_memo_at, {print = sub(ARGV[9], -37, -18), at = now, kind = 'done', what = {{1, 1, 0}}}, now) end
        local slots = {{name, id, token, ''}}
        if w.remembered then
          local its = call('GET', w.remembered)
          if its then
            its = unpacked(its)
            its.kind, its.waiter, its.slots = 'leases', nil, slots
            keep(w.remembered, its, now + 3600000000)
          end
        end
        w.state, w.slots = 'granted', slots
        w.terms.replica = w.replica
        call('SET', tag .. 'waiter:' .. w.id, pack(w), 'PX', life(now + ask.memory))
        call('HINCRBY', tag .. 'counts', 'waiters', -1)
        local lease = {id = id, renewal = w.secrets[1][2], token = token, client = w.client, mode = 'exclusive', permits = 1, at = now,
                       stop = stop, ttl = w.terms.ttl, delay = w.terms.delay, limit = 9007199254740991, holds = 1, told = 0,
                       sent_to = sent_to, metadata = w.terms.metadata, memos = w.remembered and {w.remembered} or nil}
        l.holder, l.latest, l.sent, l.queue, l.bound = lease, token, l.sent or (sent_to and true) or nil, behind and true or nil, nil
        l.tangled = behind and l.tangled or nil
        local hour = life(stop + 3600000000)
        call('SET', KEYS[1], pack(l), 'PX', hour)
        call('ZADD', tag .. 'by_end', stop, name)
        if behind then call('PEXPIRE', queue, hour) end
        local told = {}
        if w.replica == ask.me then
          told[1] = {w.id, w.epoch, {'granted', {{name, id, lease.renewal, token, 'exclusive', 0, 0, 1, 0, 1, 0, stop, 0}},
                                     now - w.since, 0, 0}}
        else
          call('PUBLISH', tag .. 'to:' .. w.replica, w.id .. ':' .. w.epoch)
        end
        return {now_text, {'done', {{1, 1, 0}}},
                {{'released', name, held.client, held.token, 'exclusive', 'released', now - held.at},
                 {'acquired', name, w.client, token, 'exclusive', '', now - w.since}},
                told, behind and {{name, next_look(lease, behind)}} or {}, '', stop}
      end
    end
  end
end
