#include "engine_host.hpp"

#include "engine/test_manual_loop.hpp"
#include "engines/embedded/embedded_engine.hpp"
#include "engines/memory/memory_engine.hpp"
#include "redis_host.hpp"
#include "redlock_host.hpp"

#include <filesystem>
#include <map>
#include <stdexcept>
#include <stdlib.h>
#include <utility>

// RocksDB comes as a Debian package, without ThreadSanitizer: what its threads agree on by atomics of its own
// looks like a race. Our commit thread is not called by it and stays watched.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:librocksdb.so\n";
}

namespace dislock::testing_engines {
namespace {

namespace fs = std::filesystem;

template <class Options>
Options options_of(const host_settings& settings) {
  Options o;
  o.table.waiter_grace = settings.waiter_grace;
  o.table.request_memory = settings.request_memory;
  o.table.request_memory_max = settings.request_memory_max;
  o.event_log_size = settings.event_log_size;
  return o;
}

// What a directory holds: enough to see that somebody has changed it.
std::map<fs::path, std::pair<std::uintmax_t, fs::file_time_type>> contents_of(const fs::path& directory) {
  std::map<fs::path, std::pair<std::uintmax_t, fs::file_time_type>> out;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file())
      out.emplace(entry.path(), std::pair(entry.file_size(), entry.last_write_time()));
  return out;
}

// RocksDB tidies up in the background for a moment after it was opened. A copy during which nothing changed
// is what a process that dies now leaves behind.
void copy_at_one_moment(const fs::path& from, const fs::path& to) {
  for (int attempts = 0; attempts < 1'000; ++attempts) {
    fs::remove_all(to);
    try {
      const auto before = contents_of(from);
      fs::copy(from, to, fs::copy_options::recursive);
      if (contents_of(from) == before) return;
    } catch (const fs::filesystem_error&) {  // a file went away under the copy
    }
  }
  throw std::runtime_error("the store does not come to rest");
}

/// An engine in this process, on a clock and a strand that stand still between the test's steps.
class local_host : public engine_host {
 public:
  local_host(manual_clock& time, engine_listener& listener) : time_(time), listener_(listener) {}

  dislock::engine& engine() override { return *engine_; }
  bool run_until(const std::function<bool()>& done) override { return loop_->run_until(done); }
  void settle() override {
    loop_->run_ready();
    // Answers leave in the order of the decisions, so this one leaves after everything before it.
    bool passed = false;
    engine_->validate(lock_name("settle"), {}, [&passed](auto&&) { passed = true; });
    if (!run_until([&passed] { return passed; }))
      throw std::runtime_error("the engine does not answer any more");
  }
  void pass(duration d) override {
    loop_->pass(time_, d, [this] { settle(); });
  }

 protected:
  void start(std::unique_ptr<dislock::engine> made) {
    engine_ = std::move(made);
    engine_->start(listener_);
    loop_->run_ready();
  }

  manual_clock& time_;
  engine_listener& listener_;
  // A new one for each life of the engine, like the io_context of a process. Outlives it.
  std::unique_ptr<manual_loop> loop_ = std::make_unique<manual_loop>(time_);
  std::unique_ptr<dislock::engine> engine_;
};

class memory_host final : public local_host {
 public:
  memory_host(const host_settings& settings, manual_clock& time, engine_listener& listener)
      : local_host(time, listener) {
    start(make_memory_engine(*loop_, options_of<local_engine_options>(settings)));
  }
};

class embedded_host final : public local_host {
 public:
  embedded_host(const host_settings& settings, embedded::durability mode, manual_clock& time,
                engine_listener& listener)
      : local_host(time, listener), options_(options_of<embedded_engine_options>(settings)) {
    auto pattern = (fs::temp_directory_path() / "dislock-conformance-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no directory for the store");
    directory_ = pattern;
    options_.mode = mode;
    options_.path = directory_ / "store-0";
    open();
  }
  ~embedded_host() override {
    engine_.reset();
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }

  bool outlives_its_process() const override { return true; }
  void restart(ending how, duration clock_moves) override {
    if (how == ending::stop) {
      bool stopped = false;
      engine_->stop([&stopped] { stopped = true; });
      if (!run_until([&stopped] { return stopped; })) throw std::runtime_error("the engine does not stop");
      engine_.reset();
    } else {
      // What the files hold now is all that a new process would find. The old engine is not asked: its
      // destructor would still write what it knows.
      const auto old = fs::path(options_.path);
      options_.path = directory_ / ("store-" + std::to_string(++crashes_));
      copy_at_one_moment(old, options_.path);
      engine_.reset();
      fs::remove_all(old);
    }
    loop_.reset();
    time_ = manual_clock(time_.now() + clock_moves);
    loop_ = std::make_unique<manual_loop>(time_);
    open();
  }

 private:
  void open() {
    auto opened = open_embedded_engine(options_, *loop_, time_);
    if (!opened) throw std::runtime_error(opened.error().message);
    start(std::move(*opened));
  }

  embedded_engine_options options_;
  fs::path directory_;
  int crashes_ = 0;
};

auto embedded_in(embedded::durability mode) {
  return [mode](const host_settings& settings, manual_clock& time,
                engine_listener& listener) -> std::unique_ptr<engine_host> {
    return std::make_unique<embedded_host>(settings, mode, time, listener);
  };
}

}  // namespace

std::unique_ptr<engine_host> make_memory_host(const host_settings& settings, manual_clock& time,
                                              engine_listener& listener) {
  return std::make_unique<memory_host>(settings, time, listener);
}

const std::vector<engine_under_test>& all_engines() {
  static const std::vector<engine_under_test> engines{
      {"Memory", make_memory_host},
      {"EmbeddedSync", embedded_in(embedded::durability::sync)},
      {"EmbeddedAsync", embedded_in(embedded::durability::async)},
      {"Redis", make_redis_host},
      {"RedisCluster", make_cluster_host},
      {"Redlock", make_redlock_host},
  };
  return engines;
}

}  // namespace dislock::testing_engines
