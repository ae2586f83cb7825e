// What a program reaches that uses a service through the C++ library: coroutines, or threads, of one process
// that acquire and release, each its own lock, all through one `client`. Prints one JSON object, in the words
// of dislock_load.
//
//     dislockd --engine memory: --port 5000 &
//     dislock_remote_bench http://127.0.0.1:5000 --leases 50 [--threads]
#include "dislock/async_client.hpp"
#include "dislock/client.hpp"

#include <CLI/CLI.hpp>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using stopwatch = std::chrono::steady_clock;

enum class phase : std::uint8_t { warm_up, measured, over };

// The share of one thread or coroutine.
struct caller {
  std::uint64_t pairs = 0;
  std::vector<stopwatch::duration> took;  // of each acquire and each release
  std::string failure;

  void run(dislock::client locks, std::string name, const std::atomic<phase>& now) {
    while (now.load(std::memory_order_relaxed) != phase::over) {
      const bool counts = now.load(std::memory_order_relaxed) == phase::measured;
      const auto began = stopwatch::now();
      auto held = locks.acquire(name);
      if (!held) return void(failure = held.error().message());
      const auto acquired = stopwatch::now();
      const auto given_back = held->release();
      if (!given_back) return void(failure = given_back.error().message());
      if (counts) count(began, acquired);
    }
  }

  dislock::task<> go(dislock::async_client locks, std::string name, const std::atomic<phase>& now) {
    while (now.load(std::memory_order_relaxed) != phase::over) {
      const bool counts = now.load(std::memory_order_relaxed) == phase::measured;
      const auto began = stopwatch::now();
      auto held = co_await locks.acquire(name);
      if (!held) {
        failure = held.error().message();
        co_return;
      }
      const auto acquired = stopwatch::now();
      const auto given_back = co_await locks.release(*held);
      if (!given_back) {
        failure = given_back.error().message();
        co_return;
      }
      if (counts) count(began, acquired);
    }
  }

 private:
  void count(stopwatch::time_point began, stopwatch::time_point acquired) {
    ++pairs;
    took.push_back(acquired - began);
    took.push_back(stopwatch::now() - acquired);
  }
};

struct cost {
  stopwatch::time_point at = stopwatch::now();
  double user = 0, system = 0;
  long switches = 0;

  static cost so_far() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto of = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    cost out;
    out.user = of(used.ru_utime);
    out.system = of(used.ru_stime);
    out.switches = used.ru_nvcsw + used.ru_nivcsw;
    return out;
  }
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Acquire and release from many coroutines or threads of one process, over HTTP.");
  std::string url;
  std::size_t leases = 50;
  double seconds = 5, warm_up = 1;
  bool blocking = false;
  app.add_option("url", url, "http://host:port")->required();
  app.add_option("-n,--leases", leases, "coroutines or threads, each with a lock of its own")
      ->capture_default_str();
  app.add_flag("--threads", blocking, "threads and the blocking calls; else coroutines");
  app.add_option("-s,--seconds", seconds, "to measure")->capture_default_str();
  app.add_option("--warm-up", warm_up, "seconds that do not count")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  auto locks = dislock::client::connect(url);
  if (!locks) {
    std::fprintf(stderr, "%s: %s\n", url.c_str(), locks.error().message().c_str());
    return 1;
  }
  std::atomic<phase> now{phase::warm_up};
  std::vector<caller> callers(leases);
  std::vector<std::thread> threads;
  std::vector<dislock::running_task<>> coroutines;
  const auto prefix = "bench/" + std::to_string(::getpid()) + "-";
  for (std::size_t i = 0; i < leases; ++i) {
    if (blocking) {
      threads.emplace_back([&, i] { callers[i].run(*locks, prefix + std::to_string(i), now); });
    } else {
      coroutines.push_back(dislock::start(callers[i].go(locks->async(), prefix + std::to_string(i), now)));
    }
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(warm_up));
  now = phase::measured;
  const auto before = cost::so_far();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  now = phase::over;
  const auto after = cost::so_far();
  for (auto& each : threads) each.join();
  for (auto& each : coroutines) each.wait();

  std::uint64_t pairs = 0;
  std::vector<stopwatch::duration> took;
  for (const auto& each : callers) {
    if (!each.failure.empty()) {  // the figure would be a lie
      std::fprintf(stderr, "a call failed: %s\n", each.failure.c_str());
      return 1;
    }
    pairs += each.pairs;
    took.insert(took.end(), each.took.begin(), each.took.end());
  }
  if (took.empty()) return std::fprintf(stderr, "no pair was completed\n"), 1;
  std::sort(took.begin(), took.end());
  const auto milliseconds = [&](double share) {
    const auto at = static_cast<std::size_t>(share * static_cast<double>(took.size() - 1));
    return std::chrono::duration<double, std::milli>(took[at]).count();
  };
  const double passed = std::chrono::duration<double>(after.at - before.at).count();
  const double calls = 2 * static_cast<double>(pairs),
               cpu = after.user + after.system - before.user - before.system;
  std::printf(
      "{\"pairsPerSecond\": %.1f, \"opsPerSecond\": %.1f, \"latency\": {\"p50Ms\": %.4f, \"p99Ms\": %.4f}, "
      "\"clientCpu\": %.3f, \"clientCpuMicrosPerOp\": %.2f, \"clientUserMicrosPerOp\": %.2f, "
      "\"clientSwitchesPerOp\": %.2f, \"errors\": {}}\n",
      calls / 2 / passed, calls / passed, milliseconds(0.5), milliseconds(0.99), cpu / passed,
      cpu / calls * 1e6, (after.user - before.user) / calls * 1e6,
      static_cast<double>(after.switches - before.switches) / calls);
  return 0;
}
