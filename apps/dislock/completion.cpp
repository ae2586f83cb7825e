#include "completion.hpp"

#include "command.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>

namespace dislock::cli {
namespace {

std::vector<completable::flag> flags_of(const CLI::App& app) {
  std::vector<completable::flag> out;
  for (const auto* option : app.get_options()) {
    if (option->get_positional()) continue;
    completable::flag f{.help = option->get_description(),
                        .takes_value = option->get_items_expected_max() > 0};
    for (const auto& name : option->get_snames()) f.names.push_back("-" + name);
    for (const auto& name : option->get_lnames()) f.names.push_back("--" + name);
    out.push_back(std::move(f));
  }
  return out;
}

// In single quotes of a shell.
std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text) c == '\'' ? out += "'\\''" : out += c;
  return out + "'";
}

std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':') out += '\\';
    out += c;
  }
  return out;
}

std::string names_of(const std::vector<completable::flag>& flags) {
  std::string out;
  for (const auto& f : flags)
    for (const auto& name : f.names) out += (out.empty() ? "" : " ") + name;
  return out;
}

}  // namespace

completable completable_of(const CLI::App& app) {
  completable out{.shared = flags_of(app), .commands = {}};
  for (const auto* sub : app.get_subcommands({})) {
    completable::command c{.name = sub->get_name(), .help = sub->get_description(), .flags = flags_of(*sub)};
    for (const auto& known : all_commands())
      if (known.name == c.name) c.takes_command = known.takes_command;
    out.commands.push_back(std::move(c));
  }
  return out;
}

std::string bash_completion(const completable& what) {
  std::string out = "# bash completion for dislock: source <(dislock completion bash)\n_dislock() {\n";
  out += "  local word=${COMP_WORDS[COMP_CWORD]} command='' i\n";
  out += "  for ((i = 1; i < COMP_CWORD; i++)); do\n    case ${COMP_WORDS[i]} in\n";
  std::string with_command, names;
  for (const auto& c : what.commands) {
    names += (names.empty() ? "" : " ") + c.name;
    if (c.takes_command) with_command += (with_command.empty() ? "" : "|") + c.name;
  }
  out += "      --) case $command in " + with_command +
         ") COMPREPLY=($(compgen -c -- \"$word\")); return ;; esac ;;\n";
  std::string alternatives = names;
  std::ranges::replace(alternatives, ' ', '|');
  out += "      " + alternatives + ") [[ -n $command ]] || command=${COMP_WORDS[i]} ;;\n    esac\n  done\n";
  out += "  case $command in\n";
  const auto shared = names_of(what.shared);
  out += "    '') COMPREPLY=($(compgen -W " + in_quotes(names + " " + shared) + " -- \"$word\")) ;;\n";
  for (const auto& c : what.commands) {
    auto words = names_of(c.flags) + " " + shared;
    if (c.name == "completion") words += " bash zsh fish";
    if (c.name == "config") words += " explain";
    out += "    " + c.name + ") COMPREPLY=($(compgen -W " + in_quotes(words) + " -- \"$word\")) ;;\n";
  }
  return out + "  esac\n}\ncomplete -F _dislock dislock\n";
}

std::string zsh_completion(const completable& what) {
  const auto arguments = [](const std::vector<completable::flag>& flags) {
    std::string out;
    for (const auto& f : flags)
      for (const auto& name : f.names)
        out += " \\\n        " +
               in_quotes(name + "[" + zsh_text(f.help) + "]" + (f.takes_value ? ":value:" : ""));
    return out;
  };
  std::string out =
      "#compdef dislock\n# zsh completion for dislock: source <(dislock completion zsh)\n_dislock() {\n";
  out += "  local -a commands\n  commands=(\n";
  for (const auto& c : what.commands) out += "    " + in_quotes(c.name + ":" + zsh_text(c.help)) + "\n";
  out += "  )\n  local state\n  _arguments -C" + arguments(what.shared) +
         " \\\n        '1:command:->command' '*::argument:->argument'\n";
  out +=
      "  case $state in\n    command) _describe command commands ;;\n    argument)\n      case $words[1] "
      "in\n";
  for (const auto& c : what.commands) {
    out += "      " + c.name + ") _arguments" + arguments(c.flags) + arguments(what.shared);
    if (c.name == "completion") out += " \\\n        '1:shell:(bash zsh fish)'";
    if (c.name == "config") out += " \\\n        '1:what:(explain)'";
    out += " ;;\n";
  }
  return out + "      esac ;;\n  esac\n}\ncompdef _dislock dislock\n";
}

std::string fish_completion(const completable& what) {
  std::string out =
      "# fish completion for dislock: dislock completion fish | source\ncomplete -c dislock -f\n";
  const auto flags = [&](const std::vector<completable::flag>& all, const std::string& when) {
    for (const auto& f : all) {
      out += "complete -c dislock" + when;
      for (const auto& name : f.names)
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      out += std::string(f.takes_value ? " -r" : "") + " -d " + in_quotes(f.help) + "\n";
    }
  };
  flags(what.shared, "");
  for (const auto& c : what.commands) {
    out += "complete -c dislock -n __fish_use_subcommand -a " + c.name + " -d " + in_quotes(c.help) + "\n";
    flags(c.flags, " -n '__fish_seen_subcommand_from " + c.name + "'");
  }
  out += "complete -c dislock -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n";
  out += "complete -c dislock -n '__fish_seen_subcommand_from config' -a explain\n";
  return out;
}

}  // namespace dislock::cli
