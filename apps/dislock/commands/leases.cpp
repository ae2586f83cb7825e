// dislock acquire, release, renew: a lock that a shell script holds.
#include "commands/commands.hpp"
#include "lock_flags.hpp"
#include "supervision/signal_inbox.hpp"
#include "supervision/wake_up.hpp"
#include "views.hpp"
#include "waiting_line.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <array>
#include <fstream>
#include <iostream>
#include <memory>
#include <poll.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;

// --- acquire -------------------------------------------------------------------------------------------

struct wanted_locks {
  std::vector<std::string> names;
  lock_flags lock;
  std::optional<duration> ttl, max_hold;
  bool hold = false;
};

// What is shown of a lease: with the secret, for whoever asked for it.
struct shown_lease {
  lease_ticket ticket{};
  lock_mode mode{};
  duration waited{};
  wall_time expires_at{};
};

json::object to_json(const shown_lease& l) {
  json::object out{{"lockName", l.ticket.lock}, {"clientId", l.ticket.client_id}};
  if (!l.ticket.lock_id.empty()) out["lockId"] = l.ticket.lock_id;
  out["fencingToken"] = to_number(l.ticket.token);
  out["mode"] = to_string(l.mode);
  out["ttl"] = in_seconds(l.ticket.ttl);
  out["expiresAt"] = rfc3339(l.expires_at);
  out["waitTime"] = in_seconds(l.waited);
  return out;
}

void print_variables(printer& print, const shown_lease& l) {
  const auto variable = [&](std::string_view name, const std::string& value) {
    print.out() << "export " << name << '=' << shell_quoted(value) << '\n';
  };
  variable("DISLOCK_LOCK_NAME", l.ticket.lock);
  if (!l.ticket.lock_id.empty()) variable("DISLOCK_LOCK_ID", l.ticket.lock_id);
  variable("DISLOCK_CLIENT_ID", l.ticket.client_id);
  variable("DISLOCK_FENCING_TOKEN", std::to_string(to_number(l.ticket.token)));
  variable("DISLOCK_LEASE_EXPIRES_AT", rfc3339(l.expires_at));
  print.out() << std::flush;
}

void print_leases(printer& print, const std::vector<shown_lease>& leases) {
  if (print.chosen() == format::env) {
    for (const auto& l : leases) print_variables(print, l);
    return;
  }
  const std::vector<column> columns{plain("LOCK", "lockName"), number("TOKEN", "fencingToken"),
                                    plain("MODE", "mode"),     plain("CLIENT", "clientId"),
                                    number("TTL", "ttl"),      plain("EXPIRES", "expiresAt"),
                                    plain("LOCK ID", "lockId")};
  if (leases.size() == 1 && print.for_programs()) return print.one(to_json(leases.front()), {});
  std::vector<json::object> rows;
  for (const auto& l : leases) rows.push_back(to_json(l));
  print.list("locks", rows, columns, "");
}

// Stays, and renews, until a signal comes or the lock is lost.
exit_code hold(workbench& at, lease_group& held, signal_inbox& inbox) {
  wake_up news;
  const std::stop_callback on_loss(held.lost(), [&news] { news.ring(); });
  while (held.held()) {
    std::array<pollfd, 2> open{{{inbox.descriptor(), POLLIN, 0}, {news.descriptor(), POLLIN, 0}}};
    poll(open.data(), open.size(), 1000);
    while (const auto number = inbox.next()) {
      if (!means_end(*number)) continue;
      const auto released = held.release();
      return released ? exit_code::ok : at.print.refuse(released.error());
    }
  }
  for (const auto& l : held.leases())
    if (!l.held())
      at.print.note("lost the lock " + std::string(l.lock()) + " (" + std::string(to_string(l.why_lost())) +
                    ").");
  return exit_code::not_held;
}

