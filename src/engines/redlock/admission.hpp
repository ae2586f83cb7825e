// Which nodes may vote, and since when: decided from what they remember of themselves.
#pragma once

#include "dislock/clock.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dislock::redlock {

/// What a set of nodes has to look like to be taken for brand-new.
enum class founding_rule : std::uint8_t {
  all,       ///< every node answers, and none has ever accepted anything
  majority,  ///< a majority answers, and none of those that do has
  never,     ///< nothing is ever taken for brand-new
};

/// What one node says of itself. Times are its own, in microseconds.
struct node_memory {
  bool answers = false;
  std::string incarnation;  ///< of the process that answers
  std::string run;          ///< of the process that its memory was written by; empty: it remembers nothing
  std::int64_t now = 0, quiet_until = 0, born = 0;
  std::uint64_t high = 0;  ///< the largest token it has accepted
  bool was_safe = false;   ///< every write was on disk before its answer, when it was admitted last
  bool seen = false;       ///< this process has seen it remember something

  /// As far as it remembers it has never accepted anything.
  [[nodiscard]] bool is_virgin() const noexcept { return !seen && high == 0; }
  /// It votes.
  [[nodiscard]] bool is_admitted() const noexcept {
    return answers && !run.empty() && run == incarnation && quiet_until == 0;
  }
};

/// What has to be done with one node before it votes.
struct admission {
  enum class step : std::uint8_t {
    none,     ///< nothing: it votes, it does not answer, or it is to be quiet for longer
    found,    ///< part of a brand-new set: it votes at once
    prove,    ///< it came back with all it ever knew: it votes at once
    silence,  ///< it may have forgotten something: it is quiet for as long as a lease can last
    raise,    ///< it was quiet for long enough: it votes, for tokens above all that it may have forgotten
  } what = step::none;
  std::uint64_t above = 0;
};

/// `patient`: nodes that do not answer yet may do so in a moment; nobody is silenced for the want of them.
/// `now_us` is ours: the time itself is the last line of defence where no majority can be read.
[[nodiscard]] std::vector<admission> plan_admissions(std::span<const node_memory> nodes, founding_rule rule,
                                                     bool patient, std::int64_t now_us);

}  // namespace dislock::redlock
