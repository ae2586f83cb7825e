// A slot of a Cluster that has come to another server: moved, or lost by the one that had it?
#pragma once

#include "dislock/clock.hpp"

namespace dislock::redis {

/// What is known of a server whose slot holds the record of another one.
struct newcomer_facts {
  duration running{};          ///< since its process was started, by what it says of itself
  bool ever_promoted = false;  ///< it has taken the place of a primary since then
  duration connected{};        ///< for how long we have been connected to it, as the one that it is
};

/// Whether it is the same one that it was when the slot cannot have left the other server yet, which answered
/// a question that was asked `since_answered` ago. Then it has lost nothing of what was moved to it; and if
/// the other server is also the same one still, and has given the slot away, nothing was lost at all.
///
/// Not seen: a slot that is moved twice between two questions, through a third server that fails meanwhile.
[[nodiscard]] constexpr bool is_unbroken(const newcomer_facts& now, duration since_answered) noexcept {
  constexpr duration rounding = std::chrono::seconds(2);  // it says its age in whole seconds
  const bool as_a_process = !now.ever_promoted && now.running - rounding >= since_answered;
  return as_a_process || now.connected >= since_answered;
}

}  // namespace dislock::redis
