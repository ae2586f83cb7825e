-- From here on everything is made inside of one function, which ends with the step (decide.lua): what stands above it is then
-- looked for once, by that function, and not again by each one in it.
return (function()

-- --- what the plain case has written (see plain.lua)

-- {at, since, token, ttl, id, renewal, print, renewed, client, request, metadata, and if it was given back: back = {request's
-- key, print, at}}; nil: it is no such record.
function rule.plain_record(raw)
  if not raw or string.sub(raw, 1, 1) ~= 'S' then return nil end
  local function number(from, to) return tonumber(string.sub(raw, from, to)) end
  local r = {renewed = string.sub(raw, 2, 2) == 'R', since = number(3, 18), at = number(19, 34), token = number(35, 50),
             ttl = number(51, 62), id = string.sub(raw, 63, 94), renewal = string.sub(raw, 95, 126),
             print = string.sub(raw, 127, 146)}
  local body = raw
  if string.sub(raw, -1) == 'T' then
    local who = -40 - number(-40, -38)
    r.back = {call = string.sub(raw, who, -41), print = string.sub(raw, -37, -18), at = math.max(number(-17, -2), r.since)}
    body = string.sub(raw, 1, who - 1)
  end
  r.client, r.request, r.metadata = string.match(body, '^([^\n]*)\n([^\n]*)\n(.*)\n$', 147)
  return r
end
-- What is remembered of its calls, by key.
function rule.plain_memos(name, r)
  local memos, scope = {}, tag .. 'm:' .. name .. '\n'
  if r.request ~= '' then
    local at = scope .. r.client .. '\n' .. r.request
    memos[at] = {key = at, print = r.print, at = r.at, kind = 'leases',
                 slots = {{name, r.id, r.token, r.back and 'released' or ''}},
                 forget = (r.back and r.back.at or r.at + 3600000000) + ask.memory}
  end
  if r.back and string.sub(r.back.call, -1) ~= '\n' then
    local at = scope .. r.back.call
    memos[at] = {key = at, print = r.back.print, at = r.back.at, kind = 'done', what = {{1, 1, 0}},
                 forget = r.back.at + ask.memory}
  end
  return memos
end
-- The lock that such a record says.
function rule.plain_lock(name, r)
  local l = {mode = 'exclusive', limit = 0, used = 0, count = 0, delay = 0, latest = 0, plain = true,
             memos = rule.plain_memos(name, r)}
  if r.back then return l end
  l.count, l.latest = 1, r.token
  l.holder = {id = r.id, renewal = r.renewal, token = r.token, client = r.client, mode = 'exclusive', permits = 1, at = r.at,
              stop = r.since + r.ttl, ttl = r.ttl, delay = 0, limit = NEVER, holds = 1, told = r.renewed and 1 or 0}
  if r.metadata ~= '' then l.holder.metadata = r.metadata end
  if r.request ~= '' then l.holder.memos = {tag .. 'm:' .. name .. '\n' .. r.client .. '\n' .. r.request} end
  return l
end

-- As such calls are asked of the rules.
function rule.spell_out(call)
  local name = string.sub(KEYS[1], #call.tag + 6)
  call.scope, call.request, call.client = name, '', ''
  if call.verb == 'acquire' then
    local record = ARGV[4]
    call.client, call.request, call.metadata = string.match(record, '^([^\n]*)\n([^\n]*)\n(.*)\n$', 97)
    if call.metadata == '' then call.metadata = nil end
    call.print = string.sub(record, 77, 96)
    call.wants = {{name = name, mode = 'exclusive', limit = 0, permits = 1}}
    call.secrets = {{string.sub(record, 13, 44), string.sub(record, 45, 76)}}
    call.ttl, call.delay, call.wait = tonumber(string.sub(record, 1, 12)), 0, tonumber(ARGV[7])
  elseif call.verb == 'release' then
    call.client, call.request = string.match(ARGV[5], '^([^\n]*)\n(.*)$')
    call.request = string.sub(call.request, 1, -41)
    call.print = string.sub(ARGV[5], -37, -18)
    call.leases = {{name = name, id = ARGV[4], renewal = ''}}
  else
    call.client = string.sub(ARGV[6], 1, -2)
    call.leases = {{name = name, id = ARGV[4], renewal = ARGV[5]}}
    call.ttl = tonumber(ARGV[8])  -- or nil
  end
end
if ARGV[4] then rule.spell_out(ask) end
