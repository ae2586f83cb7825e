// What every command needs to know before it can talk to an engine, and where each value came from.
#pragma once

#include "output.hpp"
#include "wording.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::cli {

using environment = std::map<std::string, std::string, std::less<>>;

/// The flags that all commands share, as they were given.
struct shared_flags {
  std::optional<std::string> address;
  std::optional<std::string> output;
  std::optional<duration> timeout;
  std::optional<std::string> client_id;
  bool quiet = false;
  bool no_colour = false;
};

/// One setting in force.
struct setting {
  std::string name{};
  std::string value{};
  std::string source{};                   ///< `--addr`, `DISLOCK_URL`, `default`
  std::vector<std::string> overridden{};  ///< `DISLOCK_ADDR=...`: what was also set and does not count
  std::string help{};
};

struct settings {
  std::string address;
  format output = format::table;
  duration timeout{};
  std::optional<std::string> client_id;
  bool quiet = false;
  bool colours_wanted = true;
  /// How all of this came about, for `config explain`. Passwords in addresses are hidden.
  std::vector<setting> explained;
};

/// The settings, or a sentence that says what is wrong.
struct resolved {
  settings in_force;
  std::string wrong;
};

/// Flags over environment over defaults; a variable that is set to nothing counts as not set. Pure.
[[nodiscard]] resolved resolve(const shared_flags& flags, const environment& env);

/// `host:port` and `host` mean http.
[[nodiscard]] std::string url_of(std::string_view address);
/// The URL without the password in it.
[[nodiscard]] std::string without_password(std::string_view url);

}  // namespace dislock::cli
