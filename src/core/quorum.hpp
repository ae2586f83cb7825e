// What a number of independent servers decide together: counted here, asked elsewhere.
#pragma once

#include "dislock/clock.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dislock::core {

/// More than half: two majorities of the same nodes have a node in common.
[[nodiscard]] constexpr std::size_t majority_of(std::size_t nodes) noexcept {
  return nodes / 2 + 1;
}

/// By how much `life`, counted by a node, may end earlier than counted by us: clocks that run at rates within
/// 1 % of each other, and 2 ms because a node counts in milliseconds.
[[nodiscard]] constexpr duration drift_of(duration life) noexcept {
  return life / 100 + std::chrono::milliseconds(2);
}
/// How long what the nodes keep for `life` certainly lasts, `elapsed` after the first of them was asked.
[[nodiscard]] constexpr duration valid_for(duration life, duration elapsed) noexcept {
  return life - elapsed - drift_of(life);
}
/// For how long the nodes have to keep something, in whole milliseconds, so that `wanted` of it is left
/// `patience` after the first of them was asked: `valid_for(life_for(w, p), p) >= w`.
[[nodiscard]] duration life_for(duration wanted, duration patience) noexcept;

/// The token to propose: larger than all that was proposed or named by a node that refused.
[[nodiscard]] std::uint64_t next_proposal(std::uint64_t largest_seen, instant now) noexcept;

enum class vote : std::uint8_t {
  silent,       ///< not answered yet
  accepted,     ///< it keeps what was asked
  refused,      ///< it does not, and says so
  unreachable,  ///< no answer will come, or one that counts for neither side
};
enum class verdict : std::uint8_t { undecided, won, lost };

/// One question to all nodes, and what has come back so far. A value; the time is told.
///
/// Invariants
/// 1. A node votes once.
/// 2. While no time passes, what was won or lost stays so, whatever the rest of the votes says.
/// 3. Won means: a majority accepted, and `wanted` of it is certainly left.
class round {
 public:
  /// An even number counts as well, but one node more than an odd number makes no failure more bearable and
  /// splits votes: who configures refuses it.
  round(std::size_t nodes, duration life, duration wanted);

  /// REQUIRES: `node` was silent, and no longer is.
  void take(std::size_t node, vote v, std::uint64_t last = 0);
  /// `elapsed` since the first node was asked.
  [[nodiscard]] verdict judge(duration elapsed) const noexcept;

  [[nodiscard]] std::size_t nodes() const noexcept { return votes_.size(); }
  [[nodiscard]] vote of(std::size_t node) const noexcept { return votes_[node]; }
  [[nodiscard]] std::size_t count(vote v) const noexcept { return counts_[static_cast<std::size_t>(v)]; }
  /// A majority has refused: no other votes could have won it.
  [[nodiscard]] bool is_refused() const noexcept { return count(vote::refused) >= majority_of(nodes()); }
  /// The largest token that a node which refused has accepted before; 0 if none said.
  [[nodiscard]] std::uint64_t largest_last() const noexcept { return largest_last_; }

 private:
  std::vector<vote> votes_;
  std::size_t counts_[4] = {};
  duration life_, wanted_;
  std::uint64_t largest_last_ = 0;
};

}  // namespace dislock::core
