// What our client for Redis costs: one thread that keeps N scripts open, beside hiredis, which writes N
// commands and reads N replies, and beside redis-benchmark, which does the same. All in turns, against one
// server; only the ratios within one run mean anything.
//
//   redis-server --port 7777 --save '' & dislock_redis_wire_bench --port 7777
#include "base/log.hpp"
#include "engines/redis/wire/client.hpp"
#include "engines/redis/wire/command.hpp"

#include <CLI/CLI.hpp>
#include <hiredis/hiredis.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace dislock;
using namespace dislock::redis;
using namespace std::chrono_literals;

constexpr const char* script_text =
    "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end return 0";
constexpr std::string_view owner = "0123456789abcdef0123456789abcdef", ttl = "30000";

struct figure {
  double per_second = 0;
  double cpu = 0;  ///< microseconds of this thread for a call
};

class stopwatch {
 public:
  [[nodiscard]] figure read(double calls) const {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - from_;
    return {calls / took.count(), (cpu() - cpu_) * 1e6 / calls};
  }

 private:
  static double cpu() {
    rusage u{};
    ::getrusage(RUSAGE_THREAD, &u);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(u.ru_utime) + seconds(u.ru_stime);
  }
  std::chrono::steady_clock::time_point from_ = std::chrono::steady_clock::now();
  double cpu_ = cpu();
};

struct listener final : client_listener {
  void on_connected(const address&, const server_facts&, std::uint64_t) override {}
  void on_lost(const address& at, std::string_view why) override {
    std::fprintf(stderr, "lost %s: %.*s\n", at.text().c_str(), static_cast<int>(why.size()), why.data());
  }
  void on_subscribed() override {}
  void on_message(std::string_view, std::string_view) override {}
};

/// N callers: each makes its next call when it has the answer to the last one.
class ours {
 public:
  ours(std::uint16_t port, std::size_t callers) : callers_(callers) {
    const auto url = "redis://127.0.0.1:" + std::to_string(port);
    auto made =
        redis_client::make(io_, time_, {.url = *parse_store_url(url), .scripts = {script_text}}, nobody_);
    client_ = std::move(*made);
    client_->start();
    while (!client_->ready()) io_.run_one();
  }
  figure run(std::size_t calls) {
    left_ = calls;
    open_ = 0;
    const stopwatch watch;
    for (std::size_t i = 0; i < callers_; ++i) call();
    while (open_ > 0) io_.run_one();
    return watch.read(static_cast<double>(calls));
  }

 private:
  void call() {
    if (left_ == 0) return;
    --left_;
    ++open_;
    const std::string_view keys[] = {"bench:lock"}, words[] = {owner, ttl};
    client_->run({.key = keys[0]}, {.script = 0, .keys = keys, .arguments = words}, time_.now() + 10s,
                 [this](response a) {
                   --open_;
                   if (!a || a->is != reply::kind::integer) std::abort();
                   call();
                 });
  }

  const std::size_t callers_;
  boost::asio::io_context io_{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO};
  boottime_clock time_;
  listener nobody_;
  std::unique_ptr<redis_client> client_;
  std::size_t left_ = 0, open_ = 0;
};

class theirs {
 public:
  theirs(std::uint16_t port, std::size_t pipeline)
      : pipeline_(pipeline),
        context_(redisConnect("127.0.0.1", port), &redisFree),
        digest_(sha1_hex(script_text)) {
    if (!context_ || context_->err != 0) std::abort();
  }
  figure run(std::size_t calls) {
    const stopwatch watch;
    for (std::size_t done = 0; done < calls; done += pipeline_) {
      const char* words[] = {"EVALSHA", digest_.c_str(), "1", "bench:lock", owner.data(), ttl.data()};
      const std::size_t sizes[] = {7, 40, 1, 10, owner.size(), ttl.size()};
      for (std::size_t i = 0; i < pipeline_; ++i) redisAppendCommandArgv(context_.get(), 6, words, sizes);
      for (std::size_t i = 0; i < pipeline_; ++i) {
        void* got = nullptr;
        if (redisGetReply(context_.get(), &got) != REDIS_OK) std::abort();
        if (static_cast<redisReply*>(got)->type != REDIS_REPLY_INTEGER) std::abort();
        freeReplyObject(got);
      }
    }
    return watch.read(static_cast<double>(calls));
  }

