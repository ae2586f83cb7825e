// Everything in the table that ends at an instant, in the order in which it ends.
#pragma once

#include "base/assert.hpp"
#include "dislock/clock.hpp"

#include <boost/intrusive/set.hpp>

namespace dislock::core {

/// What ends. At one instant a lease ends before a wait does, so that a waiter whose patience is over in the
/// moment in which the lock comes free still gets it.
enum class timer_kind : std::uint8_t { lease, lock_delay, session, waiter };

/// Base of everything with an end. Not scheduled until the queue says so.
struct timed : boost::intrusive::set_base_hook<boost::intrusive::optimize_size<true>,
                                               boost::intrusive::link_mode<boost::intrusive::normal_link>> {
  explicit timed(timer_kind k) noexcept : kind(k) {}
  timed(const timed&) = delete;
  timed& operator=(const timed&) = delete;

  instant at = never;
  timer_kind kind;
  bool scheduled = false;
};

/// Owns nothing. Scheduling is O(1) where ends come in rising order (equal ttls), O(log n) else.
class deadline_queue {
 public:
  void schedule(timed& t, instant at) {
    if (t.scheduled) {
      if (t.at == at) return;
      set_.erase(set_.iterator_to(t));
    }
    t.at = at;
    t.scheduled = true;
    if (set_.empty() || !before{}(t, *set_.rbegin())) {
      set_.push_back(t);
    } else {
      set_.insert(t);
    }
  }

  void cancel(timed& t) noexcept {
    if (!t.scheduled) return;
    set_.erase(set_.iterator_to(t));
    t.scheduled = false;
    t.at = never;
  }

  /// What ended at or before `now` and comes first; null if nothing did.
  [[nodiscard]] timed* due(instant now) noexcept {
    if (set_.empty() || set_.begin()->at > now) return nullptr;
    return &*set_.begin();
  }
  [[nodiscard]] instant next() const noexcept { return set_.empty() ? never : set_.begin()->at; }

 private:
  struct before {
    bool operator()(const timed& a, const timed& b) const noexcept {
      return a.at != b.at ? a.at < b.at : a.kind < b.kind;
    }
  };
  boost::intrusive::multiset<timed, boost::intrusive::compare<before>,
                             boost::intrusive::constant_time_size<false>>
      set_;
};

}  // namespace dislock::core
