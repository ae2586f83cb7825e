// dislock errors: what the codes mean.
#include "commands/commands.hpp"
#include "wording.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace dislock::cli {
namespace {

namespace json = boost::json;

json::object describe(errc code) {
  return {{"code", to_string(code)},
          {"title", title_of(code)},
          {"httpStatus", http_status_of(code)},
          {"effect", effect_of(code) == effect::unknown ? "unknown" : "none"},
          {"retryable", may_retry(code)},
          {"exitCode", static_cast<int>(exit_code_of(code))}};
}

// The codes are numbered without a gap.
std::vector<errc> all_codes() {
  std::vector<errc> out;
  for (int i = 0; i <= static_cast<int>(errc::internal_error); ++i) out.push_back(static_cast<errc>(i));
  return out;
}

exit_code errors(workbench& at, const std::string& wanted) {
  if (!wanted.empty()) {
    const auto code = errc_from_string(wanted);
    if (!code) {
      std::vector<std::string> known;
      for (const auto c : all_codes()) known.emplace_back(to_string(c));
      const auto close = nearest(wanted, known);
      at.print.note("there is no error code '" + wanted + "'." +
                    (close ? " Did you mean " + *close + "?" : ""));
      return exit_code::negative;
    }
    at.print.one(describe(*code),
                 {plain("CODE", "code"), plain("MEANING", "title"), plain("EFFECT", "effect"),
                  plain("RETRY", "retryable"), plain("HTTP", "httpStatus"), plain("EXIT CODE", "exitCode")});
    return exit_code::ok;
  }
  std::vector<json::object> rows;
  for (const auto c : all_codes()) rows.push_back(describe(c));
  at.print.list("errors", rows,
                {plain("CODE", "code"), number("HTTP", "httpStatus"), plain("EFFECT", "effect"),
                 plain("RETRY", "retryable"), number("EXIT", "exitCode"), plain("MEANING", "title")},
                "");
  return exit_code::ok;
}

}  // namespace

action declare_errors(CLI::App& app) {
  const auto wanted = std::make_shared<std::string>();
  app.add_option("CODE", *wanted, "One of them");
  return [wanted](workbench& at) { return errors(at, *wanted); };
}

}  // namespace dislock::cli
