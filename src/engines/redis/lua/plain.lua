-- The plain case: an exclusive lease of its own, of at most 30 s, of a lock that nobody waits for. It is decided here, in as few
-- commands as that takes. Everything else goes on to the rules below, which read what this part writes (plain_records.lua).
--
-- KEYS: of each call the lock's record, its canonical key, and the memo of its request id, or the record once more; then for
-- `acquire` the fence; and on a Cluster a key that never exists, so that nothing is decided here while the slot moves: the server
-- refuses what names it. `renew` has the record, the canonical key and the fence.
-- ARGV: as step.lua has it. A call that may be plain has no JSON. What all calls have in common is text: the verb (its first letter,
-- n for renew); the length of the prefix of our keys (3 digits); 1 or 0 for callers_are_here, exclusive, cluster, counter, patient;
-- grace, memory, lapse, ahead, covered (12 digits each); queue_max (10); and with a line end each, the replica that asks, and for
-- how many ms something is remembered. There follow
--   acquire  the record from the ttl on; ms of life for the canonical key, and for the record; how long to wait
--   release  lock id; what the record gets appended; the client with a line end, or nothing, and where that ends in the record
--   renew    lock id, or nothing; renewal token, or nothing; the client as above; the ttl, or nothing; ms of life for the record
--            beyond that of the key
-- Acquires, or releases, that are asked in the same moment may come together, each with its keys and words. What they have in
-- common is read, and paid for, once. The answer has a line for each; an empty one: nothing was done for it, it is to be asked alone.
--
-- A record: 'S'; H (held) or R (held, and its owner has shown that he knows); since when the ttl counts, when it was granted,
-- the token (16 digits each); the ttl (12); lock id and renewal token (32 each); the print of the call (20); client, request id
-- and metadata, each with a line end. When it is given back there follow client and request id of that call, with a line end
-- between them, their length (3), its print (20), when it was (16), and 'T'. Numbers of one width are compared as they stand.
local seen, seen_memo_at  -- for crowded.lua
if ARGV[4] then
  local call, sub, keys, words = redis.call, string.sub, KEYS, ARGV
  local common = words[2]
  local verb, tag_ends = sub(common, 1, 1), sub(common, 2, 4)
  local count = (#words - 3) / 4  -- calls that came together

  if verb == 'a' then
    local fence_at, got = keys[3 * count + 1], nil
    if count > 1 then
      local asked = {fence_at}
      for at = 1, 3 * count, 3 do
        asked[#asked + 1] = keys[at]
        asked[#asked + 1] = keys[at + 2]
      end
      got = call('MGET', unpack(asked))
    elseif keys[3] == keys[1] then
      got = call('MGET', fence_at, keys[1])
    else
      got = call('MGET', fence_at, keys[1], keys[3])
    end
    local fence = got[1]
    local open = fence and sub(fence, 1, 16) == sub(words[1], 1, 16)
    local answers, granted, now, room, first, last = {}, 0, nil, nil, nil, nil
    for i = 1, count do
      local at, new = 3 * i - 2, words[4 * i]
      local record_at, memo_at, record, remembered = keys[at], keys[at + 2], got[2 * i], got[2 * i + 1]
      if memo_at == record_at then memo_at, remembered = nil, nil end
      -- What the calls of the last owner came to is still remembered: from now on in keys of their own.
      local memo, other_memo
      if record and sub(record, 1, 1) == 'S' and sub(record, -1) == 'T' then
        local memos = sub(record_at, 1, tag_ends) .. 'm:' .. sub(record_at, tag_ends + 6) .. '\n'
        memo = memos .. string.match(record, '^[^\n]*\n[^\n]*', 147)
        other_memo = memos .. sub(record, -40 - sub(record, -40, -38), -41)
      end
      answers[i] = ''
      if open and not remembered and (not record or memo) and (not memo_at or (memo ~= memo_at and other_memo ~= memo_at)) then
        if not now then
          local clock = call('TIME')
          now = clock[1] .. sub('00000' .. clock[2], -6)
          if #fence > 160 then now = string.format('%016.0f', now - sub(fence, 161)) end  -- see step.lua
          last = sub(fence, 17, 32)
          first = last < now and now or string.format('%016.0f', last + 1)
          local highest = count == 1 and first or string.format('%016.0f', first + (count - 1))
          open = now <= words[3] and sub(fence, 97, 112) <= now and highest <= sub(fence, 49, 64)
          room = sub(fence, 81, 96) - now
          -- As many tokens as there may be grants, before the first: if this ends in its middle, none comes twice.
          if open and count > 1 then call('SETRANGE', fence_at, '16', highest) end
        end
        if open and room - sub(new, 1, 12) >= 0 and call('SET', keys[at + 1], sub(new, 13, 44), 'NX', 'PX', words[4 * i + 1]) then
          local life = words[4 * i + 2]
          if memo and sub(memo, -1) ~= '\n' then call('SET', memo, record, 'PX', life) end
          if other_memo and sub(other_memo, -1) ~= '\n' then call('SET', other_memo, record, 'PX', life) end
          last = granted == 0 and first or string.format('%016.0f', first + granted)
          granted = granted + 1
          answers[i] = now .. last
          call('SET', record_at, 'SH' .. now .. answers[i] .. new, 'PX', life)
        end
      end
    end
    if open and now and (count == 1 and granted or count - granted) > 0 then call('SETRANGE', fence_at, '16', last) end
    if count > 1 then return table.concat(answers, '\n') end
    if granted > 0 then return answers[1] end
    local record, memo_at = got[2], keys[3] ~= keys[1] and keys[3] or nil
    seen, seen_memo_at = record and not (memo_at and got[3]) and sub(record, 1, 1) == 'C' and record, memo_at

  elseif verb == 'r' then
    local got
    if count > 1 then
      got = call('MGET', unpack(keys, 1, 3 * count))
    elseif keys[3] == keys[1] then
      got = call('MGET', keys[1], keys[2])
    else
      got = call('MGET', keys[1], keys[2], keys[3])
    end
    local answers, given, gone = {}, {}, {}
    for i = 1, count do
      local at, w = 3 * i - 2, 4 * i
      local record_at, shown_at, memo_at, record, remembered = keys[at], keys[at + 1], keys[at + 2], got[at], got[at + 2]
      local id, ending, client = words[w], words[w + 1], words[w + 2]
      if memo_at == record_at then memo_at, remembered = nil, nil end
      answers[i] = ''
      if record and got[at + 1] == id and not remembered and not given[record_at] and sub(record, 1, 1) == 'S' and
         sub(record, 63, 94) == id and (client == '' or sub(record, 147, words[w + 3]) == client) then
        local own = memo_at and sub(ending, 1, -41) .. '\n'
        if not own or sub(record, 147, 146 + #own) ~= own then  -- else one id has come with two calls
          if own or string.find(record, '^[^\n]*\n[^\n]', 147) then
            call('DEL', shown_at)
            call('APPEND', record_at, ending)
          else
            gone[#gone + 1] = shown_at
            gone[#gone + 1] = record_at
          end
          given[record_at] = true
          answers[i] = sub(record, 19, 50) .. (client == '' and 'c' .. string.match(record, '^[^\n]*', 147) or '')
        end
      end
    end
    if gone[1] then call('DEL', unpack(gone)) end
    if count > 1 then return table.concat(answers, '\n') end
    if answers[1] ~= '' then return answers[1] end
    local record, memo_at = got[1], keys[3] ~= keys[1] and keys[3] or nil
    seen, seen_memo_at = record and not (memo_at and got[3]) and sub(record, 1, 1) == 'C' and got[2] == words[4] and record, memo_at

  elseif verb == 'n' then
    local record_at, shown_at, fence_at, id, client, ttl = keys[1], keys[2], keys[3], words[4], words[6], words[8]
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
        call('SETRANGE', record_at, '1', 'R' .. now)
        return now .. sub(record, 35, 50) .. 't' .. sub(record, 51, 62)
      end
    end
  end
end
