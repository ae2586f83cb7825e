-- --- leases

function rule.own_end(lease)
  if not lease.session or lease.provisional then return lease.stop end
  local s = rule.session_of(lease.session)
  local stop = s and s.stop or 0
  return stop < lease.limit and stop or lease.limit
end
function rule.effective_end(lease) return rule.lasting(rule.own_end(lease)) end
function rule.lives(lease)
  if lease.session and not rule.session_lives(lease.session) then return false end
  return rule.effective_end(lease) > now
end
function rule.why_over(lease)
  local own_end = lease.provisional and lease.stop or lease.limit
  local s = lease.session and (rule.session_of(lease.session) or {stop = 0})
  if s and s.ended then return s.ended end
  if s and s.stop <= now and s.stop < own_end then return 'session_expired' end
  if lease.provisional then return 'undelivered' end
  if lease.limit == rule.effective_end(lease) then return 'max_hold' end
  return s and 'session_expired' or 'expired'
end
