// dislock elect NAME VALUE: one leader, whose value everybody can see.
#include "commands/commands.hpp"
#include "lock_flags.hpp"
#include "supervision/locked_run.hpp"
#include "supervision/wake_up.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <array>
#include <memory>
#include <poll.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

struct wanted {
  std::string name, value;
  bool observe = false, once = false, only_try = false;
  std::optional<duration> wait;
  command_flags command;
};

// What the leader said about itself: the `value` of its lease's metadata.
json::object leader_of(const lock_state& s) {
  json::object out{{"election", s.name}, {"leader", nullptr}};
  if (s.holders.empty()) return out;
  const auto& h = s.holders.front();
  out["leader"] = h.client;
  boost::system::error_code wrong;
  const auto metadata = json::parse(h.metadata.empty() ? "{}" : json::string_view(h.metadata), wrong);
  const auto* value = wrong || !metadata.is_object() ? nullptr : metadata.get_object().if_contains("value");
  out["value"] = value ? *value : json::value(nullptr);
  out["fencingToken"] = to_number(h.token);
  out["since"] = rfc3339(h.acquired_at);
  return out;
}

void show_leader(workbench& at, const json::object& leader) {
  const auto* value = leader.if_contains("value");
  at.print.event(leader, leader.at("leader").is_null() ? std::string("(no leader)") : cell_of(value));
}

exit_code observe(workbench& at, const wanted& w) {
  auto connected = at.connect();
  if (!connected) return at.print.refuse(connected.error());
  std::optional<std::string> last;
  std::uint64_t seen = 0;
  while (true) {
    // The place in the log first: what changes behind it is told.
    const auto page = connected->events_after(seen, w.name, seen == 0 ? 0s : 1s);
    if (!page) return at.print.refuse(page.error());
    const bool first = seen == 0;
    seen = page->newest;
    const bool changed = first || page->reset || !page->events.empty();
    if (changed) {
      const auto state = connected->inspect(w.name);
      if (!state) return at.print.refuse(state.error());
      const auto leader = leader_of(*state);
      if (auto text = json::serialize(leader); text != last) {
        last = std::move(text);
        show_leader(at, leader);
      }
      if (w.once) return leader.at("leader").is_null() ? exit_code::negative : exit_code::ok;
    }
    if (seen == 0) poll(nullptr, 0, 200);  // an engine that has had no event yet
  }
}

// The leader until somebody says stop.
exit_code lead(workbench& at, const wanted& w, acquire_options how) {
  signal_inbox inbox{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  wake_up news;
  std::optional<client> connected_to;
  std::optional<int> interrupted;
  auto held = [&]() -> result<lease> {
    stop_on_signal ends(inbox);
    auto out = [&]() -> result<lease> {
      client_options options;
      if (w.command.ttl) options.ttl = *w.command.ttl;
      auto connected = at.connect(std::move(options));
      if (!connected) return connected.error();
      connected_to = *connected;
      how.ttl = w.command.ttl;
      how.stop = ends.token();
      return connected->acquire(w.name, how);
    }();
    interrupted = ends.signal();
    return out;
  }();
  if (interrupted) return after_signal(*interrupted);
  if (!held) return at.print.refuse(held.error());
  at.print.event({{"election", w.name},
                  {"leader", held->client_id()},
                  {"value", w.value},
                  {"fencingToken", to_number(held->fencing_token())},
                  {"since", rfc3339(wall_now())}},
                 w.value);
  const std::stop_callback on_loss(held->lost(), [&news] { news.ring(); });
  while (held->held()) {
    std::array<pollfd, 2> open{{{inbox.descriptor(), POLLIN, 0}, {news.descriptor(), POLLIN, 0}}};
    poll(open.data(), open.size(), 1000);
    while (const auto number = inbox.next()) {
      if (!means_end(*number)) continue;
      const auto released = held->release();
      return released ? exit_code::ok : at.print.refuse(released.error());
    }
  }
  at.print.note("no longer the leader of " + w.name + " (" + std::string(to_string(held->why_lost())) + ").");
  return exit_code::not_held;
}

}  // namespace

action declare_elect(CLI::App& app) {
  const auto w = std::make_shared<wanted>();
  app.add_option("NAME", w->name, "The election")->required();
  app.add_option("VALUE", w->value, "What the others see of this candidate: an address, a name");
  app.add_flag("-l,--observe", w->observe, "Show the leader, and each that follows");
  app.add_flag("--once", w->once, "With --observe: the leader of now; exit code 1 if there is none");
  add_duration(app, "-w,--wait", w->wait, "How long to stand for election (10m, which is the longest)");
  declare_command_flags(app, w->command);
  return [w](workbench& at) -> exit_code {
    if (w->observe || w->once) {
      if (!w->value.empty()) return at.print.usage("elect: --observe takes no VALUE.");
      if (at.has_dashes) return at.print.usage("elect: --observe takes no command.");
      return observe(at, *w);
    }
    if (w->value.empty())
      return at.print.usage("elect: VALUE is missing: what the others see of this candidate.");
    acquire_options how;
    how.wait = w->wait.value_or(longest_wait);
    if (how.wait > longest_wait) return at.print.usage("--wait is at most 10m.");
    how.metadata = json::serialize(json::object{{"value", w->value}});
    if (at.with.client_id) how.client_id = *at.with.client_id;
    if (!at.has_dashes) return lead(at, *w, std::move(how));
    locked_run what{.lock = w->name, .how = std::move(how)};
    what.variables = {{"DISLOCK_ELECTION", w->name}, {"DISLOCK_ELECTION_VALUE", w->value}};
    return run_under_lock(at, w->command, std::move(what));
  };
}

}  // namespace dislock::cli
