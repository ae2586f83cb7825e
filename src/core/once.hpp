// Private to the lock table: one effect and one outcome per request id.
#pragma once

#include "core/lock_table.hpp"

#include <utility>

namespace dislock::core {

// What a call of this kind came to; null for a memo of another kind.
template <class T>
const T* settled_as(const memo& m) noexcept {
  const auto* box = std::get_if<std::unique_ptr<settled>>(&m.outcome);
  return box ? std::get_if<T>(box->get()) : nullptr;
}

// Where a decision puts what it came to. Without a request id nowhere.
struct remembered_as {
  memo* m;
  template <class Outcome>
  void operator()(Outcome&& outcome) const {
    if (m) m->outcome = std::forward<Outcome>(outcome);
  }
};

// Runs `decide` once per request id: a repeat gets the outcome of the first call.
// `again(memo&)` makes the answer of a remembered call; `decide(remembered_as)` gives the answer of a new
// one.
template <class Answer, class Repeat, class Decide>
answer<Answer> lock_table::once(instant now, const call_id& call, std::uint64_t print, Repeat again,
                                Decide decide) {
  if (auto* m = find_memo(call)) {
    if (std::holds_alternative<was_cancelled>(m->outcome)) return errc::request_cancelled;
    if (m->fingerprint != print) return errc::request_id_reused;
    if (auto* box = std::get_if<std::unique_ptr<settled>>(&m->outcome))
      if (auto* refused = std::get_if<refusal_ptr>(box->get())) return *refused;
    return again(*m);
  }
  if (memory_full(call.request)) return errc::request_memory_full;
  if (call.request.empty()) return decide(remembered_as{nullptr});

  // The memo comes first: it keeps the lock's name alive while the decision empties the lock.
  auto& m = remember(now, call, print);
  auto out = decide(remembered_as{&m});
  if (!out) m.outcome = std::make_unique<settled>(out.error_ptr());
  if (m.in_lease) return out;  // it goes with the memo of the lease that it ended
  forget_later(now, m);
  keep(m);
  return out;
}

}  // namespace dislock::core
