// What the C++ library costs, through its public header: one line per measure, or JSON.
#include "dislock/async_client.hpp"
#include "dislock/client.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using stopwatch = std::chrono::steady_clock;

struct measured {
  std::string what;
  double value = 0;
  std::string unit;
};

double seconds_since(stopwatch::time_point began) {
  return std::chrono::duration<double>(stopwatch::now() - began).count();
}

double processor_seconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

dislock::client open_or_die(const std::string& url, dislock::client_options options = {}) {
  auto opened = dislock::client::connect(url, std::move(options));
  if (opened) return std::move(*opened);
  std::fprintf(stderr, "%s: %s\n", url.c_str(), opened.error().message().c_str());
  std::exit(1);
}

// Acquires and releases until `stop`; how often that succeeded. Dies of the first failure, which would make
// the figure a lie.
std::size_t pairs(dislock::client& locks, const std::string& name, const dislock::acquire_options& how,
                  const std::atomic<bool>& stop) {
  std::size_t done = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    auto held = locks.acquire(name, how);
    if (held)
      if (auto given_back = held->release(); given_back) {
        ++done;
        continue;
      }
    std::fprintf(stderr, "a pair failed: %s\n", held ? "release" : held.error().message().c_str());
    std::exit(1);
  }
  return done;
}

double pairs_per_second(dislock::client& locks, std::size_t threads, std::chrono::duration<double> time,
                        const dislock::acquire_options& how, bool one_lock = false) {
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> done{0};
  std::vector<std::thread> callers;
  const auto began = stopwatch::now();
  for (std::size_t i = 0; i < threads; ++i)
    callers.emplace_back(
        [&, i] { done += pairs(locks, one_lock ? "jobs/one" : "jobs/" + std::to_string(i), how, stop); });
  std::this_thread::sleep_for(time);
  stop = true;
  for (auto& each : callers) each.join();
  return static_cast<double>(done) / seconds_since(began);
}

// The share of one core that it takes to keep so many leases alive.
void renewals(std::vector<measured>& out, std::size_t leases, std::chrono::seconds time) {
  std::atomic<std::size_t> renewed{0}, lost{0};
  dislock::client_options options;
  options.on_measurement = [&](const dislock::measurement& m) {
    renewed += m.what == dislock::measurement::kind::renewed;
    lost += m.what == dislock::measurement::kind::lost;
  };
  auto locks = open_or_die("memory:", options);
  std::vector<dislock::lease> held;
  const auto spread = time / 3 / static_cast<int>(leases);
  for (std::size_t i = 0; i < leases; ++i) {
    held.push_back(locks.acquire("kept/" + std::to_string(i)).value());
    if (i % 100 == 0) std::this_thread::sleep_for(100 * spread);
  }
  const auto before = processor_seconds();
  const auto began = stopwatch::now();
  const auto renewed_before = renewed.load();
  std::this_thread::sleep_for(time);
  const auto passed = seconds_since(began);
  out.push_back({"renewals of " + std::to_string(leases) + " leases of 30 s",
                 static_cast<double>(renewed - renewed_before) / passed, "per s"});
  out.push_back({"their share of one core", 100 * (processor_seconds() - before) / passed, "%"});
  if (lost > 0) {
    std::fprintf(stderr, "%zu leases were lost\n", lost.load());
    std::exit(1);
  }
}

double nanoseconds_of_held(dislock::client& locks) {
  const auto held = locks.acquire("jobs/asked").value();
  constexpr int times = 10'000'000;
  int yes = 0;
  const auto began = stopwatch::now();
  for (int i = 0; i < times; ++i) yes += held.held();
  const auto passed = seconds_since(began);
  if (yes != times) std::exit(1);
  return passed * 1e9 / times;
}

// The processor time of another process; 0 without one.
double processor_seconds_of(pid_t other) {
  if (other <= 0) return 0;
  std::ifstream in("/proc/" + std::to_string(other) + "/stat");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  unsigned long user = 0, system = 0;
  const auto after_name = text.rfind(')');
  if (after_name == std::string::npos ||
      std::sscanf(text.c_str() + after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                  &user, &system) != 2)
    return 0;
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

dislock::task<std::size_t> pairs_of_a_coroutine(dislock::async_client locks, std::string name,
                                                const std::atomic<bool>& stop) {
  std::size_t done = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    auto held = co_await locks.acquire(name);
    if (held) {
      auto given_back = co_await locks.release(*held);
      if (given_back) {
        ++done;
        continue;
      }
    }
    std::fprintf(stderr, "a pair failed: %s\n", held ? "release" : held.error().message().c_str());
    std::exit(1);
  }
  co_return done;
}

