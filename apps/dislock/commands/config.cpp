// dislock config explain: which settings are in force, and why.
#include "commands/commands.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace dislock::cli {

action declare_config(CLI::App& app) {
  const auto what = std::make_shared<std::string>();
  app.add_option("WHAT", *what, "explain: every setting, its value and where that comes from")->required();
  return [what](workbench& at) {
    if (*what != "explain")
      return at.print.usage("config: there is 'config explain', not 'config " + *what + "'.");
    std::vector<boost::json::object> rows;
    for (const auto& s : at.with.explained) {
      boost::json::array overridden;
      std::string shown;
      for (const auto& o : s.overridden) {
        overridden.push_back(boost::json::string(o));
        shown += (shown.empty() ? "" : ", ") + o;
      }
      rows.push_back({{"name", s.name},
                      {"value", s.value},
                      {"source", s.source},
                      {"overridden", std::move(overridden)},
                      {"help", s.help}});
    }
    const column overridden{"INSTEAD OF", [](const boost::json::object& row) {
                              std::string out;
                              for (const auto& o : row.at("overridden").as_array())
                                out += (out.empty() ? "" : ", ") + std::string(o.as_string());
                              return out.empty() ? std::string("-") : out;
                            }};
    at.print.list("settings", rows,
                  {plain("SETTING", "name"), plain("VALUE", "value"), plain("FROM", "source"), overridden,
                   only_wide(plain("MEANING", "help"))},
                  "");
    return exit_code::ok;
  };
}

}  // namespace dislock::cli
