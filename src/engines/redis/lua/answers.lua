-- --- answers

function rule.refusal(why)
  local holders, count = why.holders, why.count
  if not holders then
    holders, count = {}, 0
    if why.lock ~= '' and why.code ~= 'lock_not_held' then holders, count = rule.holder_rows(rule.lock_at(why.lock, true), 10) end
  end
  local cycle = {}
  for i, step in ipairs(why.cycle or {}) do cycle[i] = {step.client, step.lock, step.blocker, step.behind and 1 or 0} end
  return {'refused', why.code, why.waited, why.lock, holders, count, why.queue, why.mode, why.limit, why.ended, cycle}
end
function rule.granted(slots, waited, repeated, claimed)
  local leases = {}
  for i, slot in ipairs(slots) do
    local l = rule.lock_at(slot[1], true)
    leases[i] = rule.told_of(l, rule.lease_of(l, slot[2]))
  end
  return {'granted', leases, waited, repeated and 1 or 0, claimed and 1 or 0}
end
function rule.queued(w, search)
  return {'queued', w.id, w.epoch, w.deadline, w.remembered and 1 or 0, search and 1 or 0}
end
