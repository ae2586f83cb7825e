#include "command.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <ostream>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

const CLI::App& chosen_of(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

// CLI11 throws; its sentences name the flag, but not always what to do.
std::string sentence_for(const CLI::ParseError& e, const CLI::App& root) {
  const auto& at = chosen_of(root);
  std::vector<std::string> known;
  for (const auto* option : at.get_options())
    for (const auto& name : option->get_lnames()) known.push_back("--" + name);
  if (const auto* parent = at.get_parent()) {
    for (const auto* option : parent->get_options())
      for (const auto& name : option->get_lnames()) known.push_back("--" + name);
  } else {
    known.clear();
    for (const auto* sub : at.get_subcommands({})) known.push_back(sub->get_name());
  }
  const auto who = at.get_parent() ? at.get_name() + ": " : std::string();
  if (dynamic_cast<const CLI::ExtrasError*>(&e)) {
    const auto rest = root.remaining(true);
    const auto word = rest.empty() ? std::string("argument") : rest.front();
    const bool flag = word.starts_with('-');
    const auto close = nearest(word.substr(0, word.find('=')), known);
    const auto hint = close ? " Did you mean " + *close + "?" : std::string();
    if (!at.get_parent() && !flag)
      return "there is no command '" + word + "'." + (close ? hint : " See dislock --help.");
    return who + (flag ? "there is no flag " + word + "." : "'" + word + "' is one argument too many.") +
           (flag ? hint : std::string());
  }
  std::string text = e.what();
  if (dynamic_cast<const CLI::RequiredError*>(&e)) {
    if (!at.get_parent()) return "say what to do; dislock --help lists the commands.";
    text = text.substr(0, text.find(" is required")) + " is missing.";
  }
  if (dynamic_cast<const CLI::ConversionError*>(&e)) {
    // "Could not convert: --limit = x"; everything that CLI11 converts for us counts something.
    const auto colon = text.find(": "), equals = text.find(" = ");
    if (colon != std::string::npos && equals != std::string::npos && colon < equals)
      text = text.substr(colon + 2, equals - colon - 2) +
             " must be a whole number that is not negative, not '" + text.substr(equals + 3) + "'";
  }
  if (!text.ends_with('.')) text += '.';
  return who + text;
}

constexpr const char* footer = R"(
Exit codes:
  0 ok   1 the answer is no   2 usage   3 not acquired   4 not the owner, or lost
  5 unreachable or unknown   7 deadlock   8 refused by a limit   130, 143 interrupted
  run: the command's own; 122 lost, 124 not acquired, 125 dislock failed, 126 and 127 not executable, not found

Locks live at --addr, else DISLOCK_URL, else DISLOCK_ADDR, else http://127.0.0.1:5000.)";

void add_shared(CLI::App& app, shared_flags& flags) {
  app.add_option_function<std::string>(
         "-a,--addr", [&](const std::string& v) { flags.address = v; },
         "Where the locks live: http://host:port[,host:port], embedded:/path, memory:")
      ->type_name("URL")
      ->group("Everywhere");
  app.add_option_function<std::string>(
         "-o,--output", [&](const std::string& v) { flags.output = v; }, "table, wide, json, jsonl, env")
      ->type_name("FORMAT")
      ->group("Everywhere");
  add_duration(app, "--timeout", flags.timeout, "How long an answer may take (5s)")->group("Everywhere");
  app.add_option_function<std::string>(
         "--client", [&](const std::string& v) { flags.client_id = v; },
         "The client id to ask as (DISLOCK_CLIENT_ID, or a new one)")
      ->type_name("ID")
      ->group("Everywhere");
  app.add_flag("-q,--quiet", flags.quiet, "No messages but errors")->group("Everywhere");
  app.add_flag("--no-color", flags.no_colour, "No colours (also NO_COLOR, TERM=dumb)")->group("Everywhere");
}

// The name that an error should use: the long one of a flag, or that of an argument.
std::string shown_name(const std::string& names) {
  const auto dashes = names.find("--");
  return dashes == std::string::npos ? names : names.substr(dashes);
}

}  // namespace