// Uncontended pairs of so many callers at once, over a store or a service at `url`.
void pairs_over(std::vector<measured>& out, const std::string& url, std::size_t callers, bool coroutines,
                std::chrono::duration<double> time, pid_t server) {
  auto locks = open_or_die(url);
  const auto ours = processor_seconds(), theirs = processor_seconds_of(server);
  double rate = 0;
  const auto began = stopwatch::now();
  if (coroutines) {
    std::atomic<bool> stop{false};
    std::vector<dislock::running_task<std::size_t>> running;
    for (std::size_t i = 0; i < callers; ++i)
      running.push_back(
          dislock::start(pairs_of_a_coroutine(locks.async(), "jobs/" + std::to_string(i), stop)));
    std::this_thread::sleep_for(time);
    stop = true;
    std::size_t done = 0;
    for (auto& each : running) done += std::move(each).get();
    rate = static_cast<double>(done) / seconds_since(began);
  } else {
    rate = pairs_per_second(locks, callers, time, {});
  }
  const auto pairs = rate * seconds_since(began) / 1e6;
  const auto what = std::to_string(callers) + (coroutines ? " coroutines" : " threads");
  out.push_back({"store: pairs, " + what, rate, "per s"});
  out.push_back({"store: the client's processor time", (processor_seconds() - ours) / pairs, "us a pair"});
  if (server > 0)
    out.push_back(
        {"store: the server's processor time", (processor_seconds_of(server) - theirs) / pairs, "us a pair"});
}

// Callers of one lock, each of which gives it back as soon as it has it and wants it again. A hand-off is a
// new owner who was already waiting when the last one began to give it back: as bench/redis/peers counts it.
class crowd {
 public:
  explicit crowd(std::size_t callers) : since_(callers) {
    for (auto& each : since_) each = not_waiting;
  }

  void count(bool on) { counting_ = on; }
  void end() { over_ = true; }
  [[nodiscard]] bool over() const { return over_; }
  [[nodiscard]] std::size_t hand_offs() const { return hand_offs_; }
  [[nodiscard]] std::size_t most_jumped_over() const { return most_jumped_over_; }

  void wants(std::size_t me) { since_[me] = now(); }
  // By the owner, so there is nobody else here.
  void owns(std::size_t me, dislock::fencing_token token) {
    if (token <= last_token_) die("the fencing token did not rise");
    last_token_ = token;
    const auto since = since_[me].exchange(not_waiting);
    if (counting_) {
      hand_offs_ += last_owner_ != me && since < released_;
      const auto jumped_over = static_cast<std::size_t>(
          std::count_if(since_.begin(), since_.end(), [&](const auto& other) { return other < since; }));
      most_jumped_over_ = std::max(most_jumped_over_, jumped_over);
    }
    last_owner_ = me;
    released_ = now();
  }
  static void die(const std::string& why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(1);
  }

 private:
  using ticks = stopwatch::rep;
  static constexpr auto not_waiting = std::numeric_limits<ticks>::max();
  static ticks now() { return stopwatch::now().time_since_epoch().count(); }

  std::vector<std::atomic<ticks>> since_;
  std::atomic<bool> counting_{false}, over_{false};
  std::size_t hand_offs_ = 0, most_jumped_over_ = 0;
  std::size_t last_owner_ = static_cast<std::size_t>(-1);
  ticks released_ = 0;
  dislock::fencing_token last_token_{};
};

constexpr const char* crowded = "jobs/crowded";

dislock::task<> member_of(crowd& all, std::size_t me, dislock::async_client locks) {
  while (!all.over()) {
    all.wants(me);
    auto held = co_await locks.acquire(crowded);
    if (!held) crowd::die(held.error().message());
    all.owns(me, held->fencing_token());
    auto given_back = co_await locks.release(*held);
    if (!given_back) crowd::die(given_back.error().message());
  }
}

void stand_in(crowd& all, std::size_t me, dislock::client& locks) {
  while (!all.over()) {
    all.wants(me);
    auto held = locks.acquire(crowded);
    if (!held) crowd::die(held.error().message());
    all.owns(me, held->fencing_token());
    if (auto given_back = held->release(); !given_back) crowd::die(given_back.error().message());
  }
}