exit_code acquire(workbench& at, const wanted_locks& w) {
  auto wish = wish_of(w.lock);
  if (!wish.wrong.empty()) return at.print.usage(wish.wrong);
  if (w.names.size() > 1 && at.print.chosen() == format::env)
    return at.print.usage("acquire: -o env is for one lock; take -o json for several.");
  auto& how = wish.options;
  how.ttl = w.ttl;
  how.max_hold = w.max_hold;
  how.renew = w.hold;
  if (at.with.client_id) how.client_id = *at.with.client_id;

  signal_inbox inbox{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  std::optional<client> connected_to;
  std::optional<int> interrupted;
  auto held = [&]() -> result<lease_group> {
    stop_on_signal ends(inbox);
    auto out = [&]() -> result<lease_group> {
      client_options options;
      if (w.ttl) options.ttl = *w.ttl;
      if (!w.hold) options.stop_margin = duration::zero();  // nobody here has to be told
      auto connected = at.connect(std::move(options));
      if (!connected) return connected.error();
      connected_to = *connected;
      how.stop = ends.token();
      const waiting_line line(at, *connected, w.names.front(), how.wait);
      if (w.names.size() > 1) {
        std::vector<lock_request> requests;
        for (const auto& name : w.names)
          requests.push_back({.name = name, .mode = how.mode, .limit = how.limit, .permits = how.permits});
        return connected->acquire_all(requests, how);
      }
      auto one = connected->acquire(w.names.front(), how);
      if (!one) return one.error();
      std::vector<lease> leases;
      leases.push_back(std::move(*one));
      return lease_group(std::move(leases));
    }();
    interrupted = ends.signal();
    return out;
  }();
  if (interrupted) return after_signal(*interrupted);
  if (!held) return at.print.refuse(held.error());

  std::vector<shown_lease> shown;
  for (auto& l : held->leases()) {
    shown_lease one{.mode = l.mode(), .waited = l.waited(), .expires_at = wall_now() + l.remaining()};
    if (w.hold) {  // this process gives it back: the secret stays here
      one.ticket = {
          std::string(l.lock()), std::string(l.client_id()), {}, l.fencing_token(), w.ttl.value_or(30s)};
    } else {
      one.ticket = std::move(l).detach();
    }
    shown.push_back(std::move(one));
  }
  print_leases(at.print, shown);
  return w.hold ? hold(at, *held, inbox) : exit_code::ok;
}

// --- release and renew ---------------------------------------------------------------------------------

struct named_lease {
  std::string name;
  std::string id_file;
  std::optional<duration> ttl;
};

void declare_lease(CLI::App& app, named_lease& into) {
  app.add_option("NAME", into.name, "The lock (DISLOCK_LOCK_NAME)");
  app.add_option("--lock-id-file", into.id_file,
                 "A file with the lock's secret id; - is stdin (DISLOCK_LOCK_ID)")
      ->type_name("FILE");
}

struct found_lease {
  lease_ticket ticket;
  std::string wrong;
};

// The secret never comes from the command line, where everybody on the machine could read it.
found_lease find_lease(const workbench& at, const named_lease& from) {
  found_lease out;
  const auto variable = [&](std::string_view name) {
    const auto it = at.env.find(name);
    return it == at.env.end() ? std::string() : it->second;
  };
  auto& t = out.ticket;
  t.lock = from.name.empty() ? variable("DISLOCK_LOCK_NAME") : from.name;
  if (t.lock.empty()) out.wrong = "NAME is missing, and DISLOCK_LOCK_NAME is not set.";
  if (from.id_file.empty()) {
    t.lock_id = variable("DISLOCK_LOCK_ID");
    if (t.lock_id.empty())
      out.wrong = "the lock's id is missing: set DISLOCK_LOCK_ID, or name a file with --lock-id-file.";
  } else {
    std::ifstream file;
    if (from.id_file != "-") file.open(from.id_file);
    std::istream& in = from.id_file == "-" ? std::cin : file;
    if (!(in >> t.lock_id)) out.wrong = "--lock-id-file: there is no id in " + from.id_file + ".";
  }
  return out;
}

exit_code release(workbench& at, const named_lease& w) {
  const auto found = find_lease(at, w);
  if (!found.wrong.empty()) return at.print.usage("release: " + found.wrong);
  auto connected = at.connect();
  if (!connected) return at.print.refuse(connected.error());
  const auto done = connected->release(found.ticket);
  if (!done) return at.print.refuse(done.error());
  if (at.print.chosen() == format::env) {
    for (const auto* name :
         {"DISLOCK_LOCK_NAME", "DISLOCK_LOCK_ID", "DISLOCK_FENCING_TOKEN", "DISLOCK_LEASE_EXPIRES_AT"})
      at.print.out() << "unset " << name << '\n';
  } else if (at.print.for_programs()) {
    at.print.one({{"lockName", found.ticket.lock}, {"released", true}}, {});
  }
  return exit_code::ok;
}

exit_code renew(workbench& at, const named_lease& w) {
  const auto found = find_lease(at, w);
  if (!found.wrong.empty()) return at.print.usage("renew: " + found.wrong);
  auto connected = at.connect();
  if (!connected) return at.print.refuse(connected.error());
  const auto left = connected->renew(found.ticket, w.ttl);
  if (!left) return at.print.refuse(left.error());
  const auto expires = rfc3339(wall_now() + *left);
  if (at.print.chosen() == format::env)
    at.print.out() << "export DISLOCK_LEASE_EXPIRES_AT=" << expires << '\n';
  else
    at.print.one({{"lockName", found.ticket.lock},
                  {"renewed", true},
                  {"ttl", in_seconds(*left)},
                  {"expiresAt", expires}},
                 {plain("LOCK", "lockName"), plain("TTL", "ttl"), plain("EXPIRES", "expiresAt")});
  return exit_code::ok;
}

}  // namespace

action declare_acquire(CLI::App& app) {
  const auto w = std::make_shared<wanted_locks>();
  app.add_option("NAME", w->names, "The locks; several are acquired together or not at all")->required();
  declare_lock_flags(app, w->lock);
  add_duration(app, "--ttl", w->ttl, "How long the lease lives (30s)")->group("The lock");
  add_duration(app, "--max-hold", w->max_hold, "The longest time that the lock may be held")
      ->group("The lock");
  app.add_flag("--hold", w->hold, "Stay and renew until a signal comes, then give it back")
      ->group("The lock");
  return [w](workbench& at) { return acquire(at, *w); };
}

action declare_release(CLI::App& app) {
  const auto w = std::make_shared<named_lease>();
  declare_lease(app, *w);
  return [w](workbench& at) { return release(at, *w); };
}

action declare_renew(CLI::App& app) {
  const auto w = std::make_shared<named_lease>();
  declare_lease(app, *w);
  add_duration(app, "--ttl", w->ttl, "At least this long from now (30s)");
  return [w](workbench& at) { return renew(at, *w); };
}

}  // namespace dislock::cli
