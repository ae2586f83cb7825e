// The locks that a program holds, by name.
#pragma once

#include "dislock/client.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dislock {

/// Keeps leases by name, so that parts of a program that need the same lock hold it together, and so that all
/// can be given back at once, at the end or after a failure.
///
/// A name is acquired from the engine once. Who acquires it while it is held gets the same lease, counted;
/// the lease is given back with the last `release`. One that was lost is replaced by the next `acquire`; who
/// held it before sees that on the lease that it has, and still releases once.
///
/// Thread safety: all members from any thread.
class DISLOCK_API lock_registry {
 public:
  /// Told of every change of stage of every lease, on the client's thread. Must not block. It may come until
  /// the client ends, also after the registry has, so it owns what it touches.
  using stage_listener = std::function<void(std::string_view lock, lease_stage stage, loss_cause cause)>;
  /// A lock that could not be given back.
  struct failure {
    std::string lock;
    error why;
  };

  explicit lock_registry(client with, stage_listener on_stage = {});
  lock_registry(const lock_registry&) = delete;
  lock_registry& operator=(const lock_registry&) = delete;
  /// Gives all back in the background.
  ~lock_registry();

  /// The lease of this name: the one that is held, or a new one. Each success wants one `release`. Errors as
  /// `client::acquire`; `lock_mode_conflict`: it is held here in another mode, or with other permits. While
  /// another thread acquires the name, this one waits for that to succeed, and tries itself after it failed.
  [[nodiscard]] result<std::shared_ptr<const lease>> acquire(std::string_view lock,
                                                             acquire_options options = {});
  /// One hold less; with the last one the lease is given back, with the errors of `lease::release`.
  /// `lock_not_held`: the name is not held here, or its lease was lost.
  result<void> release(std::string_view lock);
  /// Gives back every lease, however often it is held, and names those of which that failed.
  [[nodiscard]] std::vector<failure> release_all();

  /// Null: it is not held here. It may have been lost: `lease::held` knows.
  [[nodiscard]] std::shared_ptr<const lease> find(std::string_view lock) const;
  /// How often the name is held here.
  [[nodiscard]] std::size_t hold_count(std::string_view lock) const;
  /// In the order of the names.
  [[nodiscard]] std::vector<std::string> names() const;
  /// Those that somebody here still counts on although they must be given up or are lost. Looks at the clock,
  /// asks nobody.
  [[nodiscard]] std::vector<std::string> lost() const;

 private:
  struct book;
  std::unique_ptr<book> book_;
};

}  // namespace dislock
