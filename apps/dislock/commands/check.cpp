// dislock check: a probe that monitoring can run.
#include "commands/commands.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <memory>

namespace dislock::cli {
namespace {

namespace json = boost::json;

struct wanted {
  std::string name, how = "text", held_by, prefix;
  std::optional<duration> max_wait, max_hold;
  std::optional<std::size_t> max_queue;
  bool held = false, free = false;
};

struct findings {
  std::vector<std::string> problems;
  std::size_t locks = 0, queue = 0;
  duration longest_wait{}, longest_hold{};
  std::optional<duration> answered_in;
};

void look_at(const lock_state& s, const wanted& w, wall_time now, findings& f) {
  ++f.locks;
  f.queue = std::max(f.queue, s.queue_length);
  if (w.max_queue && s.queue_length > *w.max_queue)
    f.problems.push_back(std::to_string(s.queue_length) + " wait for " + s.name + ", more than " +
                         std::to_string(*w.max_queue));
  for (const auto& q : s.waiters) f.longest_wait = std::max(f.longest_wait, now - q.since);
  if (w.max_wait && !s.waiters.empty())
    if (const auto longest = now - std::ranges::min(s.waiters, {}, &queued_client::since).since;
        longest > *w.max_wait)
      f.problems.push_back("somebody has waited " + in_words(longest) + " for " + s.name + ", longer than " +
                           in_words(*w.max_wait));
  for (const auto& h : s.holders) {
    f.longest_hold = std::max(f.longest_hold, now - h.acquired_at);
    if (w.max_hold && now - h.acquired_at > *w.max_hold)
      f.problems.push_back(h.client + " has held " + s.name + " for " + in_words(now - h.acquired_at) +
                           ", longer than " + in_words(*w.max_hold));
  }
}

// The first error that kept us from knowing; the findings otherwise.
result<findings> probe(workbench& at, const wanted& w) {
  auto connected = at.connect();
  if (!connected) return connected.error();
  findings f;
  const auto answered = connected->ping();
  if (!answered) return answered.error();
  f.answered_in = *answered;
  const auto now = wall_now();
  if (!w.name.empty()) {
    const auto s = connected->inspect(w.name);
    if (!s) return s.error();
    look_at(*s, w, now, f);
    const auto has = [&](const holder& h) { return h.client == w.held_by; };
    if (w.held && !s->locked) f.problems.push_back("nobody holds " + w.name);
    if (w.free && s->locked) f.problems.push_back(w.name + " is held");
    if (!w.held_by.empty() && std::ranges::none_of(s->holders, has))
      f.problems.push_back(w.name + " is not held by " + w.held_by +
                           (s->holders.empty() ? "" : " but by " + s->holders.front().client));
    return f;
  }
  auto locks = connected->list(w.prefix);
  if (!locks) return locks.error();
  for (auto& s : *locks) {
    if (w.max_wait && s.queue_length > 0)  // a list has no waiters
      if (auto whole = connected->inspect(s.name)) s = std::move(*whole);
    look_at(s, w, now, f);
  }
  return f;
}

exit_code print_nagios(printer& print, const result<findings>& f) {
  if (!f) {
    print.out() << "DISLOCK CRITICAL - " << harmless(f.error().message()) << '\n';
    return static_cast<exit_code>(2);
  }
  const bool ok = f->problems.empty();
  print.out() << "DISLOCK " << (ok ? "OK" : "WARNING") << " - "
              << (ok ? std::to_string(f->locks) + " locks in use" : harmless(f->problems.front()));
  if (f->problems.size() > 1) print.out() << " and " << f->problems.size() - 1 << " more";
  print.out() << " | rtt=" << number_text(static_cast<double>(f->answered_in->count()) / 1e6)
              << "s locks=" << f->locks << " queue=" << f->queue
              << " wait=" << number_text(in_seconds(f->longest_wait))
              << "s hold=" << number_text(in_seconds(f->longest_hold)) << "s\n";
  return ok ? exit_code::ok : static_cast<exit_code>(1);
}

exit_code print_prometheus(printer& print, const result<findings>& f) {
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    print.out() << "# HELP dislock_check_" << name << ' ' << help << "\n# TYPE dislock_check_" << name
                << " gauge\ndislock_check_" << name << ' ' << number_text(value) << '\n';
  };
  gauge("up", "The service answers.", f ? 1 : 0);
  if (f) {
    gauge("ok", "No limit is exceeded.", f->problems.empty() ? 1 : 0);
    gauge("round_trip_seconds", "How long an answer takes.",
          static_cast<double>(f->answered_in->count()) / 1e6);
    gauge("locks", "Locks in use that were looked at.", static_cast<double>(f->locks));
    gauge("longest_queue", "The longest queue.", static_cast<double>(f->queue));
    gauge("longest_wait_seconds", "The longest wait.", in_seconds(f->longest_wait));
    gauge("longest_hold_seconds", "The longest hold.", in_seconds(f->longest_hold));
  }
  if (!f) return exit_code_of(f.error().code);
  return f->problems.empty() ? exit_code::ok : exit_code::negative;
}

exit_code check(workbench& at, const wanted& w) {
  if (w.name.empty() && (w.held || w.free || !w.held_by.empty()))
    return at.print.usage(std::string("check: ") +
                          (w.held   ? "--held"
                           : w.free ? "--free"
                                    : "--held-by") +
                          " needs a NAME.");
  if (w.held && w.free) return at.print.usage("check: --held and --free exclude each other.");
  const auto f = probe(at, w);
  if (w.how == "nagios") return print_nagios(at.print, f);
  if (w.how == "prometheus") return print_prometheus(at.print, f);
  if (!f) return at.print.refuse(f.error());
  const bool ok = f->problems.empty();
  if (w.how == "json" || at.print.for_programs()) {
    json::array problems;
    for (const auto& p : f->problems) problems.push_back(json::string(p));
    const json::object out{{"ok", ok},
                           {"problems", std::move(problems)},
                           {"locks", f->locks},
                           {"longestQueue", f->queue},
                           {"longestWait", in_seconds(f->longest_wait)},
                           {"longestHold", in_seconds(f->longest_hold)},
                           {"roundTrip", static_cast<double>(f->answered_in->count()) / 1e6}};
    if (at.print.chosen() == format::jsonl)
      at.print.one(out, {});
    else
      at.print.out() << pretty(out);
  } else {
    for (const auto& p : f->problems) at.print.line(at.print.painted("problem: ", colour::bad) + harmless(p));
    if (ok)
      at.print.line(at.print.painted("ok", colour::good) + ": answers in " + in_words(*f->answered_in) +
                    ", " + std::to_string(f->locks) + " locks in use");
  }
  return ok ? exit_code::ok : exit_code::negative;
}

}  // namespace

action declare_check(CLI::App& app) {
  const auto w = std::make_shared<wanted>();
  app.add_option("NAME", w->name, "One lock; all of them otherwise");
  app.add_option("--prefix", w->prefix, "Only locks whose name begins so");
  add_duration(app, "--max-wait", w->max_wait, "Nobody may have waited longer");
  add_duration(app, "--max-hold", w->max_hold, "Nobody may have held a lock longer");
  app.add_option_function<std::size_t>(
         "--max-queue", [w](std::size_t v) { w->max_queue = v; }, "No more may wait for one lock")
      ->type_name("N");
  app.add_flag("--held", w->held, "NAME must be held");
  app.add_flag("--free", w->free, "NAME must not be held");
  app.add_option("--held-by", w->held_by, "NAME must be held by this client")->type_name("ID");
  add_choice(app, "--format", w->how, {"text", "nagios", "prometheus", "json"},
             "text, nagios, prometheus, json");
  app.footer(
      "\nExit code 1: a limit is exceeded; 5: no answer. With --format nagios: 0 ok, 1 warning, 2 critical.");
  return [w](workbench& at) { return check(at, *w); };
}

}  // namespace dislock::cli
