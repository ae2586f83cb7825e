#pragma once

#include "engine/engine.hpp"
#include "engine/loop.hpp"

#include <map>
#include <string>

namespace dislock {

/// Renews leases for callers that cannot run a heartbeat (autoRenew).
///
/// Every min(interval, ttl/3), until the engine says that the lease is not held any more: released, ended
/// with its session, or at the end of its maxHold, which the engine enforces. A renewal that fails for
/// another reason is tried again with the next turn. A lease that turns out not to have been delivered is let
/// go. One strand.
class keeper {
 public:
  /// `renewal_clock` is for this keeper alone.
  keeper(engine& of, loop& renewal_clock, duration interval);

  /// Takes up the leases that the engine knows of (after a restart).
  void start();
  /// Renews this lease from now on. Taking one up twice does no harm.
  void adopt(lock_name name, const lock_id& id, duration ttl);
  /// Told of every renewal: whether the lease lives on. One listener.
  void on_renewal(completion<bool> listener) { told_ = std::move(listener); }
  [[nodiscard]] std::size_t leases() const noexcept { return kept_.size(); }
  [[nodiscard]] std::uint64_t renewals() const noexcept { return renewals_; }

 private:
  struct kept {
    std::string name;
    lock_id id;
    duration every{};
  };
  using line = std::multimap<instant, kept>;

  void renew_due();

  engine& engine_;
  loop& loop_;
  const duration interval_;
  line line_;                                                    // by the time of the next renewal
  std::map<std::array<std::uint64_t, 2>, line::iterator> kept_;  // by lease
  std::uint64_t renewals_ = 0;
  completion<bool> told_;
};

}  // namespace dislock
