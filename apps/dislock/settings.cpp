#include "settings.hpp"

#include "views.hpp"

#include <algorithm>
#include <array>

namespace dislock::cli {
namespace {

constexpr std::string_view default_address = "http://127.0.0.1:5000";

struct source {
  std::string name;
  std::string value;
};

// The first one counts, the others are overridden.
setting first_of(std::string name, std::vector<source> given, std::string fallback, std::string help,
                 bool is_address = false) {
  const auto shown = [&](const std::string& value) { return is_address ? without_password(value) : value; };
  setting out{
      .name = std::move(name), .value = std::move(fallback), .source = "default", .help = std::move(help)};
  if (given.empty()) return out;
  out.value = given.front().value;
  out.source = given.front().name;
  for (std::size_t i = 1; i < given.size(); ++i)
    if (given[i].value != out.value) out.overridden.push_back(given[i].name + "=" + shown(given[i].value));
  return out;
}

}  // namespace

std::string url_of(std::string_view address) {
  constexpr std::array<std::string_view, 2> without_authority{"memory:", "embedded:"};
  const bool whole = address.find("://") != std::string_view::npos ||
                     std::ranges::any_of(without_authority, [&](auto s) { return address.starts_with(s); });
  return whole ? std::string(address) : "http://" + std::string(address);
}

std::string without_password(std::string_view url) {
  const auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url);
  const auto begin = scheme + 3;
  const auto end = std::min(url.find_first_of("/?#", begin), url.size());
  const auto at = url.substr(0, end).rfind('@');
  if (at == std::string_view::npos || at < begin) return std::string(url);
  const auto colon = url.find(':', begin);
  if (colon == std::string_view::npos || colon > at) return std::string(url);
  return std::string(url.substr(0, colon + 1)) + "***" + std::string(url.substr(at));
}

resolved resolve(const shared_flags& flags, const environment& env) {
  resolved out;
  auto& s = out.in_force;
  const auto variable = [&](std::string_view name, std::vector<source>& into) {
    if (const auto it = env.find(name); it != env.end() && !it->second.empty())
      into.push_back({std::string(name), it->second});
  };

  std::vector<source> addresses;
  if (flags.address) addresses.push_back({"--addr", *flags.address});
  variable("DISLOCK_URL", addresses);
  variable("DISLOCK_ADDR", addresses);
  auto address = first_of("address", addresses, std::string(default_address),
                          "where the locks live: an engine URL", true);
  s.address = address.value = url_of(address.value);
  address.value = without_password(address.value);
  s.explained.push_back(std::move(address));

  std::vector<source> outputs;
  if (flags.output) outputs.push_back({"--output", *flags.output});
  variable("DISLOCK_OUTPUT", outputs);
  auto output = first_of("output", outputs, "table", "table, wide, json, jsonl or env");
  if (const auto f = format_from(output.value))
    s.output = *f;
  else
    out.wrong = output.source + " must be table, wide, json, jsonl or env, not '" + output.value + "'.";
  s.explained.push_back(std::move(output));

  std::vector<source> timeouts;
  if (flags.timeout) timeouts.push_back({"--timeout", in_words(*flags.timeout)});
  variable("DISLOCK_TIMEOUT", timeouts);
  auto timeout =
      first_of("timeout", timeouts, "5s", "how long an answer may take, beyond the wait for a lock");
  const auto patience = flags.timeout ? flags.timeout : duration_from(timeout.value);
  if (!patience || *patience < std::chrono::milliseconds(1)) {
    if (out.wrong.empty())
      out.wrong = timeout.source + " must be a time like 5s or 500ms, not '" + timeout.value + "'.";
  } else {
    s.timeout = *patience;
    timeout.value = in_words(*patience);
  }
  s.explained.push_back(std::move(timeout));

  std::vector<source> clients;
  if (flags.client_id) clients.push_back({"--client", *flags.client_id});
  variable("DISLOCK_CLIENT_ID", clients);
  auto client = first_of("client", clients, "", "the flow of control that asks, for deadlock detection");
  if (!client.value.empty()) s.client_id = client.value;
  if (client.value.empty()) client.value = "a new one each time";
  s.explained.push_back(std::move(client));

  std::vector<source> colours;
  if (flags.no_colour) colours.push_back({"--no-color", "off"});
  if (const auto it = env.find("NO_COLOR"); it != env.end() && !it->second.empty())
    colours.push_back({"NO_COLOR", "off"});
  if (const auto it = env.find("TERM"); it != env.end() && it->second == "dumb")
    colours.push_back({"TERM", "off"});
  auto colour = first_of("color", colours, "on a terminal", "colours in tables");
  s.colours_wanted = colours.empty();
  s.explained.push_back(std::move(colour));

  s.quiet = flags.quiet;
  return out;
}

}  // namespace dislock::cli