void hand_offs_over(std::vector<measured>& out, const std::string& url, std::size_t callers, bool coroutines,
                    std::chrono::duration<double> time, pid_t server) {
  auto locks = open_or_die(url);
  crowd all(callers);
  std::vector<dislock::running_task<>> tasks;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < callers; ++i) {
    if (coroutines) {
      tasks.push_back(dislock::start(member_of(all, i, locks.async())));
    } else {
      threads.emplace_back([&, i] { stand_in(all, i, locks); });
    }
  }
  std::this_thread::sleep_for(500ms);
  const auto ours = processor_seconds(), theirs = processor_seconds_of(server);
  const auto began = stopwatch::now();
  all.count(true);
  std::this_thread::sleep_for(time);
  all.count(false);
  const auto passed = seconds_since(began);
  const auto used = processor_seconds() - ours, used_there = processor_seconds_of(server) - theirs;
  all.end();
  for (auto& each : tasks) each.wait();
  for (auto& each : threads) each.join();
  const auto done = static_cast<double>(all.hand_offs());
  const auto what = std::to_string(callers) + (coroutines ? " coroutines" : " threads");
  out.push_back({"store: hand-offs, " + what, done / passed, "per s"});
  out.push_back({"store: jumped over at most", static_cast<double>(all.most_jumped_over()), "waiters"});
  out.push_back({"store: the client's processor time", used / done * 1e6, "us a hand-off"});
  if (server > 0)
    out.push_back({"store: the server's processor time", used_there / done * 1e6, "us a hand-off"});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What the C++ library costs.");
  double time = 2;
  bool json = false;
  std::string store = "/tmp/dislock-library-bench-" + std::to_string(::getpid());
  std::string url = "redis://127.0.0.1:6379";
  std::size_t callers = 50;
  pid_t server = 0;
  std::vector<std::string> only;
  app.add_option("--seconds", time, "For each measure of pairs");
  app.add_flag("--json", json);
  app.add_option("--store", store, "A directory that does not exist yet, on the disk to measure");
  app.add_option("--url", url, "The store for `redis` and `handoff`");
  app.add_option("--callers", callers, "How many, for `redis` and `handoff`");
  app.add_option("--server", server, "The store's process id, to tell its processor time");
  app.add_option(
      "only", only,
      "memory, ids, threads, embedded, renewals, held; nothing: these. redis: --callers over --url, as "
      "coroutines and as threads, each its own lock; handoff: one lock for all of them");
  CLI11_PARSE(app, argc, argv);
  const auto wanted = [&](std::string_view what) {
    return only.empty() || std::find(only.begin(), only.end(), what) != only.end();
  };
  const std::chrono::duration<double> each(time);

  std::vector<measured> out;
  dislock::acquire_options bare;
  if (wanted("memory")) {
    auto locks = open_or_die("memory:");
    out.push_back({"memory: pairs, 1 thread", pairs_per_second(locks, 1, each, bare), "per s"});
  }
  if (wanted("ids")) {
    dislock::client_options options;
    options.request_ids = true;
    auto locks = open_or_die("memory:", options);
    out.push_back(
        {"memory: pairs with request ids, 1 thread", pairs_per_second(locks, 1, each, bare), "per s"});
  }
  if (wanted("threads")) {
    auto locks = open_or_die("memory:");
    out.push_back({"memory: pairs, 4 threads", pairs_per_second(locks, 4, each, bare), "per s"});
    out.push_back(
        {"memory: pairs, 4 threads, one lock", pairs_per_second(locks, 4, each, bare, true), "per s"});
  }
  if (wanted("held")) {
    auto locks = open_or_die("memory:");
    out.push_back({"lease::held()", nanoseconds_of_held(locks), "ns"});
  }
  if (wanted("embedded")) {
    {
      auto locks = open_or_die("embedded:" + store);
      for (const std::size_t threads : {1, 8, 32, 128})
        out.push_back({"embedded: durable pairs, " + std::to_string(threads) + " threads",
                       pairs_per_second(locks, threads, each, bare), "per s"});
    }
    std::filesystem::remove_all(store);
  }
  if (wanted("renewals")) renewals(out, 10'000, std::chrono::seconds(30));

  if (std::find(only.begin(), only.end(), "redis") != only.end())
    for (const bool coroutines : {true, false}) pairs_over(out, url, callers, coroutines, each, server);
  if (std::find(only.begin(), only.end(), "handoff") != only.end())
    for (const bool coroutines : {true, false}) hand_offs_over(out, url, callers, coroutines, each, server);

  if (json) {
    std::printf("[");
    for (const auto& one : out)
      std::printf("%s\n  {\"what\": \"%s\", \"value\": %.1f, \"unit\": \"%s\"}",
                  &one == out.data() ? "" : ",", one.what.c_str(), one.value, one.unit.c_str());
    std::printf("\n]\n");
  } else {
    for (const auto& one : out)
      std::printf("%-45s %14.1f %s\n", one.what.c_str(), one.value, one.unit.c_str());
  }
}
