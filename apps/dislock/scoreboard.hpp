// What `top` shows, computed from what the service tells.
#pragma once

#include "dislock/client.hpp"
#include "output.hpp"

#include <boost/json/object.hpp>

#include <map>
#include <string>
#include <vector>

namespace dislock::cli {

/// One moment of the service.
struct snapshot {
  wall_time at{};
  std::vector<lock_state> locks{};   ///< those looked at closely have their waiters
  std::vector<lock_event> events{};  ///< since the snapshot before
  bool events_missed = false;
  duration round_trip{};
};

/// Rates and ages of locks, from one snapshot to the next. Pure.
class scoreboard {
 public:
  struct row {
    std::string lock, holder;
    double acquired_per_second = 0;
    std::size_t queue = 0;
    duration held{}, longest_wait{};
  };

  void take(const snapshot& s);

  /// The hottest first: most acquires, then the longest queue.
  [[nodiscard]] const std::vector<row>& rows() const noexcept { return rows_; }
  [[nodiscard]] boost::json::object to_json() const;
  /// Lines for a screen: totals, the hottest locks, the longest waits.
  [[nodiscard]] std::string text(const printer& print, int lines, int columns, bool paused) const;

  /// The locks whose waiters are worth a closer look, at most `count`.
  [[nodiscard]] static std::vector<std::string> contended(const std::vector<lock_state>& locks,
                                                          std::size_t count);

 private:
  struct wait {
    std::string client, lock;
    duration age{};
    std::size_t position = 0;
  };

  wall_time last_{};
  snapshot now_;
  std::vector<row> rows_;
  std::vector<wait> waits_;
  double acquired_ = 0, released_ = 0, refused_ = 0, expired_ = 0;
  std::size_t held_ = 0, waiting_ = 0;
  std::uint64_t deadlocks_ = 0;
};

}  // namespace dislock::cli
