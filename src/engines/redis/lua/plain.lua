-- The plain case: an exclusive lease of its own, of at most 30 s, of a lock that nobody waits for. It is decided here, in as few
-- commands as that takes. Everything else goes on to the rules below, which read what this part writes (plain_records.lua).
--
-- KEYS: the lock's record; its canonical key; for `acquire` and `renew` the fence; the memo of a request id, if there is one; and
-- on a Cluster a key that never exists, so that nothing is decided here while the slot moves: the server refuses what names it.
-- ARGV: as step.lua has it. A call that may be plain has no JSON. What all calls have in common is text: 1 or 0 for callers_are_here,
-- exclusive, cluster, counter, patient; grace, memory, lapse, ahead, covered (12 digits each); queue_max (10); and with a line end
-- each, the replica that asks, and for how many ms something is remembered. There follow its verb, the length of the prefix of our
-- keys, and
--   acquire  lock id; ms of life for the canonical key, and for the record; the record from the ttl on; how long to wait
--   release  lock id; the client with a line end, or nothing, and where that ends in the record; what the record gets appended
--   renew    lock id, or nothing; renewal token, or nothing; the client as above; the ttl, or nothing; ms of life for the record
--            beyond that of the key
--
-- A record: 'S'; H (held) or R (held, and its owner has shown that he knows); since when the ttl counts, when it was granted,
-- the token (16 digits each); the ttl (12); lock id and renewal token (32 each); the print of the call (20); client, request id
-- and metadata, each with a line end. When it is given back there follow client and request id of that call, with a line end
-- between them, their length (3), its print (20), when it was (16), and 'T'. Numbers of one width are compared as they stand.
local seen, seen_memo_at  -- for crowded.lua
if ARGV[4] then
  local call, sub, id = redis.call, string.sub, ARGV[6]
  local record_at, shown_at = KEYS[1], KEYS[2]

  if ARGV[4] == 'acquire' then
    local fence_at, memo_at = KEYS[3], KEYS[4]
    if memo_at and sub(memo_at, ARGV[5] + 1, ARGV[5] + 2) ~= 'm:' then memo_at = nil end
    local got = memo_at and call('MGET', fence_at, record_at, memo_at) or call('MGET', fence_at, record_at)
    local fence, record = got[1], got[2]
    -- What the calls of the last owner came to is still remembered: from now on in keys of their own.
    local memo, other_memo
    if record and sub(record, 1, 1) == 'S' and sub(record, -1) == 'T' then
      local memos = sub(record_at, 1, ARGV[5]) .. 'm:' .. sub(record_at, ARGV[5] + 6) .. '\n'
      memo = memos .. string.match(record, '^[^\n]*\n[^\n]*', 147)
      other_memo = memos .. sub(record, -40 - sub(record, -40, -38), -41)
    end
    if fence and not got[3] and sub(fence, 1, 16) == sub(ARGV[1], 1, 16) and (not record or memo) and
       (not memo_at or (memo ~= memo_at and other_memo ~= memo_at)) then
      local clock = call('TIME')
      local now = clock[1] .. sub('00000' .. clock[2], -6)
      if #fence > 160 then now = string.format('%016.0f', now - sub(fence, 161)) end  -- see step.lua
      local token = sub(fence, 17, 32)
      token = token < now and now or string.format('%016.0f', token + 1)
      if now <= ARGV[3] and sub(fence, 97, 112) <= now and token <= sub(fence, 49, 64) and
         sub(fence, 81, 96) - now - sub(ARGV[9], 1, 12) >= 0 and
         call('SET', shown_at, id, 'NX', 'PX', ARGV[7]) then
        if memo and sub(memo, -1) ~= '\n' then call('SET', memo, record, 'PX', ARGV[8]) end
        if other_memo and sub(other_memo, -1) ~= '\n' then call('SET', other_memo, record, 'PX', ARGV[8]) end
        local answer = now .. token
        call('SET', record_at, 'SH' .. now .. answer .. ARGV[9], 'PX', ARGV[8])
        call('SETRANGE', fence_at, 16, token)
        return answer
      end
    end
    seen, seen_memo_at = record and not got[3] and sub(record, 1, 1) == 'C' and record, memo_at

  elseif ARGV[4] == 'release' then
    local memo_at = KEYS[3]
    if memo_at and sub(memo_at, ARGV[5] + 1, ARGV[5] + 2) ~= 'm:' then memo_at = nil end
    local got = memo_at and call('MGET', record_at, shown_at, memo_at) or call('MGET', record_at, shown_at)
    local record = got[1]
    if record and got[2] == id and not got[3] and sub(record, 1, 1) == 'S' and sub(record, 63, 94) == id and
       (ARGV[7] == '' or sub(record, 147, ARGV[8]) == ARGV[7]) then
      local own = memo_at and sub(ARGV[9], 1, -41) .. '\n'
      if not own or sub(record, 147, 146 + #own) ~= own then  -- else one id has come with two calls
        if own or string.find(record, '^[^\n]*\n[^\n]', 147) then
          call('DEL', shown_at)
          call('APPEND', record_at, ARGV[9])
        else
          call('DEL', shown_at, record_at)
        end
        if ARGV[7] == '' then return sub(record, 19, 50) .. 'c' .. string.match(record, '^[^\n]*', 147) end
        return sub(record, 19, 50)
      end
    end
    seen, seen_memo_at = record and not got[3] and sub(record, 1, 1) == 'C' and got[2] == id and record, memo_at

  elseif ARGV[4] == 'renew' then
    local fence_at = KEYS[3]
    local got = call('MGET', record_at, shown_at, fence_at)
    local record, fence = got[1], got[3]
    if record and fence and sub(record, 1, 1) == 'S' and got[2] == sub(record, 63, 94) and
       (got[2] == id or (id == '' and sub(record, 95, 126) == ARGV[7])) and
       (ARGV[8] == '' or sub(record, 147, ARGV[9]) == ARGV[8]) and sub(fence, 1, 16) == sub(ARGV[1], 1, 16) and
       (ARGV[10] == '' or ARGV[10] == sub(record, 51, 62)) then
      local clock = call('TIME')
      local now = clock[1] .. sub('00000' .. clock[2], -6)
      if #fence > 160 then now = string.format('%016.0f', now - sub(fence, 161)) end  -- see step.lua
      if now >= sub(record, 3, 18) and now <= ARGV[3] and now <= sub(fence, 49, 64) and
         sub(fence, 81, 96) - now - sub(record, 51, 62) >= 0 then
        local life = math.ceil(sub(record, 51, 62) / 1000) + 1
        call('PEXPIRE', shown_at, life)  -- first what a store that is full still does: then it does the rest, too
        call('PEXPIRE', record_at, life + ARGV[11])
        call('SETRANGE', record_at, 1, 'R' .. now)
        return now .. sub(record, 35, 50) .. 't' .. sub(record, 51, 62)
      end
    end
  end
end
