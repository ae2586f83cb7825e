// Whether somebody waits for ever, found out by playing on: slow, simple, and nothing like the table's
// search.
#pragma once

#include "core/decision.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace dislock::core {

struct oracle_lease {
  std::string lock, client;
  lock_mode mode{};
  std::uint32_t permits = 1;
  std::uint32_t limit = 0;
};

struct oracle_want {
  std::string lock;
  lock_mode mode{};
  std::uint32_t permits = 1;
  std::uint32_t limit = 0;
};

/// In order of arrival.
struct oracle_waiter {
  std::string client;
  std::vector<oracle_want> wants;
};

/// Every client that does not wait gives back what it holds; every request that heads its queues and fits is
/// granted; again and again. Who still waits when nothing moves any more waits for ever. (Who is served next
/// is decided by arrival alone, so the order in which running clients finish makes no difference.)
inline std::set<std::string> stuck_clients(std::vector<oracle_lease> leases,
                                           std::vector<oracle_waiter> waiters) {
  const auto fits = [&](const oracle_want& w) {
    std::uint64_t used = 0;
    for (const auto& l : leases) {
      if (l.lock != w.lock) continue;
      if (w.mode == lock_mode::exclusive || l.mode == lock_mode::exclusive || w.mode != l.mode) return false;
      used += l.permits;
    }
    return w.mode != lock_mode::semaphore || used + w.permits <= w.limit;
  };
  const auto heads = [&](std::size_t at) {
    for (std::size_t i = 0; i < at; ++i)
      for (const auto& theirs : waiters[i].wants)
        for (const auto& ours : waiters[at].wants)
          if (theirs.lock == ours.lock) return false;
    return true;
  };
  for (bool moved = true; moved;) {
    moved = false;
    const auto runs = [&](const oracle_lease& l) {
      return std::none_of(waiters.begin(), waiters.end(),
                          [&](const auto& w) { return w.client == l.client; });
    };
    moved = std::erase_if(leases, runs) > 0;
    for (std::size_t i = 0; i < waiters.size(); ++i) {
      const auto& wants = waiters[i].wants;
      if (!heads(i) || !std::all_of(wants.begin(), wants.end(), fits)) continue;
      for (const auto& w : wants) leases.push_back({w.lock, waiters[i].client, w.mode, w.permits, w.limit});
      waiters.erase(waiters.begin() + static_cast<std::ptrdiff_t>(i));
      moved = true;
      break;
    }
  }
  std::set<std::string> out;
  for (const auto& w : waiters) out.insert(w.client);
  return out;
}

}  // namespace dislock::core
