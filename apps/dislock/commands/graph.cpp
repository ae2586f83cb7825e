// dislock graph, deadlocks: who waits for whom, and when that was a circle.
#include "commands/commands.hpp"
#include "views.hpp"
#include "wait_forest.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <array>
#include <memory>
#include <thread>

namespace dislock::cli {
namespace {

namespace json = boost::json;

// --- graph ---------------------------------------------------------------------------------------------

struct wanted_graph {
  std::string how = "tree";
  bool fail_on_cycle = false;
};

void print_tree(printer& print, const forest& f) {
  if (f.lines.empty()) print.line("nobody waits");
  for (const auto& cycle : f.cycles) {
    std::string text = "cycle:";
    for (const auto& client : cycle) text += " " + harmless(client);
    print.line(print.painted(text, colour::bad));
  }
  for (const auto& l : f.lines) {
    auto text = std::string(2 * l.depth, ' ') + harmless(l.client);
    if (!l.lock.empty()) text += (l.behind ? "  queues behind it for " : "  waits for ") + harmless(l.lock);
    if (l.again) text += "  (see above)";
    print.line(l.in_cycle ? print.painted(text, colour::bad) : text);
  }
}

exit_code graph(workbench& at, const wanted_graph& w) {
  auto connected = at.connect_to_see_all();
  if (!connected) return at.print.refuse(connected.error());
  const auto edges = connected->graph();
  if (!edges) return at.print.refuse(edges.error());
  const auto f = forest_of(*edges);
  if (w.how == "json" || at.print.for_programs()) {
    json::array list, cycles;
    for (const auto& e : *edges) list.push_back(to_json(e));
    for (const auto& c : f.cycles) cycles.push_back(json::array(c.begin(), c.end()));
    const json::object out{{"edges", std::move(list)}, {"cycles", std::move(cycles)}};
    if (at.print.chosen() == format::jsonl)
      at.print.one(out, {});
    else
      at.print.out() << pretty(out);
  } else if (w.how == "dot") {
    at.print.out() << dot_of(*edges);
  } else {
    print_tree(at.print, f);
  }
  return w.fail_on_cycle && !f.cycles.empty() ? exit_code::negative : exit_code::ok;
}

// --- deadlocks -----------------------------------------------------------------------------------------

struct wanted_deadlocks {
  std::size_t last = 20;
  bool follow = false;
};

exit_code deadlocks(workbench& at, const wanted_deadlocks& w) {
  auto connected = at.connect_to_see_all();
  if (!connected) return at.print.refuse(connected.error());
  auto found = connected->deadlocks();
  if (!found) return at.print.refuse(found.error());
  auto& all = *found;
  std::ranges::sort(all, {}, &deadlock_report::at);
  if (all.size() > w.last) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(w.last));
  if (!w.follow) {
    std::vector<json::object> rows;
    for (const auto& d : all) rows.push_back(to_json(d));
    std::size_t row = 0;  // the cells are asked for in order
    at.print.list("deadlocks", rows,
                  {plain("AT", "at"),
                   plain("VICTIM", "victim"),
                   plain("LOCK", "lockName"),
                   {"CYCLE", [&](const json::object&) { return harmless(in_words(all[row++].cycle)); }}},
                  "no deadlocks");
    return exit_code::ok;
  }
  const auto show = [&](const deadlock_report& d) {
    at.print.event(to_json(d),
                   rfc3339(d.at) + "  " + harmless(d.victim) + "  " + harmless(in_words(d.cycle)));
  };
  wall_time last{};
  while (true) {
    for (const auto& d : all) {
      if (d.at <= last) continue;
      show(d);
      last = d.at;
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
    found = connected->deadlocks();
    if (!found) return at.print.refuse(found.error());
    std::ranges::sort(all, {}, &deadlock_report::at);
  }
}

}  // namespace

action declare_graph(CLI::App& app) {
  const auto w = std::make_shared<wanted_graph>();
  add_choice(app, "--format", w->how, {"tree", "dot", "json"}, "tree, dot (for Graphviz), json");
  app.add_flag("--fail-on-cycle", w->fail_on_cycle, "Exit code 1 if there is a cycle");
  return [w](workbench& at) { return graph(at, *w); };
}

action declare_deadlocks(CLI::App& app) {
  const auto w = std::make_shared<wanted_deadlocks>();
  app.add_option("--last", w->last, "At most so many, the newest (20)")->type_name("N");
  app.add_flag("-f,--follow", w->follow, "And those to come");
  return [w](workbench& at) { return deadlocks(at, *w); };
}

}  // namespace dislock::cli
