-- --- what the crowded case reads and writes (see crowded.lua)
--
-- Whatever is as ordinary as that is kept as text, by the rules too; everything else is packed. Instants and tokens have 16 digits.
--
-- A lock that is held by one exclusive lease of its own: 'C'; how often the owner was told of it (1 digit); since when the ttl
-- counts, when it was granted, the token; the ttl (12); lock id and renewal token (32 each); 1 if others wait for it, or 0; client,
-- request id, the replica that has not taken the grant yet, and metadata, each with a line end. From there on up to the
-- renewal token that is the record of a plain lease, but the memo of its call is in a key of its own.
--
-- A waiter for such a lock: 'W'; w (waits) or g (granted); since when, and until when; the ttl (12); lock id and renewal token (32
-- each); the token, or zeros; the replica that speaks for it, client, lock, request id and metadata, each with a line end.

local function sixteen(number) return string.format('%016.0f', number) end
-- The request id of the only call that this memo is about; nil: it is about another one.
local function request_of(memo_at, name, client)
  if not memo_at then return '' end
  local own = memo_key(name, client, '')
  return string.sub(memo_at, 1, #own) == own and string.sub(memo_at, #own + 1) or nil
end

function rule.crowd_lock(name, raw)
  if not raw or string.sub(raw, 1, 1) ~= 'C' then return nil end
  local function number(from, to) return tonumber(string.sub(raw, from, to)) end
  local client, request, sent_to, metadata = string.match(raw, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n(.*)\n$', 128)
  local lease = {id = string.sub(raw, 63, 94), renewal = string.sub(raw, 95, 126), token = number(35, 50), client = client,
                 mode = 'exclusive', permits = 1, at = number(19, 34), stop = number(3, 18) + number(51, 62), ttl = number(51, 62),
                 delay = 0, limit = NEVER, holds = 1, told = number(2, 2),
                 memos = request ~= '' and {memo_key(name, client, request)} or nil, sent_to = sent_to ~= '' and sent_to or nil,
                 metadata = metadata ~= '' and metadata or nil}
  return {mode = 'exclusive', limit = 0, used = 0, count = 1, delay = 0, latest = lease.token, holder = lease, listed_by = lease.stop,
          queue = string.sub(raw, 127, 127) == '1' or nil}
end
-- nil: it is not that ordinary.
function rule.crowd_lock_text(l)
  local lease = l.holder
  if not lease or l.delay > 0 or l.limit > 0 or (l.waiting > 0 and l.tangled) or lease.session or lease.auto or lease.provisional or
     lease.delay > 0 or lease.limit ~= NEVER or lease.holds ~= 1 or lease.told > 9 or #(lease.memos or {}) > 1 or
     lease.token ~= l.latest or lease.ttl >= 1000000000000 or lease.stop == NEVER then
    return nil
  end
  local request = request_of(lease.memos and lease.memos[1], l.name, lease.client)
  return request and 'C' .. string.format('%.0f', lease.told) .. sixteen(lease.stop - lease.ttl) .. sixteen(lease.at) ..
         sixteen(lease.token) .. string.format('%012.0f', lease.ttl) .. lease.id .. lease.renewal .. (l.waiting > 0 and '1' or '0') ..
         lease.client .. '\n' .. request .. '\n' .. (lease.sent_to or '') .. '\n' .. (lease.metadata or '') .. '\n'
end

function rule.read_waiter(raw)
  if not raw or string.sub(raw, 1, 1) ~= 'W' then return unpacked(raw) end
  local function number(from, to) return tonumber(string.sub(raw, from, to)) end
  local replica, client, name, request, metadata = string.match(raw, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n(.*)\n$', 127)
  local w = {state = 'waiting', client = client, wants = {{name = name, mode = 'exclusive', limit = 0, permits = 1}},
             since = number(3, 18), deadline = number(19, 34), epoch = 0, attached = true, replica = replica,
             secrets = {{string.sub(raw, 47, 78), string.sub(raw, 79, 110)}},
             remembered = request ~= '' and memo_key(name, client, request) or nil,
             terms = {ttl = number(35, 46), delay = 0, metadata = metadata ~= '' and metadata or nil}}
  if string.sub(raw, 2, 2) == 'g' then
    w.state, w.slots, w.terms.replica = 'granted', {{name, w.secrets[1][1], number(111, 126), ''}}, replica
  end
  return w
end
-- nil: it is not that ordinary.
function rule.waiter_text(w)
  local want, terms, slot = w.wants[1], w.terms, w.slots and w.slots[1]
  if #w.wants > 1 or w.multi or w.session or want.mode ~= 'exclusive' or not w.attached or w.grace_end or w.epoch > 0 or
     (w.state ~= 'waiting' and w.state ~= 'granted') or terms.delay > 0 or terms.max_hold or terms.auto or terms.ttl >= 1000000000000 or
     (slot and slot[4] ~= '') then
    return nil
  end
  local request = request_of(w.remembered, want.name, w.client)
  return request and 'W' .. (slot and 'g' or 'w') .. sixteen(w.since) .. sixteen(w.deadline) .. string.format('%012.0f', terms.ttl) ..
         w.secrets[1][1] .. w.secrets[1][2] .. sixteen(slot and slot[3] or 0) .. w.replica .. '\n' .. w.client .. '\n' .. want.name ..
         '\n' .. request .. '\n' .. (terms.metadata or '') .. '\n'
end
