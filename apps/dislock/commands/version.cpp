// dislock version: of this program, and of what it talks to.
#include "commands/commands.hpp"
#include "views.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace dislock::cli {
namespace {

exit_code version(workbench& at, bool only_client) {
  boost::json::object out{{"client", DISLOCK_VERSION}};
  auto code = exit_code::ok;
  if (!only_client) {
    out["address"] = without_password(at.with.address);
    auto connected = at.connect();
    auto about = connected ? connected->about() : result<engine_info>(connected.error());
    if (about) {
      out["service"] =
          about->version.empty() ? boost::json::value(nullptr) : boost::json::value(about->version);
      out["engine"] = about->engine;
      out["class"] = std::string(1, about->guarantee);
    } else {
      code = at.print.refuse(about.error());
    }
  }
  if (at.print.chosen() == format::env)
    at.print.out() << "export DISLOCK_VERSION=" << shell_quoted(DISLOCK_VERSION) << '\n';
  else if (only_client)
    at.print.one(out, {plain("CLIENT", "client")});
  else
    at.print.one(out, {plain("CLIENT", "client"), plain("SERVICE", "service"), plain("ENGINE", "engine"),
                       plain("CLASS", "class"), plain("ADDRESS", "address")});
  return code;
}

}  // namespace

action declare_version(CLI::App& app) {
  const auto only_client = std::make_shared<bool>(false);
  app.add_flag("--client-only", *only_client, "Do not ask the service");
  return [only_client](workbench& at) { return version(at, *only_client); };
}

}  // namespace dislock::cli
