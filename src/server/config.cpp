#include "server/config.hpp"

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <type_traits>
#include <utility>

namespace dislock::server {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr std::string_view env_prefix = "DISLOCK_";
constexpr std::array durability_modes{durability_mode::sync, durability_mode::async};
constexpr std::array log_levels{log::level::debug, log::level::info, log::level::warn, log::level::error,
                                log::level::off};
constexpr std::array log_formats{log::format::text, log::format::json};

// --- texts ---------------------------------------------------------------------------------------------

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const auto part : parts) out += part;
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return out;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return c >= 'a' && c <= 'z' ? char(c - 32) : c; });
  return out;
}

bool is_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// A number without an exponent or a trailing fraction of zeros: 30, 0.25.
std::string number_text(double number) {
  std::array<char, 64> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::fixed).ptr;
  return {buffer.data(), end};
}

std::optional<double> number_from(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    auto item = text.substr(0, comma);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    if (!item.empty()) items.emplace_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

std::string toml_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      constexpr std::string_view digits = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(c);
      out += joined({"\\u00", digits.substr(byte >> 4U, 1), digits.substr(byte & 0xFU, 1)});
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

// A value as an error may show it: no password, no control characters, not endless.
std::string shown(std::string_view value) {
  constexpr std::size_t enough = 80;
  auto out = redact_url(value).substr(0, enough);
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  return joined({"\"", out, value.size() > enough ? "..." : "", "\""});
}

// How many letters must be inserted, dropped, replaced or swapped with their neighbour.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> current(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = a[i - 1] == b[j - 1];
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], before_last[j - 2] + 1);
    }
    std::swap(before_last, last);
    std::swap(last, current);
  }
  return last[b.size()];
}

std::string nearest(std::string_view wanted, const std::vector<std::string>& known) {
  return *std::ranges::min_element(known, {}, [&](const auto& each) { return edit_distance(wanted, each); });
}

// --- the table of keys ---------------------------------------------------------------------------------

bool is_engine_url(std::string_view text) {
  const auto colon = text.find(':');
  return colon != 0 && colon != std::string_view::npos && text[0] >= 'a' && text[0] <= 'z' &&
         std::ranges::all_of(text.substr(0, colon), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
         });
}

bool is_address(std::string_view text) {
  const std::string address(text);
  std::array<unsigned char, 16> parsed{};
  return address == "localhost" || ::inet_pton(AF_INET, address.c_str(), parsed.data()) == 1 ||
         ::inet_pton(AF_INET6, address.c_str(), parsed.data()) == 1;
}

bool is_host(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    return c <= ' ' || c == 0x7F || c == '/' || c == '@' || c == '?' || c == '#' || c == '[' || c == ']';
  });
}

bool is_acks(std::string_view text) {
  return text == "at-least-one" || text == "all" || text == "none";
}

bool is_failover_policy(std::string_view text) {
  return text == "exclusive" || text == "fence-only";
}

// Kubernetes sets REDIS_PORT=tcp://10.0.0.1:6379 where a Service is named redis; the port is what is meant.
std::string_view port_of_service(std::string_view text) {
  return text.starts_with("tcp://") ? text.substr(text.rfind(':') + 1) : text;
}

template <class Value>
using member_of = Value config::*;

using member = std::variant<member_of<std::string>, member_of<std::vector<std::string>>, member_of<bool>,
                            member_of<std::uint16_t>, member_of<std::uint64_t>, member_of<milliseconds>,
                            member_of<durability_mode>, member_of<log::level>, member_of<log::format>>;

struct text_rule {
  bool (*accepts)(std::string_view) = nullptr;
  std::string_view allowed;
};

struct key {
  std::string_view name;  // in the file; --name-with-dashes; DISLOCK_NAME
  member into;
  std::string_view argument;  // what --help calls the value
  std::string_view help;
  double least = 0;  // of a number; seconds for a duration
  double most = 0;
  std::string_view plain_name{};  // a second name in the environment
  text_rule rule{};               // of a text
  std::string_view (*prepare)(std::string_view) = nullptr;
};

constexpr double day = 86'400;
constexpr double many = 1e9;

