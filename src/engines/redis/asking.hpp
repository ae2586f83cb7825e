// What the scripts are asked, as JSON (see lua/).
#pragma once

#include "core/decision.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dislock::redis {

/// What every script is told, whatever it is asked.
struct house_rules {
  std::string side_prefix;       ///< of all keys but the locks themselves
  std::string canonical_prefix;  ///< of the keys that show a lock to programs that know nothing of us
  std::string replica;           ///< who asks
  duration waiter_grace{};
  duration request_memory{};
  duration replica_lapse{};  ///< after so long without a heartbeat a replica is dead
  duration ahead{};          ///< how far the ceiling of tokens is raised
  duration covered{};        ///< ends up to so far ahead are covered by the horizon
  std::size_t queue_max = 0;
  bool callers_are_here = false;  ///< what the asker is told in an answer needs no claim
  bool exclusive_failover =
      true;                    ///< nothing is granted after a failover until what may have been lost is over
  bool cluster = false;        ///< the store may be a slot that moves from one server to another
  bool plain_counter = false;  ///< a planted bug: tokens without a watermark
};

/// One question. Instants and durations are microseconds.
class ask {
 public:
  ask(std::string_view rules, std::string_view verb);
  /// The part that all have in common.
  [[nodiscard]] static std::string common(const house_rules& rules);

  ask& put(std::string_view name, std::string_view text);
  ask& put(std::string_view name, std::int64_t number);
  ask& put(std::string_view name, duration d) { return put(name, std::int64_t{d.count()}); }
  ask& put(std::string_view name, const std::vector<std::string>& texts);
  template <class Tag>
  ask& put(std::string_view name, const secret<Tag>& s) {
    return put(name, std::string_view(s.empty() ? std::string() : s.to_string()));
  }
  ask& put(std::string_view name, const std::vector<cycle_step>& cycle);
  ask& put(std::span<const lock_want> wants);
  ask& put(std::span<const lease_proof> leases);
  ask& put_secrets(std::span<const std::pair<lock_id, renewal_token>> secrets);
  /// A call with a request id is remembered by it, within `scope` (a lock, or nothing for what names
  /// several).
  ask& put_call(const call_id& call, std::uint64_t print);

  [[nodiscard]] std::string text() && {
    text_ += '}';
    return std::move(text_);
  }

 private:
  void name(std::string_view n);

  std::string text_;
};

/// A digest of everything that makes a call what it is, but for how long it waits.
[[nodiscard]] std::uint64_t print_of(const acquire_request& r);
[[nodiscard]] std::uint64_t print_of(std::string_view verb, std::span<const lease_proof> leases,
                                     std::optional<duration> ttl);

}  // namespace dislock::redis
