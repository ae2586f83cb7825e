// dislock bench: the load test of the service.
#include "commands/commands.hpp"
#include "latencies.hpp"
#include "supervision/signal_inbox.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
using watch = std::chrono::steady_clock;

struct wanted {
  std::size_t concurrent = 50, operations = 1000, keys = 0;
  std::optional<duration> hold, ttl, wait, for_time;
  bool contended = false;
  std::string prefix;
};

// What one worker has seen. Owned by its thread until that is joined.
struct seen {
  std::vector<duration> acquire, release;
  std::map<errc, std::size_t> errors;
};

// How far all of them are.
struct course {
  std::atomic<std::size_t> started = 0, done = 0, running = 0;
  std::atomic<bool> over = false;  ///< start nothing more
};

duration since(watch::time_point t) {
  return std::chrono::duration_cast<duration>(watch::now() - t);
}

// One pair after the other, each a flow of its own, until there is no more to do.
void work(client locks, const wanted& w, std::size_t worker, course& all, const std::stop_token& stop,
          seen& into) {
  while (!all.over.load(std::memory_order_relaxed)) {
    const auto turn = all.started.fetch_add(1, std::memory_order_relaxed);
    if (!w.for_time && turn >= w.operations) return;
    const auto key = w.contended ? 0 : w.keys > 0 ? turn % w.keys : worker;
    acquire_options how;
    how.wait = w.wait.value_or(60s);
    how.ttl = w.ttl;
    how.stop = stop;
    how.renew = w.hold.has_value();
    const auto asked = watch::now();
    auto held = locks.acquire(w.prefix + std::to_string(key), std::move(how));
    if (!held) {
      if (stop.stop_requested()) return;  // given up: says nothing about the service
      ++into.errors[held.error().code];
      continue;
    }
    into.acquire.push_back(since(asked));
    if (w.hold) std::this_thread::sleep_for(*w.hold);
    const auto releasing = watch::now();
    if (const auto released = held->release(); !released)
      ++into.errors[released.error().code];
    else
      into.release.push_back(since(releasing));
    all.done.fetch_add(1, std::memory_order_relaxed);
  }
}

double own_cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto s = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return s(used.ru_utime) + s(used.ru_stime);
}

std::string line_of(const char* name, const percentiles& p) {
  std::string out(name);
  out.resize(9, ' ');
  for (const auto d : {p.p50, p.p90, p.p99, p.p999, p.longest}) {
    auto cell = in_words(d);
    out += std::string(cell.size() < 10 ? 10 - cell.size() : 1, ' ') + cell;
  }
  return out;
}