// The only list: flags, environment, file, --help and --print-config all come from it.
constexpr std::array keys{
    key{.name = "engine",
        .into = &config::engine,
        .argument = "URL",
        .help = "where locks live: embedded:/path, memory:, redis://host:port/db, ...",
        .rule = {is_engine_url, "a URL such as embedded:/path, memory: or redis://host:6379"}},
    key{.name = "durability",
        .into = &config::durability,
        .argument = "MODE",
        .help = "sync: an answer leaves after its commit is on disk; async: before"},
    key{.name = "listen",
        .into = &config::listen,
        .argument = "ADDRESS",
        .help = "the address to serve on; anything but loopback needs --insecure",
        .rule = {is_address, "an IP address or localhost"}},
    key{.name = "port",
        .into = &config::port,
        .argument = "PORT",
        .help = "the port to serve on; 0 takes any that is free",
        .most = 65'535},
    key{.name = "insecure",
        .into = &config::insecure,
        .argument = "BOOL",
        .help = "serve other machines although callers are not authenticated"},
    key{.name = "allowed_hosts",
        .into = &config::allowed_hosts,
        .argument = "LIST",
        .help = "names besides loopback that a request's Host may carry"},
    key{.name = "allowed_origins",
        .into = &config::allowed_origins,
        .argument = "LIST",
        .help = "web origins whose pages may call, such as https://console.example"},
    key{.name = "max_connections",
        .into = &config::max_connections,
        .argument = "COUNT",
        .help = "connections at a time",
        .least = 1,
        .most = many},
    key{.name = "max_connections_per_address",
        .into = &config::max_connections_per_address,
        .argument = "COUNT",
        .help = "connections at a time from one address; 0 = no such limit",
        .most = many},
    key{.name = "drain_timeout",
        .into = &config::drain_timeout,
        .argument = "SECONDS",
        .help = "how long a shutdown lets open calls finish",
        .most = 3'600},
    key{.name = "default_timeout",
        .into = &config::default_timeout,
        .argument = "SECONDS",
        .help = "a lease's life where the caller names none; at most max_timeout",
        .least = 0.1,
        .most = 30 * day,
        .plain_name = "DEFAULT_TIMEOUT"},
    key{.name = "max_timeout",
        .into = &config::max_timeout,
        .argument = "SECONDS",
        .help = "the longest life of a lease that a caller may ask for",
        .least = 0.1,
        .most = 30 * day,
        .plain_name = "MAX_TIMEOUT"},
    key{.name = "renewal_interval",
        .into = &config::renewal_interval,
        .argument = "SECONDS",
        .help = "how often the service renews an autoRenew lease (a third of its ttl if that is less)",
        .least = 0.05,
        .most = day,
        .plain_name = "RENEWAL_INTERVAL"},
    key{.name = "deadlock_detection",
        .into = &config::deadlock_detection,
        .argument = "BOOL",
        .help = "refuse a wait that closes a cycle",
        .plain_name = "DEADLOCK_DETECTION"},
    key{.name = "request_memory",
        .into = &config::request_memory,
        .argument = "SECONDS",
        .help = "how long a finished request's outcome can be asked for again",
        .least = 1,
        .most = day},
    key{.name = "request_memory_max",
        .into = &config::request_memory_max,
        .argument = "COUNT",
        .help = "outcomes remembered at a time; more are refused with 503",
        .least = 1,
        .most = many},
    key{.name = "waiter_grace",
        .into = &config::waiter_grace,
        .argument = "SECONDS",
        .help = "how long a waiter with a request id keeps its place without a connection",
        .least = 0.1,
        .most = 600},
    key{.name = "poll_slice",
        .into = &config::poll_slice,
        .argument = "SECONDS",
        .help = "a longer wait is answered 202 after this time and asked for again",
        .least = 0.1,
        .most = 600},
    key{.name = "event_log_size",
        .into = &config::event_log_size,
        .argument = "COUNT",
        .help = "events kept for streams that resume",
        .least = 1,
        .most = 1e7},
    key{.name = "redis_host",
        .into = &config::redis_host,
        .argument = "HOST",
        .help = "without an engine: use redis:// on this host",
        .plain_name = "REDIS_HOST",
        .rule = {is_host, "a host name or an address"}},
    key{.name = "redis_port",
        .into = &config::redis_port,
        .argument = "PORT",
        .help = "the port for redis_host",
        .least = 1,
        .most = 65'535,
        .plain_name = "REDIS_PORT",
        .prepare = port_of_service},
    key{.name = "redis_db",
        .into = &config::redis_db,
        .argument = "NUMBER",
        .help = "the database for redis_host",
        .most = 1e6,
        .plain_name = "REDIS_DB"},
    key{.name = "redis_acks",
        .into = &config::redis_acks,
        .argument = "HOW",
        .help = "replicas that must have the watermark before grants go on: at-least-one, all or none",
        .rule = {is_acks, "at-least-one, all or none"}},
    key{.name = "redis_failover_policy",
        .into = &config::redis_failover_policy,
        .argument = "POLICY",
        .help = "after a failover: exclusive (no grants until lost leases are over) or fence-only (at once)",
        .rule = {is_failover_policy, "exclusive or fence-only"}},
    key{.name = "redis_quarantine",
        .into = &config::redis_quarantine,
        .argument = "SECONDS",
        .help = "how long that pause is, and so the longest lease that is not confirmed one by one",
        .least = 1,
        .most = 300},
    key{.name = "log_level",
        .into = &config::log_level,
        .argument = "LEVEL",
        .help = "the least severe lines to log: debug, info, warn, error or off"},
    key{.name = "log_format",
        .into = &config::log_format,
        .argument = "FORMAT",
        .help = "text for people, json for machines"},
};

std::string flag_of(std::string_view name) {
  std::string flag = joined({"--", name});
  std::ranges::replace(flag, '_', '-');
  return flag;
}

std::string variable_of(std::string_view name) {
  return joined({env_prefix, upper(name)});
}

// Flags beside the table's. `config` is also DISLOCK_CONFIG, but not a key of the file that it names.
constexpr std::string_view config_name = "config";
struct extra_flag {
  std::string_view usage;
  std::string_view help;
};
constexpr std::array<extra_flag, 4> extra_flags{{
    {"--config FILE", "a TOML file with any of these keys (default_timeout = 30)"},
    {"--print-config", "print the settings in force and where each comes from"},
    {"--version", "print the version"},
    {"--help", "print this text"},
}};

// --- reading and writing one value ---------------------------------------------------------------------

template <class Enum, std::size_t N>
std::optional<Enum> enum_from(std::string_view text, const std::array<Enum, N>& all) {
  const auto found = std::ranges::find_if(all, [&](Enum each) { return to_string(each) == text; });
  return found == all.end() ? std::nullopt : std::optional(*found);
}

template <class Enum, std::size_t N>
std::string names_of(const std::array<Enum, N>& all) {
  std::string out;
  for (std::size_t i = 0; i < N; ++i) {
    if (i > 0) out += i + 1 == N ? " or " : ", ";
    out += to_string(all[i]);
  }
  return out;
}

constexpr const auto& all_of_kind(durability_mode) {
  return durability_modes;
}
constexpr const auto& all_of_kind(log::level) {
  return log_levels;
}
constexpr const auto& all_of_kind(log::format) {
  return log_formats;
}

// What the key accepts, to follow "must be".
std::string allowed(const key& which) {
  const auto range = [&] {
    return joined({"from ", number_text(which.least), " to ", number_text(which.most)});
  };
  return std::visit(
      [&]<class Value>(member_of<Value>) -> std::string {
        if constexpr (std::is_same_v<Value, std::string>) {
          return std::string(which.rule.allowed);
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          return "a list of texts (separated by commas outside a file)";
        } else if constexpr (std::is_same_v<Value, bool>) {
          return "true or false";
        } else if constexpr (std::is_enum_v<Value>) {
          return names_of(all_of_kind(Value{}));
        } else if constexpr (std::is_same_v<Value, milliseconds>) {
          return joined({"a number of seconds ", range()});
        } else {
          return joined({"a whole number ", range()});
        }
      },
      which.into);
}

// False: the text is none of what the key accepts, and `into` is unchanged.
bool assign(const key& which, std::string_view text, config& into) {
  if (which.prepare != nullptr) text = which.prepare(text);
  return std::visit(
      [&]<class Value>(member_of<Value> slot) {
        if constexpr (std::is_same_v<Value, std::string>) {
          if (which.rule.accepts != nullptr && !which.rule.accepts(text)) return false;
          into.*slot = std::string(text);
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          into.*slot = split_list(text);
        } else if constexpr (std::is_same_v<Value, bool>) {
          const auto word = lower(text);
          const bool yes = word == "true" || word == "1" || word == "yes" || word == "on";
          const bool no = word == "false" || word == "0" || word == "no" || word == "off";
          if (!yes && !no) return false;
          into.*slot = yes;
        } else if constexpr (std::is_enum_v<Value>) {
          const auto found = enum_from(text, all_of_kind(Value{}));
          if (!found) return false;
          into.*slot = *found;
        } else {
          const auto number = number_from(text);
          if (!number || *number < which.least || *number > which.most) return false;
          if constexpr (std::is_same_v<Value, milliseconds>) {
            into.*slot = milliseconds(std::llround(*number * 1000));
          } else {
            if (!is_digits(text)) return false;
            into.*slot = static_cast<Value>(*number);
          }
        }
        return true;
      },
      which.into);
}

// As the file would say it.
std::string toml_text(const key& which, const config& from) {
  return std::visit(
      [&]<class Value>(member_of<Value> slot) -> std::string {
        const Value& value = from.*slot;
        if constexpr (std::is_same_v<Value, std::string>) {
          return toml_quoted(redact_url(value));
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          std::string out = "[";
          for (const auto& item : value) out += joined({out.size() > 1 ? ", " : "", toml_quoted(item)});
          return out + ']';
        } else if constexpr (std::is_same_v<Value, bool>) {
          return value ? "true" : "false";
        } else if constexpr (std::is_enum_v<Value>) {
          return toml_quoted(to_string(value));
        } else if constexpr (std::is_same_v<Value, milliseconds>) {
          return number_text(static_cast<double>(value.count()) / 1000);
        } else {
          return std::to_string(value);
        }
      },
      which.into);
}

// --- where values come from ----------------------------------------------------------------------------

struct given {
  std::string text;
  std::string source;
};
using givens = std::map<std::string_view, given>;  // by key

struct flags {
  givens values;
  std::optional<std::string> file;
  bool help = false;
  bool version = false;
  bool print = false;
};

// Whether the flag's last mention has no value, as opposed to an empty one (`--insecure ""`, a variable that
// was not set): CLI11 reports both alike, and only the first switches anything on.
bool stands_alone(const std::vector<std::string>& args, std::string_view flag) {
  const auto mention = std::find_if(args.rbegin(), args.rend(), [&](std::string_view word) {
    return word == flag || word.starts_with(joined({flag, "="}));
  });
  if (mention == args.rend() || *mention != flag) return false;
  return mention == args.rbegin() || !std::prev(mention)->empty();
}

flags read_flags(const std::vector<std::string>& args, std::vector<std::string>& problems) {
  // CLI11 only takes the words apart; its environment, its config file and its help stay unused.
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();

  flags found;
  std::string file;
  std::vector<std::string> known;
  known.reserve(extra_flags.size() + keys.size());
  for (const auto& extra : extra_flags) known.emplace_back(extra.usage.substr(0, extra.usage.find(' ')));
  app.add_flag("--help,-h", found.help);
  app.add_flag("--version,-V", found.version);
  app.add_flag("--print-config", found.print);
  auto* const file_option =
      app.add_option("--config", file)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);

  std::map<std::string_view, std::pair<std::string, CLI::Option*>> options;
  for (const auto& each : keys) {
    auto flag = flag_of(each.name);
    auto* const option =
        app.add_option(flag)->expected(0, 1)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    known.push_back(flag);
    options[each.name] = {std::move(flag), option};
  }

  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));  // CLI11 takes them last first
  } catch (const CLI::ParseError& error) {
    problems.emplace_back(error.what());
    return found;
  }

  bool value_of_unknown = false;  // `--prot 5000` is one mistake, not two
  for (const auto& rest : app.remaining()) {
    const auto name = rest.substr(0, rest.find('='));
    if (rest.starts_with("-")) {
      problems.push_back(
          joined({"unknown flag ", shown(name), "; the nearest is ", nearest(name, known), " (see --help)"}));
      value_of_unknown = name.size() == rest.size();
    } else if (!std::exchange(value_of_unknown, false)) {
      problems.push_back(joined({"unexpected argument ", shown(rest), " (see --help)"}));
    }
  }

  if (file_option->count() > 0) found.file = file;
  for (const auto& [name, entry] : options) {
    const auto& [flag, option] = entry;
    if (option->count() == 0) continue;
    const auto& which = *std::ranges::find(keys, name, &key::name);
    auto text = option->results().back();
    if (text.empty() && stands_alone(args, flag)) {
      if (!std::holds_alternative<member_of<bool>>(which.into)) {
        problems.push_back(joined({"flag ", flag, " needs a value: ", allowed(which)}));
        continue;
      }
      text = "true";
    }
    found.values[name] = {std::move(text), joined({"flag ", flag})};
  }
  return found;
}

