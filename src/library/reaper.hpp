#pragma once

#include "core/deadline_queue.hpp"
#include "library/backend.hpp"
#include "library/strand.hpp"

#include <boost/intrusive/list.hpp>

#include <algorithm>
#include <cstddef>
#include <string>

namespace dislock::library {

/// How long the reaper waits before the next try, after so many that failed.
[[nodiscard]] constexpr duration reaper_pause(int failed) noexcept {
  constexpr duration first = std::chrono::milliseconds(50), longest = std::chrono::seconds(5);
  return failed >= 8 ? longest : std::min(longest, first * (1 << failed));
}

/// Settles, in the background, what nobody waits for any more: acquires of which nobody knows how they ended,
/// and leases that could not be given back. Tries until it succeeds, or until there can be nothing left to
/// settle.
///
/// One strand. Holds at most 65,536 things; what does not fit ends by its ttl, because nobody renews it.
class reaper {
 public:
  reaper(backend& of, strand& on) : backend_(of), strand_(on) {}
  ~reaper();
  reaper(const reaper&) = delete;
  reaper& operator=(const reaper&) = delete;

  /// Nothing of this acquire is to be left. `ttl`: for how long a lease of it could live.
  void cancel(std::string lock, bool multi, std::string client, std::string request, duration ttl);
  /// This lease is to be given back; by `until` it has ended anyway.
  void release(lease_key which, std::string request, instant until);

  /// No attempt follows: what is still unsettled ends by itself.
  void stop();

  [[nodiscard]] bool idle() const noexcept { return all_.empty(); }
  /// Called whenever there is nothing left to settle. One listener.
  void on_idle(unique_function<void()> listener) { idle_ = std::move(listener); }

 private:
  struct item : dislock::core::timed, boost::intrusive::list_base_hook<> {
    item() : dislock::core::timed(dislock::core::timer_kind::lease) {}
    lease_key lease;  // of a release; of a cancel its lock and client
    std::string request;
    bool cancels = false, multi = false;
    int failed = 0;
    instant until{};
  };
  static constexpr std::size_t most = 65'536;

  void adopt(item* made);
  void attempt(item& one);
  void attempted(item& one, const result<void>& outcome);
  void ring();
  void arm();

  backend& backend_;
  strand& strand_;
  boost::intrusive::list<item> all_;  // owned
  dislock::core::deadline_queue resting_;
  instant armed_for_ = never;
  bool stopped_ = false;
  unique_function<void()> idle_;
};

}  // namespace dislock::library
