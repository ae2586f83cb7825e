// Who waits for whom, and whether anybody will ever be served.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace dislock::core {

/// A wait-for graph over numbered clients, as a value.
///
/// A client that waits has needs, all of which must be met. A need lists clients that stand in the way:
/// - `enough == 0`: *all* of them must get out of it (an exclusive lock, an earlier waiter);
/// - `enough > 0`: they must give back permits worth at least `enough` (a semaphore: an *or*).
/// A client without needs is running and will give back what it holds some day.
struct wait_for_graph {
  struct blocker {
    std::uint32_t client = 0;
    std::uint32_t permits = 0;  ///< what it can give back; counts only where `enough > 0`
    bool behind = false;        ///< an earlier waiter of the queue rather than a holder
  };
  struct need {
    std::uint32_t lock = 0;  ///< the caller's number for the lock, for the explanation
    std::uint32_t enough = 0;
    std::vector<blocker> blockers;
  };
  std::vector<std::vector<need>> clients;
};

struct wait_step {
  std::uint32_t client = 0;
  std::uint32_t lock = 0;
  std::uint32_t blocker = 0;
  bool behind = false;
};

/// The shortest cycle through `victim`, if `victim` can never be served; nothing if it can.
///
/// A client can be served if every need of it is met by clients that can be served (least fixpoint: whoever
/// depends on himself cannot). REQUIRES: without the victim's needs, everybody could be served; that is so
/// when every wait is searched as it begins, because only a new wait can close a cycle. Cost: linear in the
/// edges for the usual chain; quadratic at worst.
[[nodiscard]] std::optional<std::vector<wait_step>> find_deadlock(const wait_for_graph& graph,
                                                                  std::uint32_t victim);

}  // namespace dislock::core