// Kubernetes describes every Service to every pod: for a Service `dislock` DISLOCK_SERVICE_HOST,
// DISLOCK_SERVICE_PORT[_NAME], DISLOCK_PORT=tcp://..., DISLOCK_PORT_5000_TCP[_ADDR|_PORT|_PROTO], and for
// `dislock-x` the same with DISLOCK_X.
bool is_from_kubernetes(std::string_view name, std::string_view content) {
  name.remove_prefix(env_prefix.size() - 1);  // "_PORT_5000_TCP": one shape for both
  if (name.ends_with("_SERVICE_HOST") || name.find("_SERVICE_PORT") != std::string_view::npos) return true;
  if (name.ends_with("_PORT") &&
      (content.starts_with("tcp://") || content.starts_with("udp://") || content.starts_with("sctp://"))) {
    return name != "_REDIS_PORT";  // a key of ours, which reads this form
  }
  for (auto at = name.find("_PORT_"); at != std::string_view::npos; at = name.find("_PORT_", at + 1)) {
    const auto rest = name.substr(at + 6);
    const auto number_end = std::min(rest.find('_'), rest.size());
    const auto protocol = rest.substr(number_end);
    if (is_digits(rest.substr(0, number_end)) &&
        (protocol.starts_with("_TCP") || protocol.starts_with("_UDP") || protocol.starts_with("_SCTP"))) {
      return true;
    }
  }
  return false;
}

