// Why a lease is gone, for its owner who comes too late.
#pragma once

#include "core/decision.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <deque>
#include <optional>

namespace dislock::core {

/// Remembers how leases ended that their owners did not end, by their secrets, so that a late renewal is told
/// why. Bounded in number and time; not kept over a restart: an explanation, never a decision.
class recent_ends {
 public:
  explicit recent_ends(duration life) : life_(life) {}

  void note(instant now, const lock_id& id, const renewal_token& renewal, end_reason how) {
    while (!line_.empty() && (line_.front().forget_at <= now || line_.size() >= most)) drop_oldest();
    reasons_[id.bits[1]] = how;
    reasons_[renewal.bits[1]] = how;
    line_.push_back({later(now, life_), id.bits[1], renewal.bits[1]});
  }

  /// By whichever secret is given. Half of its 128 bits do: who guesses them learns a reason and no more.
  [[nodiscard]] std::optional<end_reason> find(const lock_id& id,
                                               const renewal_token& renewal) const noexcept {
    const auto it = reasons_.find(id.empty() ? renewal.bits[1] : id.bits[1]);
    if (it == reasons_.end()) return std::nullopt;
    return it->second;
  }

  void forget_due(instant now, std::size_t budget) noexcept {
    for (; budget > 0 && !line_.empty() && line_.front().forget_at <= now; --budget) drop_oldest();
  }

 private:
  static constexpr std::size_t most = 100'000;

  struct entry {
    instant forget_at;
    std::uint64_t id, renewal;
  };

  void drop_oldest() noexcept {
    reasons_.erase(line_.front().id);
    reasons_.erase(line_.front().renewal);
    line_.pop_front();
  }

  const duration life_;
  boost::unordered_flat_map<std::uint64_t, end_reason> reasons_;
  std::deque<entry> line_;
};

}  // namespace dislock::core
