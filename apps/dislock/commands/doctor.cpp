// dislock doctor: what is wrong between here and the locks.
#include "commands/commands.hpp"
#include "diagnosis.hpp"
#include "latencies.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view words[] = {"ok", "warning", "failure"};

// One endpoint from the ground up; false if it is no use to go on.
void look_at(const endpoint& e, duration patience, std::vector<diagnosis>& out) {
  const auto where = e.host + ":" + e.port;
  const auto got = get_plainly(e, "/health", patience);
  if (!got.resolve_failure.empty()) {
    out.push_back(
        {"address", verdict::failure, where + ": " + got.resolve_failure, "look at the spelling of --addr"});
    return;
  }
  if (!got.connect_failure.empty()) {
    out.push_back({"TCP", verdict::failure, where + ": " + got.connect_failure,
                   "is dislockd running there, and does it listen on that address?"});
    return;
  }
  out.push_back({"TCP", verdict::ok, where + " in " + in_words(got.connect_took), {}});
  if (!got.http_failure.empty()) {
    out.push_back({"HTTP", verdict::failure, where + ": " + got.http_failure,
                   "something else may have this port, or the service hangs"});
    return;
  }
  out.push_back(judge_server(*got.reply));
  const auto date = got.reply->headers.find("date");
  out.push_back(
      judge_clock(date == got.reply->headers.end() ? "" : date->second, got.sent_at, got.received_at));
}

void look_at_service(workbench& at, duration ttl, std::vector<diagnosis>& out) {
  auto connected = at.connect();
  if (!connected) {
    out.push_back({"service", verdict::failure, connected.error().message(), {}});
    return;
  }
  if (const auto about = connected->about(); about) {
    const std::string mine = DISLOCK_VERSION;
    if (!about->version.empty()) {
      const bool same =
          about->version.substr(0, about->version.rfind('.')) == mine.substr(0, mine.rfind('.'));
      out.push_back({"version", same ? verdict::ok : verdict::warning,
                     "service " + about->version + ", this " + mine,
                     same ? "" : "they are of different minor versions"});
    }
    out.push_back(judge_engine(*about));
  } else {
    out.push_back({"engine", verdict::failure, about.error().message(), {}});
    return;
  }
  std::vector<duration> times;
  for (int i = 0; i < 50; ++i) {
    const auto one = connected->ping();
    if (!one) {
      out.push_back({"round trips", verdict::failure, one.error().message(), {}});
      return;
    }
    times.push_back(*one);
  }
  const auto p = percentiles_of(times);
  out.push_back(judge_round_trips(p.p50, p.p99, ttl));
}

exit_code doctor(workbench& at, duration ttl) {
  std::vector<diagnosis> all;
  const auto* source = &at.with.explained.front();
  all.push_back({"address", verdict::ok, source->value + " (" + source->source + ")", {}});
  for (const auto& d : judge_environment(at.env)) all.push_back(d);
  const auto endpoints = endpoints_of(at.with.address);
  for (const auto& e : endpoints) look_at(e, std::min<duration>(at.with.timeout, 5s), all);
  const auto failed = [&] {
    return std::ranges::any_of(all, [](const auto& d) { return d.how == verdict::failure; });
  };
  if (endpoints.size() > 1 || !failed()) look_at_service(at, ttl, all);

  std::vector<boost::json::object> rows;
  for (const auto& d : all) {
    boost::json::object row{
        {"check", d.what}, {"verdict", words[static_cast<std::size_t>(d.how)]}, {"found", d.found}};
    if (!d.hint.empty()) row["hint"] = d.hint;
    rows.push_back(std::move(row));
  }
  if (at.print.for_programs()) {
    at.print.list("checks", rows, {}, "");
  } else {
    for (const auto& d : all) {
      constexpr colour colours[] = {colour::good, colour::warning, colour::bad};
      auto word = std::string(words[static_cast<std::size_t>(d.how)]);
      word.resize(9, ' ');
      auto what = d.what;
      what.resize(13, ' ');
      at.print.line(at.print.painted(word, colours[static_cast<std::size_t>(d.how)]) + what +
                    harmless(d.found));
      if (!d.hint.empty()) at.print.line("                      " + harmless(d.hint));
    }
  }
  if (failed()) return exit_code::usage;  // 2: failures
  return std::ranges::any_of(all, [](const auto& d) { return d.how == verdict::warning; })
             ? exit_code::negative
             : exit_code::ok;
}

}  // namespace

action declare_doctor(CLI::App& app) {
  const auto ttl = std::make_shared<std::optional<duration>>();
  add_duration(app, "--ttl", *ttl, "Judge round trips against leases of this length (30s)");
  app.footer("\nExit code 1: warnings; 2: failures.");
  return [ttl](workbench& at) { return doctor(at, ttl->value_or(30s)); };
}

}  // namespace dislock::cli