givens read_environment(const environment& env, std::vector<std::string>& problems) {
  givens found;
  // URL is the clients' and the command line's, PLANT that of tests which want to see a bug.
  std::vector<std::string> known{variable_of(config_name), variable_of("url"), variable_of("plant")};
  const auto take = [&](const key& each, const std::string& variable) {
    const auto entry = env.find(variable);
    if (entry == env.end() || entry->second.empty()) return;
    if (variable.starts_with(env_prefix) && is_from_kubernetes(variable, entry->second)) return;
    found[each.name] = {entry->second, joined({"environment ", variable})};
  };
  for (const auto& each : keys) {
    if (!each.plain_name.empty()) take(each, std::string(each.plain_name));
    known.push_back(variable_of(each.name));
    take(each, known.back());
  }
  for (const auto& [name, content] : env) {
    if (!name.starts_with(env_prefix) || std::ranges::find(known, name) != known.end()) continue;
    if (is_from_kubernetes(name, content)) continue;
    problems.push_back(
        joined({"unknown environment variable ", shown(name), "; the nearest is ", nearest(name, known)}));
  }
  return found;
}

// A node as the text that a flag would carry, or nothing when it has not the key's type: in a file, a number
// is written as a number.
std::optional<std::string> text_of(const toml::node& node, const key& which) {
  return std::visit(
      [&]<class Value>(member_of<Value>) -> std::optional<std::string> {
        if constexpr (std::is_same_v<Value, std::string> || std::is_enum_v<Value>) {
          return node.value_exact<std::string>();
        } else if constexpr (std::is_same_v<Value, bool>) {
          const auto truth = node.value_exact<bool>();
          return truth ? std::optional<std::string>(*truth ? "true" : "false") : std::nullopt;
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          const auto* const array = node.as_array();
          if (array == nullptr) return std::nullopt;
          std::string out;
          for (const auto& item : *array) {
            const auto text = item.value_exact<std::string>();
            if (!text || text->find(',') != std::string::npos) return std::nullopt;
            out += *text;
            out += ',';
          }
          return out;
        } else {
          if (const auto whole = node.value_exact<std::int64_t>()) return std::to_string(*whole);
          if (const auto real = node.value_exact<double>()) return number_text(*real);
          return std::nullopt;
        }
      },
      which.into);
}

