-- survey: what this node remembers of itself.
--
-- Returns  node with run, until when it is quiet, high, when it was founded, whether every write of it is on disk
local function survey()
  local more = redis.call('HMGET', KEYS[1], 'born', 'safe')
  return answer('node', run, digits(quiet_until), digits(high), more[1] or '0', more[2] or '0')
end

-- admit: the beginning of a life, as docs/adr/0009 has it.
--
-- ARGV  3 the run that was seen  4 found, prove, silence or raise  5 token to start above  6 how long to be quiet, in
--       microseconds  7 whether every write is on disk
--
-- Returns  done; changed: somebody else was faster
local function admit()
  local how, above = ARGV[4], tonumber(ARGV[5])
  if run ~= ARGV[3] then return answer('changed') end
  if high > above then above = high end
  if floor > above then above = floor end
  local me = {'HSET', KEYS[1], 'run', ARGV[1], 'safe', ARGV[7]}
  local function also(...) for _, word in ipairs({...}) do me[#me + 1] = word end end
  if how == 'silence' then
    local over = now + tonumber(ARGV[6])
    also('until', digits(over > quiet_until and over or quiet_until), 'born', '0')
  elseif how == 'found' or how == 'raise' then
    if how == 'raise' and quiet_until > now then return answer('changed') end
    local top = digits(above)
    also('until', '0', 'raised', top, 'floor', top, 'before', top, 'high', top, 'turned', digits(now))
    if how == 'found' then also('born', digits(now)) end
  end
  redis.call(unpack(me))
  return answer('done')
end

local verbs = {vote = vote, extend = extend, give_back = give_back, force = force, look = look, survey = survey, admit = admit}
return verbs[ARGV[2]]()
