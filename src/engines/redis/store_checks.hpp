// What a Redis can promise, by what it says of itself.
#pragma once

#include "engine/capabilities.hpp"
#include "engines/redis/wire/server_facts.hpp"
#include "engines/redis/wire/url.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::redis {

/// How many replicas have to say that they have the watermark before it counts.
enum class acks_policy : std::uint8_t {
  at_least_one,  ///< all, but with fewer it goes on, degraded, as long as there is one
  all,
  none,  ///< nobody is asked: a failover may lower tokens and have two owners
};

/// What an operator decides about failovers.
struct failover_terms {
  acks_policy acks = acks_policy::at_least_one;
  /// After a failover nothing is granted until the leases that it may have lost are over. Else only tokens
  /// are safe.
  bool exclusive = true;
  /// Leases up to this long are covered by that pause, which is as long; each grant or renewal for longer is
  /// confirmed by the replicas before it is answered.
  duration quarantine = std::chrono::seconds(30);
  /// Also of locks that are held: a store that forgets them when its memory is full.
  bool allow_eviction = false;
};
/// The parameters of a store's URL that mean failover_terms: `acks`, `failover`, `quarantine`,
/// `allow-eviction`. Any other one is an error.
[[nodiscard]] result<failover_terms> read_failover_terms(const store_url& url, failover_terms defaults);

/// What the store answered to `CONFIG GET`; nothing where that is forbidden.
using store_settings = std::optional<std::map<std::string, std::string, std::less<>>>;

/// What follows from what was found.
struct store_verdict {
  std::string refusal{};             ///< not empty: this store must not be used, and why
  std::vector<std::string> notes{};  ///< what the operator should know; for people, no secrets
  bool durable = false;              ///< what was answered survives a restart of the store
  bool keeps_data = false;           ///< a restart does not come back empty
};
/// The part that needs no CONFIG: whether the store may be used at all.
[[nodiscard]] std::string refuse_store(const server_facts& said, const failover_terms& terms);
[[nodiscard]] store_verdict judge_store(const server_facts& said, const store_settings& settings,
                                        store_url::kind what, const failover_terms& terms);

/// How the replicas stand to what was asked of them.
struct replica_state {
  std::int64_t known = 0;  ///< that should have the data
  std::int64_t acked = 0;  ///< of these, those that said so the last time
};
struct confirmation {
  bool confirmed = false;  ///< the watermark counts
  bool degraded = false;   ///< though a replica may be promoted that does not have it
};
[[nodiscard]] confirmation judge_acks(acks_policy policy, const replica_state& seen) noexcept;

/// Class, durable, durableFence and failoverSafeExclusion, by everything that is known.
void grade(capabilities& about, const store_verdict& store, store_url::kind what, const failover_terms& terms,
           const confirmation& replicas, bool has_replicas);

}  // namespace dislock::redis