givens read_toml(const std::string& path, const std::string& content, std::vector<std::string>& problems) {
  givens found;
  toml::table document;
  try {
    document = toml::parse(content, path);
  } catch (const toml::parse_error& error) {
    problems.push_back(
        joined({path, ":", std::to_string(error.source().begin.line), ": ", error.description()}));
    return found;
  }

  std::vector<std::string> known;
  known.reserve(keys.size());
  for (const auto& each : keys) known.emplace_back(each.name);
  for (const auto& [entry, node] : document) {
    const auto where = joined({path, ":", std::to_string(node.source().begin.line)});
    const auto which = std::ranges::find(keys, entry.str(), &key::name);
    if (which == keys.end()) {
      problems.push_back(
          joined({"unknown key ", shown(entry.str()), " (", where, "); the nearest is ",
                  nearest(entry.str(), known), node.is_table() ? ", and the file has no sections" : ""}));
      continue;
    }
    auto text = text_of(node, *which);
    if (!text) {
      problems.push_back(joined({which->name, " (", where, ") must be ", allowed(*which)}));
      continue;
    }
    found[which->name] = {std::move(*text), where};
  }
  return found;
}

// --- the whole -----------------------------------------------------------------------------------------

std::string value_of(const environment& env, std::string_view name) {
  const auto entry = env.find(name);
  return entry == env.end() ? std::string() : entry->second;
}