CLI::Option* add_duration(CLI::App& app, const std::string& names, std::optional<duration>& into,
                          const std::string& help) {
  return app
      .add_option_function<std::string>(
          names,
          [&into, flag = shown_name(names)](const std::string& text) {
            into = duration_from(text);
            if (!into)
              throw CLI::ValidationError(flag,
                                         "'" + text + "' is not a time; write 30, 30s, 500ms, 5m or 1h");
          },
          help)
      ->type_name("TIME");
}

CLI::Option* add_choice(CLI::App& app, const std::string& names, std::string& into,
                        const std::vector<std::string>& choices, const std::string& help) {
  return app
      .add_option_function<std::string>(
          names,
          [&into, choices, flag = shown_name(names)](const std::string& text) {
            if (std::ranges::find(choices, text) == choices.end()) {
              std::string all;
              for (std::size_t i = 0; i < choices.size(); ++i)
                all += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
              throw CLI::ValidationError(flag, "must be " + all + ", not '" + text + "'");
            }
            into = text;
          },
          help)
      ->type_name("WORD");
}

result<client> workbench::connect(client_options options) const {
  options.request_timeout = with.timeout;
  options.connect_timeout = std::min<duration>(with.timeout, 2s);
  return client::connect(with.address, std::move(options));
}

result<client> workbench::connect_to_see_all() {
  auto out = connect();
  if (out && with.address.starts_with("redlock"))
    print.note(
        "redlock has no list of all locks and waiters: every process knows its own; 'dislock get NAME' asks "
        "the "
        "servers");
  return out;
}

exit_code run_program(const std::vector<std::string>& arguments, const environment& env, std::ostream& out,
                      std::ostream& err, printer::stream_abilities out_can,
                      printer::stream_abilities err_can) {
  // What stands behind `--` is somebody else's: it never reaches our parser.
  const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
  std::vector<std::string> ours(arguments.begin(), dashes);
  std::vector<std::string> theirs(dashes == arguments.end() ? dashes : dashes + 1, arguments.end());

  CLI::App app("dislock: locks over the network, from the shell.", "dislock");
  app.footer(footer);
  app.set_version_flag("--version", std::string("dislock " DISLOCK_VERSION));
  app.require_subcommand(0, 1);  // none: we say it better
  app.get_formatter()->column_width(34);
  shared_flags flags;
  add_shared(app, flags);

  std::vector<std::pair<const command*, action>> actions;
  for (const auto& c : all_commands()) {
    auto* sub = app.add_subcommand(std::string(c.name), std::string(c.help));
    sub->fallthrough();
    if (!c.examples.empty()) sub->footer("\n" + std::string(c.examples));
    actions.emplace_back(&c, c.declare(*sub));
  }

  printer early(out, err, format::table, {}, {});
  try {
    std::vector<std::string> reversed(ours.rbegin(), ours.rend());
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    out << chosen_of(app).help() << std::flush;
    return exit_code::ok;
  } catch (const CLI::CallForVersion& e) {
    out << e.what() << '\n' << std::flush;
    return exit_code::ok;
  } catch (const CLI::ParseError& e) {
    return early.usage(sentence_for(e, app));
  }

  const auto settled = resolve(flags, env);
  if (!settled.wrong.empty()) return early.usage(settled.wrong);
  const auto& chosen = app.get_subcommands();
  if (chosen.empty()) {
    if (ours.empty() && theirs.empty()) {
      err << app.help() << std::flush;
      return exit_code::usage;
    }
    return early.usage("say what to do; dislock --help lists the commands.");
  }
  for (auto& [which, act] : actions) {
    if (which->name != chosen.front()->get_name()) continue;
    if (dashes != arguments.end() && !which->takes_command)
      return early.usage(std::string(which->name) + ": takes no command behind --.");
    out_can.colours = out_can.colours && settled.in_force.colours_wanted;
    err_can.colours = err_can.colours && settled.in_force.colours_wanted;
    printer print(out, err, settled.in_force.output, out_can, err_can);
    workbench at{settled.in_force, env, print, std::move(theirs), dashes != arguments.end(), app};
    const auto code = act(at);
    out.flush();
    if (!out) {
      print.note("the output could not be written.");
      if (code == exit_code::ok) return exit_code::unreachable;
    }
    return code;
  }
  return exit_code::usage;
}

}  // namespace dislock::cli
