-- The crowded case: a plain lock (plain.lua) that somebody holds and others wait for, none of them for anything else. Taking a
-- place in its queue, and giving it back to the next one, is what such a lock is about, so both are decided here, without making
-- any of the rules below, and in few commands. They read and write the same records as the rules, to the same effect; whatever is
-- not as ordinary as that goes on to the rules, before anything is written.
--
-- KEYS and ARGV: as plain.lua has them. `seen`: the record of the lock (crowd_records.lua has its layout), and no memo of the call
-- is there; `seen_memo_at`: where that will be. All of this is text: instants and tokens have 16 digits, and a table, or a number
-- made of text and text of a number again, would cost more than the decision.
--
-- Returns what rules would, in one text (telling.cpp):
--   q  now, the number of the waiter, its deadline, when somebody has to look again, the end of the lease (16 each); 1 if the call
--      is remembered; client and lock, each with a line end
--   g  now, when somebody has to look again or zeros, the end of the new lease, token of the old one and when it was granted, token
--      of the new one, since when it was waited for, the number of the waiter (16 each); 1 if it is one of the asking replica's,
--      lock id and renewal token (32 each); the clients before and now and the lock, each with a line end
if seen then
  local call, sub, match = redis.call, string.sub, string.match
  local words, record_at = ARGV, KEYS[1]
  local house = words[2]
  local verb, tag_ends = sub(house, 1, 1), sub(house, 2, 4)
  local tag, name = sub(record_at, 1, tag_ends), sub(record_at, tag_ends + 6)
  local lapse = sub(house, 34, 45)
  local me, memory_ms = match(house, '^([^\n]*)\n([^\n]*)', 80)
  local function sixteen(number) return string.format('%016.0f', number) end

  local clock = call('TIME')
  local now = clock[1] .. sub('00000' .. clock[2], -6)
  local may_have_moved = false
  if sub(house, 7, 7) == '1' then  -- see step.lua
    local fence = call('GETRANGE', tag .. 'fence', '0', '175')
    if #fence > 160 then now = sixteen(now - sub(fence, 161)) end
    may_have_moved = sub(fence, 1, 16) ~= sub(words[1], 1, 16)
  end

  -- If it is the store that was away, everybody seems dead, and the rules find out.
  local heard = {[me] = now}
  local function last_beat(replica)
    heard[replica] = heard[replica] or sixteen(call('HGET', tag .. 'replicas', replica) or 0)
    return heard[replica]
  end
  local function dies_at(replica) return sixteen(last_beat(replica) + lapse) end
  local function is_alive(replica) return replica == me or dies_at(replica) > now end
  -- It stays where it is until it is granted.
  local function waits_plainly(w) return sub(w, 1, 2) == 'Ww' and sub(w, 19, 34) > now and is_alive(match(w, '^[^\n]*', 127)) end
  local function keep(at, memo, forget)
    memo.forget = forget + sub(house, 22, 33)
    call('SET', at, cmsgpack.pack(memo), 'PX', string.format('%.0f', math.ceil((memo.forget - now) / 1000) + 1))
  end
  -- When somebody has to look again on behalf of those who wait.
  local function next_look(stop, sent_to, head)
    local deadline, replica = sub(head, 19, 34), match(head, '^[^\n]*', 127)
    local look, dies = stop < deadline and stop or deadline, dies_at(replica)
    if dies < look then look = dies end
    if sent_to ~= '' and dies_at(sent_to) < look then look = dies_at(sent_to) end
    return look
  end

  local held_id, held_client, held_request, sent_to = sub(seen, 63, 94), match(seen, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n', 128)
  local held_until = sixteen(sub(seen, 3, 18) + sub(seen, 51, 62))
  local ordinary = not may_have_moved and sub(seen, 127, 127) == '1' and sub(house, 8, 8) == '0' and now <= words[3] and held_until > now and
                   (sent_to == '' or is_alive(sent_to))

  if ordinary and verb == 'a' and words[7] ~= '0' then
    local record, wait = words[4], words[7]
    local client, request, metadata = match(record, '^([^\n]*)\n([^\n]*)\n(.*)\n$', 97)
    local queue, waits = tag .. 'queue:' .. name, tag .. 'waits:' .. client
    local first = call('ZRANGE', queue, '0', '0')[1]
    local got = first and call('MGET', KEYS[2], tag .. 'arrivals', tag .. 'waiter:' .. first)
    local head = got and got[3]
    -- A client that waits for something else, or whom somebody waits for, may close a cycle.
    if head and got[1] == held_id and waits_plainly(head) and held_client ~= client and
       call('EXISTS', waits, tag .. 'waits:' .. held_client) == 0 and call('ZCARD', queue) < tonumber(sub(house, 70, 79)) then
      local id = got[2] and sixteen(got[2] + 1) or now
      if id < now then id = now end
      local deadline = sixteen(now + wait)
      local an_hour_more = string.format('%.0f', math.ceil(wait / 1000) + 3600001)
      call('SET', tag .. 'arrivals', id)
      call('ZADD', queue, id, id)
      call('SADD', waits, id)
      call('PEXPIRE', waits, an_hour_more)
      call('SADD', tag .. 'of:' .. me, id)
      call('HSET', tag .. 'replicas', me, now)
      call('SET', tag .. 'waiter:' .. id, 'Ww' .. now .. deadline .. sub(record, 1, 76) .. '0000000000000000' .. me .. '\n' .. client ..
           '\n' .. name .. '\n' .. request .. '\n' .. metadata .. '\n', 'PX', an_hour_more)
      if seen_memo_at then
        keep(seen_memo_at, {print = sub(record, 77, 96), at = tonumber(now), kind = 'waiter', waiter = id}, deadline)
      end
      return 'q' .. now .. id .. deadline .. next_look(held_until, sent_to, head) .. held_until .. (seen_memo_at and '1' or '0') ..
             client .. '\n' .. name .. '\n'
    end

  elseif ordinary and verb == 'r' and held_id == words[4] then
    local queue = tag .. 'queue:' .. name
    local waiting = (words[6] == '' or held_client .. '\n' == words[6]) and call('ZRANGE', queue, '0', '1') or {}
    local held_memo_at = held_request ~= '' and tag .. 'm:' .. name .. '\n' .. held_client .. '\n' .. held_request
    local got = waiting[1] and call('MGET', tag .. 'fence', tag .. 'waiter:' .. waiting[1], tag .. 'waiter:' .. (waiting[2] or ''),
                                    held_memo_at or tag)
    local fence, w, behind, memo = got and got[1], got and got[2], got and got[3], held_memo_at and got and got[4]
    if fence and w and waits_plainly(w) and (not waiting[2] or (behind and waits_plainly(behind))) and
       sub(w, 35, 46) <= sub(house, 58, 69) and (not memo or sub(memo, 1, 1) ~= 'S') and sub(fence, 1, 16) == sub(words[1], 1, 16) and
       sub(fence, 97, 112) <= now then
      local last, ceiling = sub(fence, 17, 32), sub(fence, 49, 64)
      local token = last < now and now or sixteen(last + 1)
      if token <= ceiling then
        local waiter, since, ttl, id = waiting[1], sub(w, 3, 18), sub(w, 35, 46), sub(w, 47, 78)
        local replica, client, request, metadata = match(w, '^([^\n]*)\n([^\n]*)\n[^\n]*\n([^\n]*)\n(.*)\n$', 127)
        local stop, life = sixteen(now + ttl), math.ceil(ttl / 1000) + 1
        local an_hour_more = string.format('%.0f', life + 3600000)
        life = string.format('%.0f', life)
        -- First what a store that is full still does.
        call('ZREM', queue, waiter)
        call('SREM', tag .. 'waits:' .. client, waiter)
        call('SREM', tag .. 'of:' .. replica, waiter)
        if sent_to ~= '' then call('DEL', tag .. 'sent:' .. held_id) end
        call('SET', KEYS[2], id, 'PX', life)
        call('SETRANGE', tag .. 'fence', '16', token)
        sent_to = sub(house, 5, 5) == '1' and replica == me and '' or replica
        if sent_to ~= '' then call('SET', tag .. 'sent:' .. id, sent_to, 'PX', life) end
        if memo then
          memo = cmsgpack.unpack(memo)
          for _, slot in ipairs(memo.slots or {}) do if slot[2] == held_id then slot[4] = 'released' end end
          if memo.slots then keep(held_memo_at, memo, now) end
        end
        if seen_memo_at then
          keep(seen_memo_at, {print = sub(words[5], -37, -18), at = tonumber(now), kind = 'done', what = {{1, 1, 0}}}, now)
        end
        if request ~= '' then
          local its_memo_at = tag .. 'm:' .. name .. '\n' .. client .. '\n' .. request
          local its = call('GET', its_memo_at)
          if its then
            its = cmsgpack.unpack(its)
            its.kind, its.waiter, its.slots = 'leases', nil, {{name, id, tonumber(token), ''}}
            keep(its_memo_at, its, now + 3600000000)
          end
        end
        call('SET', tag .. 'waiter:' .. waiter, 'Wg' .. sub(w, 3, 110) .. token .. sub(w, 127), 'PX', memory_ms)
        call('SET', record_at, 'C0' .. now .. now .. token .. sub(w, 35, 110) .. (behind and '1' or '0') .. client .. '\n' .. request ..
             '\n' .. sent_to .. '\n' .. metadata .. '\n', 'PX', an_hour_more)
        if stop < held_until then call('ZADD', tag .. 'by_end', stop, name) end  -- as rule.list
        -- A queue that moves fast lasts as long already, but for two minutes.
        if behind and (sub(now, 1, 8) ~= sub(seen, 19, 26) or ttl > sub(seen, 51, 62)) then call('PEXPIRE', queue, an_hour_more) end
        if replica ~= me then call('PUBLISH', tag .. 'to:' .. replica, waiter .. ':0') end
        return 'g' .. now .. (behind and next_look(stop, sent_to, behind) or '0000000000000000') .. stop .. sub(seen, 35, 50) ..
               sub(seen, 19, 34) .. token .. since .. waiter .. (replica == me and '1' or '0') .. sub(w, 47, 110) .. held_client ..
               '\n' .. client .. '\n' .. name .. '\n'
      end
    end
  end
end