std::string default_engine(const environment& env) {
  const auto state = value_of(env, "STATE_DIRECTORY");
  if (!state.empty()) return joined({"embedded:", state.substr(0, state.find(':'))});
  const auto data = value_of(env, "XDG_DATA_HOME");
  if (data.starts_with("/"))
    return joined({"embedded:", data, "/dislock"});  // a relative one is to be ignored
  const auto home = value_of(env, "HOME");
  if (home.starts_with("/") && home != "/") return joined({"embedded:", home, "/.local/share/dislock"});
  return "embedded:/var/lib/dislock";
}

std::string redis_url(const config& settings) {
  const bool bare_ipv6 = settings.redis_host.find(':') != std::string::npos;
  return joined({"redis://", bare_ipv6 ? "[" : "", settings.redis_host, bare_ipv6 ? "]" : "", ":",
                 std::to_string(settings.redis_port), "/", std::to_string(settings.redis_db)});
}

// `left` padded so that what follows stands in one column, or on its own line.
std::string column(std::string_view left, std::size_t width) {
  std::string out(left);
  if (out.size() >= width) return joined({out, "\n", std::string(width, ' ')});
  out.resize(width, ' ');
  return out;
}

std::string help_text(const environment& env) {
  constexpr std::size_t width = 34;
  config defaults;
  defaults.engine = default_engine(env);

  std::string out =
      "dislockd serves locks over HTTP.\n\n"
      "Usage: dislockd [FLAG VALUE]...\n\n"
      "Every flag is also an environment variable (--default-timeout is DISLOCK_DEFAULT_TIMEOUT)\n"
      "and a key of the file (default_timeout). Flags go before the environment, the environment\n"
      "before the file.\n\n";
  for (const auto& each : keys) {
    out += column(joined({"  ", flag_of(each.name), " ", each.argument}), width);
    out += joined({each.help, " [", toml_text(each, defaults), "]"});
    if (!each.plain_name.empty()) out += joined({" (also ", each.plain_name, ")"});
    out += '\n';
  }
  for (const auto& each : extra_flags) {
    out += joined({column(joined({"  ", each.usage}), width), each.help, "\n"});
  }
  return out;
}

std::string config_text(const config& settings, const std::map<std::string_view, std::string>& sources) {
  constexpr std::size_t width = 48;
  std::string out;
  for (const auto& each : keys) {
    auto line = joined({each.name, " = ", toml_text(each, settings)});
    line.resize(std::max(line.size() + 1, width), ' ');
    out += joined({line, "# ", sources.at(each.name), "\n"});
  }
  return out;
}

}  // namespace