exit_code bench(workbench& at, wanted w) {
  if (w.concurrent < 1 || w.concurrent > 10'000)
    return at.print.usage("--concurrent must be from 1 to 10000.");
  if (w.operations < 1) return at.print.usage("--operations must be at least 1.");
  if (w.contended && w.keys > 0) return at.print.usage("--contended and --keys exclude each other.");
  if (w.prefix.empty()) w.prefix = "bench/" + std::to_string(getpid()) + "/";
  signal_inbox inbox{SIGINT, SIGTERM, SIGHUP};
  client_options options;
  options.connections = w.concurrent + 4;
  auto connected = at.connect(std::move(options));
  if (!connected) return at.print.refuse(connected.error());
  // What connections cost is not what is measured: one try tells whether anybody is there.
  if (const auto there = connected->ping(); !there) return at.print.refuse(there.error());

  std::stop_source stop;  // gives up what still waits
  course all_of_it;
  all_of_it.running = w.concurrent;
  std::vector<seen> all(w.concurrent);
  const auto began = watch::now();
  const auto cpu_before = own_cpu_seconds();
  std::optional<int> interrupted;
  {
    std::vector<std::jthread> workers;
    for (std::size_t i = 0; i < w.concurrent; ++i)
      workers.emplace_back([&, i] {
        work(*connected, w, i, all_of_it, stop.get_token(), all[i]);
        all_of_it.running.fetch_sub(1);
      });
    const bool progress = at.print.err_can().colours && !at.with.quiet;
    std::size_t last = 0;
    while (all_of_it.running.load() > 0) {
      pollfd open{inbox.descriptor(), POLLIN, 0};
      poll(&open, 1, progress ? 200 : 20);
      while (const auto number = inbox.next())
        if (means_end(*number)) {
          interrupted = number;
          all_of_it.over = true;
          stop.request_stop();
        }
      if (w.for_time && since(began) >= *w.for_time) {
        all_of_it.over = true;
        if (since(began) >= *w.for_time + 1s) stop.request_stop();  // what has begun may end
      }
      if (!progress) continue;
      const auto now = all_of_it.done.load();
      std::fprintf(stderr, "\r%zu%s pairs, %zu/s\x1b[K", now,
                   w.for_time ? "" : (" of " + std::to_string(w.operations)).c_str(), (now - last) * 5);
      last = now;
    }
    if (progress) std::fputs("\r\x1b[K", stderr);
  }
  const auto took = std::chrono::duration<double>(watch::now() - began).count();
  const auto cpu = own_cpu_seconds() - cpu_before;

  seen total;
  for (auto& s : all) {
    total.acquire.insert(total.acquire.end(), s.acquire.begin(), s.acquire.end());
    total.release.insert(total.release.end(), s.release.begin(), s.release.end());
    for (const auto& [code, n] : s.errors) total.errors[code] += n;
  }
  const auto pairs = total.release.size();
  const auto rate = took > 0 ? static_cast<double>(pairs) / took : 0;
  const auto acquire = percentiles_of(total.acquire), release = percentiles_of(total.release);
  if (at.print.for_programs()) {
    boost::json::object errors;
    for (const auto& [code, n] : total.errors) errors[to_string(code)] = n;
    at.print.one({{"concurrent", w.concurrent},
                  {"operations", pairs},
                  {"keys", w.contended  ? 1
                           : w.keys > 0 ? w.keys
                                        : w.concurrent},
                  {"seconds", took},
                  {"pairsPerSecond", rate},
                  {"acquire", to_json(acquire)},
                  {"release", to_json(release)},
                  {"clientCpuSeconds", cpu},
                  {"errors", std::move(errors)}},
                 {});
  } else {
    char text[160];
    std::snprintf(text, sizeof text,
                  "%zu pairs of acquire and release in %.2f s: %.0f/s (this client: %.0f %% of a core)",
                  pairs, took, rate, took > 0 ? 100 * cpu / took : 0);
    at.print.line(at.print.painted(text, colour::strong));
    at.print.line("                p50       p90       p99     p99.9       max");
    at.print.line(line_of("acquire", acquire));
    at.print.line(line_of("release", release));
    for (const auto& [code, n] : total.errors)
      at.print.line(
          at.print.painted(std::to_string(n) + " times " + std::string(to_string(code)), colour::bad));
  }
  if (interrupted) return after_signal(*interrupted);
  if (total.errors.empty()) return exit_code::ok;
  return exit_code_of(
      std::ranges::max_element(total.errors, {}, [](const auto& e) { return e.second; })->first);
}

}  // namespace

action declare_bench(CLI::App& app) {
  const auto w = std::make_shared<wanted>();
  app.add_option("--concurrent", w->concurrent, "How many do it at a time (50)")->type_name("N");
  app.add_option("--operations", w->operations, "Pairs of acquire and release in all (1000)")->type_name("N");
  add_duration(app, "--for", w->for_time, "So long, instead of a number of operations");
  app.add_option("--keys", w->keys, "Over so many locks; without it each has its own")->type_name("N");
  app.add_flag("--contended", w->contended, "All want one lock");
  add_duration(app, "--hold", w->hold, "Hold the lock so long");
  add_duration(app, "--ttl", w->ttl, "How long a lease lives (30s)");
  add_duration(app, "--wait", w->wait, "How long to wait for a lock (60s)");
  app.add_option("--prefix", w->prefix, "What the names of the locks begin with (bench/PID/)");
  return [w](workbench& at) { return bench(at, *w); };
}

}  // namespace dislock::cli
