#pragma once

#include "event_loop.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dislock::load {

/// Whose requests are sent. nginx gets the requests of dislock and answers each with the same bytes.
enum class target_kind : std::uint8_t { dislock, nginx, etcd };

/// What all requests of a run have in common.
struct call_options {
  target_kind target = target_kind::dislock;
  std::string host;                               ///< the Host header
  std::string prefix;                             ///< of lock names, client ids and request ids
  bool request_ids = false;                       ///< every call carries a fresh requestId
  std::chrono::milliseconds timeout{30'000};      ///< the ttl asked for
  std::optional<std::chrono::milliseconds> wait;  ///< waitTimeout; absent = one attempt
};

/// The requests of one caller, built once; only the digits that change are written again.
///
/// The views it returns stay valid until the next call of the same kind.
class lock_calls {
 public:
  /// `etcd_lease` is the lease that the caller's keys are bound to (etcd only).
  lock_calls(const call_options& options, std::uint64_t client, std::uint64_t etcd_lease = 0);

  /// Takes the lock `name`. `request` makes the request id: the same number repeats the same call.
  std::string_view acquire(std::uint64_t name, std::uint64_t request);
  /// The same by another client, who then cannot use `release`.
  std::string_view acquire_as(std::uint64_t client, std::uint64_t name, std::uint64_t request);

  /// Keeps what `release` needs from the reply that granted the lock. False: the reply is no grant.
  [[nodiscard]] bool learn_grant(std::string_view body);
  std::string_view release(std::uint64_t request);

 private:
  void build_release(std::string_view grant_id);

  const call_options& options_;
  std::string client_id_;
  std::string lock_path_;  // the path of the lock last acquired, the same in acquire and release
  std::string acquire_;
  std::string release_;
  std::size_t grant_id_size_ = 0;
  std::size_t acquire_name_ = 0;
  std::size_t acquire_client_ = 0;
  std::size_t acquire_request_ = 0;
  std::size_t release_name_ = 0;
  std::size_t release_grant_ = 0;
  std::size_t release_request_ = 0;
  std::uint64_t name_ = 0;
};

/// A prefix that no other run on this machine uses at the same time.
[[nodiscard]] std::string fresh_prefix();

/// How long a 503 or 429 asks us to stay away: Retry-After, at most 5 s; 50 ms when it does not say.
[[nodiscard]] std::optional<clock::duration> back_off(const http_reply& reply);

/// "409 lock_not_acquired": the status and, where the body has one, the problem's code.
[[nodiscard]] std::string error_name(const http_reply& reply);

/// Grants one etcd lease over a connection of its own. Blocks.
[[nodiscard]] std::uint64_t grant_etcd_lease(const endpoint& server, std::chrono::seconds ttl);

}  // namespace dislock::load