std::string_view to_string(durability_mode mode) noexcept {
  return mode == durability_mode::sync ? "sync" : "async";
}

bool is_loopback(std::string_view address) noexcept {
  return address == "localhost" || address == "::1" || address.starts_with("127.");
}

std::string redact_url(std::string_view url) {
  constexpr std::string_view mask = "***";
  std::string out(url);
  const auto scheme = out.find("://");
  if (scheme == std::string::npos) return out;

  // The last '@', wherever it is: a password may hold any character that somebody forgot to escape.
  const auto at = out.rfind('@');
  const auto colon = out.find(':', scheme + 3);
  if (at != std::string::npos && colon < at) out.replace(colon + 1, at - colon - 1, mask);

  constexpr std::array<std::string_view, 4> hidden{"password", "passwd", "secret", "token"};
  auto start = out.find('?');
  while (start != std::string::npos) {
    const auto equals = out.find('=', start);
    auto end = out.find('&', start + 1);
    if (equals != std::string::npos && equals < end) {
      const auto name = lower(std::string_view(out).substr(start + 1, equals - start - 1));
      const bool hide =
          std::ranges::any_of(hidden, [&](auto word) { return name.find(word) != std::string::npos; });
      if (hide) {
        const auto length = end == std::string::npos ? std::string::npos : end - equals - 1;
        out.replace(equals + 1, length, mask);
        end = out.find('&', equals);
      }
    }
    start = end;
  }
  return out;
}

parse_result parse(const std::vector<std::string>& args, const environment& env, const file_reader& read_file,
                   std::string_view version) {
  std::vector<std::string> problems;

  const auto from_flags = read_flags(args, problems);
  if (!problems.empty()) return refusal{std::move(problems)};
  if (from_flags.help) return printout{help_text(env)};
  if (from_flags.version) return printout{joined({"dislockd ", version, "\n"})};

  // From the weakest source to the strongest: a later one replaces.
  givens found;
  const auto path = from_flags.file.value_or(value_of(env, variable_of(config_name)));
  if (!path.empty()) {
    if (const auto content = read_file(path)) {
      found = read_toml(path, *content, problems);
    } else {
      problems.push_back(
          joined({"the configuration file ", shown(path), " (",
                  from_flags.file ? "flag --config" : "environment DISLOCK_CONFIG", ") cannot be read"}));
    }
  }
  for (auto& [name, entry] : read_environment(env, problems)) found[name] = entry;
  for (const auto& [name, entry] : from_flags.values) found[name] = entry;

  config settings;
  settings.engine = default_engine(env);
  std::map<std::string_view, std::string> sources;
  for (const auto& each : keys) {
    const auto entry = found.find(each.name);
    sources[each.name] = entry == found.end() ? "default" : entry->second.source;
    if (entry != found.end() && !assign(each, entry->second.text, settings)) {
      problems.push_back(joined({each.name, " = ", shown(entry->second.text), " (", entry->second.source,
                                 ") must be ", allowed(each)}));
    }
  }

  if (!found.contains("engine") && !settings.redis_host.empty()) {
    settings.engine = redis_url(settings);
    sources["engine"] = joined({"redis_host, ", sources["redis_host"]});
  }
  if (!found.contains("default_timeout") && settings.default_timeout > settings.max_timeout) {
    settings.default_timeout = settings.max_timeout;
    sources["default_timeout"] = "default, cut to max_timeout";
  }
  if (settings.default_timeout > settings.max_timeout) {
    problems.push_back(joined({"default_timeout (", sources["default_timeout"],
                               ") must not be above max_timeout (", sources["max_timeout"], ")"}));
  }
  if (!is_loopback(settings.listen) && !settings.insecure) {
    constexpr std::string_view why =
        "lets other machines in, and callers are not authenticated: where the network is trusted, allow it "
        "with "
        "--insecure (DISLOCK_INSECURE=true, insecure = true); otherwise stay on 127.0.0.1";
    problems.push_back(joined({"listen = ", shown(settings.listen), " (", sources["listen"], ") ", why}));
  }

  if (!problems.empty()) return refusal{std::move(problems)};
  if (from_flags.print) return printout{config_text(settings, sources)};
  return settings;
}

}  // namespace dislock::server
