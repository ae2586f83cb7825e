// Redis engines with a real redis-server, whose clock is the test's.
#pragma once

#include "engine_host.hpp"
#include "engines/redis/store_checks.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dislock::testing_engines {

[[nodiscard]] std::unique_ptr<engine_host> make_redis_host(const host_settings& settings, manual_clock& time,
                                                           engine_listener& listener);
/// A Cluster of one node, which has all the slots.
[[nodiscard]] std::unique_ptr<engine_host> make_cluster_host(const host_settings& settings,
                                                             manual_clock& time, engine_listener& listener);

/// A redis-server of a test's own, whose wall clock stands still until the test moves it, and the engines on
/// it, on one thread and one clock of their own. They end with the test, also where that crashes.
class redis_world {
 public:
  enum class found { directly, by_sentinel, in_cluster };
  explicit redis_world(manual_clock& time, found how = found::directly);
  ~redis_world();
  redis_world(const redis_world&) = delete;
  redis_world& operator=(const redis_world&) = delete;

  /// One more engine, connected and at rest.
  engine& add(const host_settings& settings, engine_listener& listener);
  /// Like kill -9: what it has not sent is never sent.
  void kill(engine& which);

  /// False: that does not happen any more.
  [[nodiscard]] bool run_until(const std::function<bool()>& done);
  /// Lets everything happen that is already due, in all engines.
  void rest();
  /// As `rest`, and `counts()` are those of now.
  void settle();
  /// The time of the server and of the engines.
  void pass(duration d);
  /// The time of the engines alone. REQUIRES: there is no engine.
  void set_back_engines(duration d);
  /// Sets the server's clock: its time goes on from there as before.
  void set_clock_by(duration d);
  [[nodiscard]] std::uint16_t port() const;
  /// The key of a lock that others see, and any other key of ours.
  [[nodiscard]] std::string shown(const std::string& lock) const { return shown_as_ + lock; }
  [[nodiscard]] std::string own(const std::string& key) const { return own_ + key; }
  /// What a redis-cli would say. Words separated by single spaces.
  std::string say(const std::string& command);

  redis::failover_terms failover;  ///< of the engines that are added from now on
  bool plain_counter = false;      ///< likewise: the planted bug

 private:
  class impl;
  std::unique_ptr<impl> impl_;
  const std::string shown_as_, own_;
};

}  // namespace dislock::testing_engines
