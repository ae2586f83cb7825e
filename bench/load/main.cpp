#include "modes.hpp"

#include <CLI/CLI.hpp>
#include <sys/resource.h>

#include <cstdio>
#include <exception>
#include <map>

namespace {

using namespace dislock::load;

// Ten thousand waiters are ten thousand files; the default limit is often 1,024.
void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::chrono::milliseconds from_seconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

struct command_line {
  run_options run;
  double seconds = 5;
  double warm_up = 1;
  double timeout = 0;
  double wait = 60;
  double rate = 5'000;
  std::uint64_t names = 0;
  std::uint64_t locks = 100'000;
  std::uint64_t clients = 0;
};

void add_common_options(CLI::App& mode, command_line& line, const char* connections_help) {
  mode.add_option("--port", line.run.server.port, "of the server")->required();
  mode.add_option("--address", line.run.server.address, "of the server, IPv4")->capture_default_str();
  mode.add_option("-c,--connections", line.run.connections, connections_help)
      ->capture_default_str()
      ->check(CLI::Range(1, 60'000));
  mode.add_flag("--request-ids,!--no-request-ids", line.run.calls.request_ids,
                "every call carries a requestId");
  mode.add_option("--timeout", line.timeout, "ttl of each lock in seconds; default 30, with held locks 300");
  mode.add_option("--prefix", line.run.calls.prefix, "of names and ids; a multiple of three characters")
      ->default_str("random");
}

void add_window_options(CLI::App& mode, command_line& line) {
  mode.add_option("-s,--seconds", line.seconds, "to measure")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  mode.add_option("--warm-up", line.warm_up, "seconds that do not count")->capture_default_str();
}

int run(int argc, char** argv) {
  CLI::App app("Load for a lock service over HTTP, on one thread. Prints one JSON object.");
  app.require_subcommand(1);
  command_line line;

  auto* pairs = app.add_subcommand("pairs", "acquire + release as fast as the replies come");
  auto* rate = app.add_subcommand("rate", "requests at a fixed rate, latency from the instant each was due");
  auto* handoff = app.add_subcommand("handoff", "clients that queue for one lock, again and again");
  auto* hold = app.add_subcommand("hold", "takes locks and leaves them held");
  auto* idle = app.add_subcommand("idle-waiters", "clients that wait until standard input ends");
  for (auto* mode : {pairs, rate, hold}) add_common_options(*mode, line, "to spread the requests over");
  for (auto* mode : {handoff, idle}) add_common_options(*mode, line, "waiting clients, each with its own");
  for (auto* mode : {pairs, rate, handoff}) add_window_options(*mode, line);

  const std::map<std::string, target_kind> targets{
      {"dislock", target_kind::dislock}, {"nginx", target_kind::nginx}, {"etcd", target_kind::etcd}};
  pairs->add_option("--target", line.run.calls.target, "dislock, nginx (the same requests) or etcd")
      ->transform(CLI::CheckedTransformer(targets));
  pairs->add_option("--names", line.names, "rotate over this many names; 0: one name per connection");
  rate->add_option("-r,--rate", line.rate, "requests a second")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1e6));
  for (auto* mode : {handoff, idle})
    mode->add_option("--wait", line.wait, "waitTimeout in seconds; 60, idle: 600");
  hold->add_option("-n,--locks", line.locks, "how many")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000'000));
  hold->add_option("--clients", line.clients, "distinct client ids; default: one per lock");
  CLI11_PARSE(app, argc, argv);

  const bool holds_long = hold->parsed() || idle->parsed();
  auto& calls = line.run.calls;
  calls.host = line.run.server.host();
  if (calls.prefix.empty()) calls.prefix = fresh_prefix();
  if (line.timeout == 0) line.timeout = holds_long ? 300 : 30;
  calls.timeout = from_seconds(line.timeout);
  if (idle->parsed() && idle->count("--wait") == 0) line.wait = 600;
  if (handoff->parsed() || idle->parsed()) calls.wait = from_seconds(line.wait);
  line.run.duration = from_seconds(line.seconds);
  line.run.warm_up = from_seconds(line.warm_up);
  allow_many_files();

  json_object result;
  if (pairs->parsed()) result = run_pairs(line.run, line.names);
  if (rate->parsed()) result = run_rate(line.run, line.rate);
  if (handoff->parsed()) result = run_handoff(line.run);
  if (hold->parsed()) result = run_hold(line.run, line.locks, line.clients == 0 ? line.locks : line.clients);
  if (idle->parsed()) result = run_idle_waiters(line.run);
  result.add("mode", app.get_subcommands().front()->get_name())
      .add("connections", std::uint64_t{line.run.connections})
      .add("requestIds", calls.request_ids);
  std::puts(result.text().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dislock_load: %s\n", error.what());
    return 1;
  }
}
