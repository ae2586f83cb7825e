#pragma once

#include "library/backend.hpp"
#include "library/strand.hpp"

#include <map>
#include <utility>

namespace dislock::library {

/// Those who wait for nothing but the time: coroutines that try again a little later.
///
/// One strand.
class sleepers {
 public:
  explicit sleepers(strand& on) : strand_(on) {}
  sleepers(const sleepers&) = delete;
  sleepers& operator=(const sleepers&) = delete;

  void sleep(instant until, completion<void> done) {
    asleep_.emplace(until, std::move(done));
    arm();
  }
  /// Nobody sleeps any longer: all are told why.
  void wake_all(const error& why) {
    for (auto& [at, done] : std::exchange(asleep_, {})) done(why);
  }

 private:
  void arm() {
    if (asleep_.empty() || asleep_.begin()->first >= armed_for_) return;
    armed_for_ = asleep_.begin()->first;
    strand_.wake_at(strand::alarm::sleepers, armed_for_, [this] {
      armed_for_ = never;
      const auto now = strand_.now();
      while (!asleep_.empty() && asleep_.begin()->first <= now) {
        auto done = std::move(asleep_.begin()->second);
        asleep_.erase(asleep_.begin());
        done({});
      }
      arm();
    });
  }

  strand& strand_;
  std::multimap<instant, completion<void>> asleep_;
  instant armed_for_ = never;
};

}  // namespace dislock::library