 private:
  const std::size_t pipeline_;
  std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
  const std::string digest_;
};

/// One connection that pipelines, or one for each caller.
std::optional<double> redis_benchmark(std::uint16_t port, std::size_t calls, std::size_t clients,
                                      std::size_t pipeline) {
  const auto line = "redis-benchmark -h 127.0.0.1 -p " + std::to_string(port) + " -n " +
                    std::to_string(calls) + " -c " + std::to_string(clients) + " -P " +
                    std::to_string(pipeline) + " --csv EVALSHA " + sha1_hex(script_text) + " 1 bench:lock " +
                    std::string(owner) + " " + std::string(ttl) + " 2>/dev/null";
  std::unique_ptr<FILE, int (*)(FILE*)> out(::popen(line.c_str(), "r"), &::pclose);
  if (!out) return std::nullopt;
  char text[512];
  std::optional<double> found;
  while (std::fgets(text, sizeof text, out.get())) {  // "EVALSHA ...","12345.67",...
    const std::string_view words(text);
    const auto at = words.find("\",\"");
    if (at != std::string_view::npos && words.starts_with("\"EVALSHA")) found = std::atof(text + at + 3);
  }
  return found;
}

double median(std::vector<double> all) {
  if (all.empty()) return 0;
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

}  // namespace

int main(int count, char** words) {
  CLI::App app{"The client for Redis beside hiredis and redis-benchmark"};
  std::uint16_t port = 6379;
  std::size_t callers = 50, calls = 100'000, rounds = 7;
  bool only_ours = false;
  app.add_option("--port", port, "of a Redis on 127.0.0.1 that nobody else uses")->capture_default_str();
  app.add_option("--callers", callers, "calls that are open at once")->capture_default_str();
  app.add_option("--calls", calls, "in a round")->capture_default_str();
  app.add_option("--rounds", rounds, "of each")->capture_default_str();
  app.add_flag("--only-ours", only_ours, "nothing but our client: for a profiler");
  CLI11_PARSE(app, count, words);

  ours we(port, callers);
  theirs they(port, callers);
  (void)we.run(calls / 10);
  std::vector<double> to_hiredis, to_benchmark, to_connections, our_cpu, their_cpu, our_rate;
  for (std::size_t i = 0; i < rounds; ++i) {
    const auto mine = we.run(calls);
    our_rate.push_back(mine.per_second);
    our_cpu.push_back(mine.cpu);
    if (only_ours) continue;
    const auto yours = they.run(calls);
    to_hiredis.push_back(mine.per_second / yours.per_second);
    their_cpu.push_back(yours.cpu);
    if (const auto b = redis_benchmark(port, calls, 1, callers)) to_benchmark.push_back(mine.per_second / *b);
    if (const auto b = redis_benchmark(port, calls, callers, 1))
      to_connections.push_back(mine.per_second / *b);
  }
  std::printf("%zu callers, %zu rounds of %zu calls, medians\n", callers, rounds, calls);
  std::printf("ours                                    %8.0f /s   %5.2f us of this thread for a call\n",
              median(our_rate), median(our_cpu));
  if (only_ours) return 0;
  std::printf("ratio to hiredis, %4zu at a time        %8.2f      %5.2f us\n", callers, median(to_hiredis),
              median(their_cpu));
  std::printf("ratio to redis-benchmark -c 1 -P %-4zu   %8.2f\n", callers, median(to_benchmark));
  std::printf("ratio to redis-benchmark -c %-4zu -P 1   %8.2f\n", callers, median(to_connections));
}
