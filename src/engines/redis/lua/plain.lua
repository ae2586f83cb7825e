-- The plain case: an exclusive lease of its own, of at most 30 s, of a lock that nobody waits for. It is decided here, in as few
-- commands as that takes. Everything else goes on to the rules below, which read what this part writes (plain_records.lua).
--
-- KEYS: the lock's record; its canonical key; for `acquire` and `renew` the fence; the memo of a request id, if there is one; and
-- on a Cluster a key that never exists, so that nothing is decided here while the slot moves: the server refuses what names it.
-- ARGV: as step.lua has it. A call that may be plain has no JSON. What all calls have in common is text: the verb (its first letter,
-- n for renew); the length of the prefix of our keys (3 digits); 1 or 0 for callers_are_here, exclusive, cluster, counter, patient;
-- grace, memory, lapse, ahead, covered (12 digits each); queue_max (10); and with a line end each, the replica that asks, and for
-- how many ms something is remembered. There follow
--   acquire  the record from the ttl on; ms of life for the canonical key, and for the record; how long to wait
--   release  lock id; what the record gets appended; the client with a line end, or nothing, and where that ends in the record
--   renew    lock id, or nothing; renewal token, or nothing; the client as above; the ttl, or nothing; ms of life for the record
--            beyond that of the key
--
-- A record: 'S'; H (held) or R (held, and its owner has shown that he knows); since when the ttl counts, when it was granted,
-- the token (16 digits each); the ttl (12); lock id and renewal token (32 each); the print of the call (20); client, request id
-- and metadata, each with a line end. When it is given back there follow client and request id of that call, with a line end
-- between them, their length (3), its print (20), when it was (16), and 'T'. Numbers of one width are compared as they stand.
local seen, seen_memo_at  -- for crowded.lua
if ARGV[4] then
  local call, sub, keys, words = redis.call, string.sub, KEYS, ARGV
  local record_at, shown_at, common = keys[1], keys[2], words[2]
  local verb, tag_ends = sub(common, 1, 1), sub(common, 2, 4)

  if verb == 'a' then
    local fence_at, memo_at, new = keys[3], keys[4], words[4]
    if memo_at and sub(memo_at, tag_ends + 1, tag_ends + 2) ~= 'm:' then memo_at = nil end
    local got = memo_at and call('MGET', fence_at, record_at, memo_at) or call('MGET', fence_at, record_at)
    local fence, record = got[1], got[2]
    -- What the calls of the last owner came to is still remembered: from now on in keys of their own.
    local memo, other_memo
    if record and sub(record, 1, 1) == 'S' and sub(record, -1) == 'T' then
      local memos = sub(record_at, 1, tag_ends) .. 'm:' .. sub(record_at, tag_ends + 6) .. '\n'
      memo = memos .. string.match(record, '^[^\n]*\n[^\n]*', 147)
      other_memo = memos .. sub(record, -40 - sub(record, -40, -38), -41)
    end
    if fence and not got[3] and sub(fence, 1, 16) == sub(words[1], 1, 16) and (not record or memo) and
       (not memo_at or (memo ~= memo_at and other_memo ~= memo_at)) then
      local clock = call('TIME')
      local now = clock[1] .. sub('00000' .. clock[2], -6)
      if #fence > 160 then now = string.format('%016.0f', now - sub(fence, 161)) end  -- see step.lua
      local token = sub(fence, 17, 32)
      token = token < now and now or string.format('%016.0f', token + 1)
      if now <= words[3] and sub(fence, 97, 112) <= now and token <= sub(fence, 49, 64) and
         sub(fence, 81, 96) - now - sub(new, 1, 12) >= 0 and
         call('SET', shown_at, sub(new, 13, 44), 'NX', 'PX', words[5]) then
        if memo and sub(memo, -1) ~= '\n' then call('SET', memo, record, 'PX', words[6]) end
        if other_memo and sub(other_memo, -1) ~= '\n' then call('SET', other_memo, record, 'PX', words[6]) end
        local answer = now .. token
        call('SET', record_at, 'SH' .. now .. answer .. new, 'PX', words[6])
        call('SETRANGE', fence_at, 16, token)
        return answer
      end
    end
    seen, seen_memo_at = record and not got[3] and sub(record, 1, 1) == 'C' and record, memo_at

  elseif verb == 'r' then
    local memo_at, id, ending, client = keys[3], words[4], words[5], words[6]
    if memo_at and sub(memo_at, tag_ends + 1, tag_ends + 2) ~= 'm:' then memo_at = nil end
    local got = memo_at and call('MGET', record_at, shown_at, memo_at) or call('MGET', record_at, shown_at)
    local record = got[1]
    if record and got[2] == id and not got[3] and sub(record, 1, 1) == 'S' and sub(record, 63, 94) == id and
       (client == '' or sub(record, 147, words[7]) == client) then
      local own = memo_at and sub(ending, 1, -41) .. '\n'
      if not own or sub(record, 147, 146 + #own) ~= own then  -- else one id has come with two calls
        if own or string.find(record, '^[^\n]*\n[^\n]', 147) then
          call('DEL', shown_at)
          call('APPEND', record_at, ending)
        else
          call('DEL', shown_at, record_at)
        end
        if client == '' then return sub(record, 19, 50) .. 'c' .. string.match(record, '^[^\n]*', 147) end
        return sub(record, 19, 50)
      end
    end
    seen, seen_memo_at = record and not got[3] and sub(record, 1, 1) == 'C' and got[2] == id and record, memo_at

  elseif verb == 'n' then
    local fence_at, id, client, ttl = keys[3], words[4], words[6], words[8]
    local got = call('MGET', record_at, shown_at, fence_at)
    local record, fence = got[1], got[3]
    if record and fence and sub(record, 1, 1) == 'S' and got[2] == sub(record, 63, 94) and
       (got[2] == id or (id == '' and sub(record, 95, 126) == words[5])) and
       (client == '' or sub(record, 147, words[7]) == client) and sub(fence, 1, 16) == sub(words[1], 1, 16) and
       (ttl == '' or ttl == sub(record, 51, 62)) then
      local clock = call('TIME')
      local now = clock[1] .. sub('00000' .. clock[2], -6)
      if #fence > 160 then now = string.format('%016.0f', now - sub(fence, 161)) end  -- see step.lua
      if now >= sub(record, 3, 18) and now <= words[3] and now <= sub(fence, 49, 64) and
         sub(fence, 81, 96) - now - sub(record, 51, 62) >= 0 then
        local life = math.ceil(sub(record, 51, 62) / 1000) + 1
        call('PEXPIRE', shown_at, life)  -- first what a store that is full still does: then it does the rest, too
        call('PEXPIRE', record_at, life + words[9])
        call('SETRANGE', record_at, 1, 'R' .. now)
        return now .. sub(record, 35, 50) .. 't' .. sub(record, 51, 62)
      end
    end
  end
end
