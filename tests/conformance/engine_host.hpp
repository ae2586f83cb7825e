// An engine under test with its store and its time: what a new engine has to bring to join the suite.
#pragma once

#include "engine/engine.hpp"

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace dislock::testing_engines {

struct host_settings {
  duration waiter_grace = std::chrono::seconds(5);
  duration request_memory = std::chrono::seconds(30);
  std::size_t request_memory_max = 4'000'000;
  std::size_t event_log_size = 10'000;
};

/// Hides how an engine keeps time and how its answers arrive. Made with the engine started.
class engine_host {
 public:
  virtual ~engine_host() = default;

  [[nodiscard]] virtual dislock::engine& engine() = 0;
  /// Lets the engine work until `done()`. False: that does not happen any more.
  [[nodiscard]] virtual bool run_until(const std::function<bool()>& done) = 0;
  /// Lets everything happen that is already due, and everybody be told of it.
  virtual void settle() = 0;
  /// Lets time go by: the test's clock where the engine reads it, else real time.
  virtual void pass(duration d) = 0;

  enum class ending {
    stop,   ///< in order: stop(), then destroyed
    crash,  ///< the new engine gets what a kill -9 at this moment would have left in the store
  };
  /// Whether what was decided is still there after the process has ended.
  [[nodiscard]] virtual bool outlives_its_process() const { return false; }
  /// REQUIRES: `outlives_its_process()`. `clock_moves` (forward or back) is what the wall clock does
  /// meanwhile.
  virtual void restart(ending, duration /*clock_moves*/) {}
  /// Whether the store runs on while the process is not there: its time passes, its leases end, its events
  /// stay. Then `clock_moves` is what the clock of the process does, and, if it is forward, for how long that
  /// was away.
  [[nodiscard]] virtual bool store_runs_on() const { return false; }
  /// Whether remembered requests are counted, and limited in number.
  [[nodiscard]] virtual bool counts_remembered() const { return true; }
};

/// What the suite is run with, once for each.
struct engine_under_test {
  std::string name;
  std::function<std::unique_ptr<engine_host>(const host_settings&, manual_clock&, engine_listener&)> make;

  friend void PrintTo(const engine_under_test& e, std::ostream* out) { *out << e.name; }
};

/// Every engine that this build knows. A new engine is one more line in engine_host.cpp.
[[nodiscard]] const std::vector<engine_under_test>& all_engines();
/// The reference for all others.
[[nodiscard]] std::unique_ptr<engine_host> make_memory_host(const host_settings& settings, manual_clock& time,
                                                            engine_listener& listener);

}  // namespace dislock::testing_engines
