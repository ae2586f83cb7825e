// dislock get, ls, waiters: what is locked, by whom, and who waits.
#include "commands/commands.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>

namespace dislock::cli {
namespace {

namespace json = boost::json;

const json::object* first_holder(const json::object& lock) {
  const auto* holders = lock.if_contains("holders");
  return holders && !holders->get_array().empty() ? &holders->get_array().front().get_object() : nullptr;
}

column of_holder(column c) {
  auto cell = std::move(c.cell);
  c.cell = [cell = std::move(cell)](const json::object& lock) -> std::string {
    const auto* h = first_holder(lock);
    return h ? cell(*h) : "-";
  };
  return c;
}

// The first holder, and how many more there are.
column holders() {
  return {"HOLDER", [](const json::object& lock) -> std::string {
            const auto* h = first_holder(lock);
            if (!h) return "-";
            auto out = cell_of(h->if_contains("clientId"));
            const auto count = lock.at("holderCount").to_number<std::uint64_t>();
            if (count > 1) out += " and " + std::to_string(count - 1) + " more";
            return out;
          }};
}

column permits() {
  return {"PERMITS",
          [](const json::object& lock) -> std::string {
            const auto *limit = lock.if_contains("limit"), *used = lock.if_contains("used");
            return limit ? cell_of(used) + "/" + cell_of(limit) : "-";
          },
          true, true};
}

// Secrets and control characters are not here: names and clients are of a plain alphabet.
std::vector<column> lock_columns(wall_time now) {
  return {plain("LOCK", "lockName"),
          plain("MODE", "mode"),
          holders(),
          of_holder(number("TOKEN", "fencingToken")),
          of_holder(since("HELD", "acquiredAt", now)),
          of_holder(until("ENDS IN", "expiresAt", now)),
          number("WAITING", "queueLength"),
          permits(),
          only_wide(of_holder(plain("METADATA", "metadata")))};
}

// --- get -----------------------------------------------------------------------------------------------

exit_code get(workbench& at, const std::string& name) {
  auto connected = at.connect();
  if (!connected) return at.print.refuse(connected.error());
  const auto state = connected->inspect(name);
  if (!state) return at.print.refuse(state.error());
  const bool in_use = state->locked || state->queue_length > 0;
  const auto now = wall_now();
  auto columns = lock_columns(now);
  columns.insert(columns.begin() + 1, plain("LOCKED", "locked"));
  at.print.one(to_json(*state), columns);
  if (!at.print.for_programs() && state->holder_count > 1) {
    at.print.line("");
    std::vector<json::object> rows;
    for (const auto& h : state->holders) rows.push_back(to_json(h));
    at.print.line(table_of(rows,
                           {plain("HOLDER", "clientId"), number("TOKEN", "fencingToken"),
                            since("HELD", "acquiredAt", now), until("ENDS IN", "expiresAt", now)},
                           false));
  }
  return in_use ? exit_code::ok : exit_code::negative;
}

// --- ls ------------------------------------------------------------------------------------------------

struct wanted_list {
  std::string prefix, client, sort = "name";
  std::optional<duration> older_than;
  bool held = false, waiting = false;
  std::size_t limit = 1'000;
};

exit_code list(workbench& at, const wanted_list& w) {
  if (w.limit < 1 || w.limit > 100'000) return at.print.usage("--limit must be from 1 to 100000.");
  auto connected = at.connect_to_see_all();
  if (!connected) return at.print.refuse(connected.error());
  auto found = connected->list(w.prefix, w.client, w.limit);
  if (!found) return at.print.refuse(found.error());
  const auto now = wall_now();
  auto& locks = *found;
  const auto age = [&](const lock_state& s) {
    return s.holders.empty() ? duration::zero() : now - s.holders.front().acquired_at;
  };
  std::erase_if(locks, [&](const lock_state& s) {
    return (w.held && s.holder_count == 0) || (w.waiting && s.queue_length == 0) ||
           (w.older_than && age(s) < *w.older_than);
  });
  std::ranges::sort(locks, [&](const lock_state& a, const lock_state& b) {
    if (w.sort == "waiting" && a.queue_length != b.queue_length) return a.queue_length > b.queue_length;
    if (w.sort == "age" && age(a) != age(b)) return age(a) > age(b);
    return a.name < b.name;
  });
  std::vector<json::object> rows;
  for (const auto& s : locks) {
    auto row = to_json(s);
    row.erase("waiters");  // a list does not have them; `waiters` does
    rows.push_back(std::move(row));
  }
  at.print.list("locks", rows, lock_columns(now), "no locks are in use");
  return rows.empty() ? exit_code::negative : exit_code::ok;
}

// --- waiters -------------------------------------------------------------------------------------------

exit_code waiters(workbench& at, const std::string& name) {
  auto connected = at.connect_to_see_all();
  if (!connected) return at.print.refuse(connected.error());
  const auto state = connected->inspect(name);
  if (!state) return at.print.refuse(state.error());
  std::vector<json::object> rows;
  for (const auto& q : state->waiters) rows.push_back(to_json(q));
  at.print.list("waiters", rows,
                {number("PLACE", "position"), plain("CLIENT", "clientId"), plain("MODE", "mode"),
                 since("WAITING", "waitingSince", wall_now()), plain("CONNECTED", "connected")},
                "nobody waits for " + name);
  if (!at.print.for_programs() && state->queue_length > rows.size())
    at.print.line("and " + std::to_string(state->queue_length - rows.size()) + " more");
  return exit_code::ok;
}

}  // namespace

action declare_get(CLI::App& app) {
  const auto name = std::make_shared<std::string>();
  app.add_option("NAME", *name, "The lock")->required();
  app.footer("\nExit code 1: nobody holds it, and nobody waits.");
  return [name](workbench& at) { return get(at, *name); };
}

action declare_ls(CLI::App& app) {
  const auto w = std::make_shared<wanted_list>();
  app.add_option("PREFIX", w->prefix, "Only locks whose name begins so");
  app.add_flag("--held", w->held, "Only those that somebody holds");
  app.add_flag("--waiting", w->waiting, "Only those that somebody waits for");
  app.add_option("--owner", w->client, "Only those of this client")->type_name("ID");
  add_duration(app, "--older-than", w->older_than, "Only those held for longer");
  add_choice(app, "--sort", w->sort, {"name", "age", "waiting"}, "name, age, waiting");
  app.add_option("--limit", w->limit, "At most so many (1000)")->type_name("N");
  app.footer("\nExit code 1: there are none.");
  return [w](workbench& at) { return list(at, *w); };
}

action declare_waiters(CLI::App& app) {
  const auto name = std::make_shared<std::string>();
  app.add_option("NAME", *name, "The lock")->required();
  return [name](workbench& at) { return waiters(at, *name); };
}

}  // namespace dislock::cli
