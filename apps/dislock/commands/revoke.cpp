// dislock revoke: take a lock away from its holder.
#include "commands/commands.hpp"
#include "views.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>
#include <unistd.h>

namespace dislock::cli {
namespace {

namespace json = boost::json;

struct wanted {
  std::string name, reason, confirm;
  std::optional<std::uint64_t> token;
  bool yes = false, dry_run = false;
};

exit_code revoke(workbench& at, const wanted& w) {
  if (w.reason.empty()) return at.print.usage("revoke: --reason is missing: why the lock is taken away.");
  if (!w.confirm.empty() && w.confirm != w.name)
    return at.print.usage("revoke: --confirm must repeat the lock's name, '" + w.name + "'.");
  auto connected = at.connect();
  if (!connected) return at.print.refuse(connected.error());
  const auto state = connected->inspect(w.name);
  if (!state) return at.print.refuse(state.error());
  json::array holders;
  for (const auto& h : state->holders)
    if (!w.token || to_number(h.token) == *w.token) holders.push_back(to_json(h));
  if (holders.empty()) {
    at.print.note(w.token ? "no lease of " + w.name + " carries the token " + std::to_string(*w.token) + "."
                          : "nobody holds " + w.name + ".");
    return exit_code::not_held;
  }
  if (w.dry_run) {
    at.print.one({{"lockName", w.name}, {"revoked", json::array()}, {"wouldRevoke", holders}},
                 {plain("LOCK", "lockName"), plain("WOULD REVOKE", "wouldRevoke")});
    return exit_code::ok;
  }
  if (!w.yes && w.confirm.empty()) {
    if (::isatty(STDIN_FILENO) == 0)
      return at.print.usage("revoke: say --yes, or --confirm " + w.name +
                            ": the holder goes on until it notices.");
    at.print.note("this takes " + w.name + " from " +
                  std::string(holders.front().as_object().at("clientId").as_string()) +
                  ", which goes on until it notices. Type the lock's name to confirm:");
    std::string typed;
    std::getline(std::cin, typed);
    if (typed != w.name) return at.print.usage("not confirmed; nothing was done.");
  }
  const auto token = w.token ? std::optional(fencing_token{*w.token}) : std::nullopt;
  const auto ended = connected->force_release(w.name, token, w.reason);
  if (!ended) return at.print.refuse(ended.error());
  json::array tokens;
  for (const auto t : *ended) tokens.push_back(to_number(t));
  const bool none = tokens.empty();
  at.print.one({{"lockName", w.name}, {"revoked", std::move(tokens)}, {"reason", w.reason}},
               {plain("LOCK", "lockName"), plain("REVOKED", "revoked"), plain("REASON", "reason")});
  return none ? exit_code::not_held : exit_code::ok;
}

}  // namespace

action declare_revoke(CLI::App& app) {
  const auto w = std::make_shared<wanted>();
  app.add_option("NAME", w->name, "The lock")->required();
  app.add_option("--reason", w->reason, "Why; it is shown in the events")->type_name("TEXT");
  app.add_option_function<std::uint64_t>(
         "--token", [w](std::uint64_t v) { w->token = v; }, "Only the lease with this fencing token")
      ->type_name("N");
  app.add_flag("-y,--yes", w->yes, "Do not ask");
  app.add_option("--confirm", w->confirm, "Do not ask; the lock's name once more")->type_name("NAME");
  app.add_flag("--dry-run", w->dry_run, "Show who would lose it, and do nothing");
  return [w](workbench& at) { return revoke(at, *w); };
}

}  // namespace dislock::cli
