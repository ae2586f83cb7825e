// What dislockd can be told: flags over environment over file over defaults.
#pragma once

#include "base/log.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dislock::server {

/// When an answer may leave: after its commit is on disk, or once it is written (a power cut may then lose
/// the last moments; a killed process does not).
enum class durability_mode : std::uint8_t { sync, async };
[[nodiscard]] std::string_view to_string(durability_mode mode) noexcept;

/// The settings in force. Plain values; the members' initializers are the defaults, and the table of keys in
/// config.cpp says what each means, where it is read from and what it may be. Every member is one key of the
/// same name.
struct config {
  /// Where locks live. Never empty in a parsed config: without any setting it is `embedded:` and the first of
  /// $STATE_DIRECTORY (set by systemd), $XDG_DATA_HOME/dislock, ~/.local/share/dislock, /var/lib/dislock.
  /// With `redis_host` set and no engine it is the `redis://` URL of that host. May hold a password:
  /// show `redact_url(engine)`.
  std::string engine;
  durability_mode durability = durability_mode::sync;

  std::string listen = "127.0.0.1";
  std::uint16_t port = 5000;  ///< 0 = any free port
  bool insecure = false;
  std::vector<std::string> allowed_hosts;
  std::vector<std::string> allowed_origins;
  std::uint64_t max_connections = 20'000;
  std::uint64_t max_connections_per_address = 0;  ///< 0 = no such limit
  std::chrono::milliseconds drain_timeout{10'000};

  std::chrono::milliseconds default_timeout{30'000};  ///< at most `max_timeout`
  std::chrono::milliseconds max_timeout{300'000};
  std::chrono::milliseconds renewal_interval{5'000};
  bool deadlock_detection = true;
  std::chrono::milliseconds request_memory{30'000};
  std::uint64_t request_memory_max = 4'000'000;
  std::chrono::milliseconds waiter_grace{5'000};
  std::chrono::milliseconds poll_slice{25'000};
  std::uint64_t event_log_size = 10'000;

  std::string redis_host;  ///< already part of `engine`
  std::uint16_t redis_port = 6379;
  std::uint64_t redis_db = 0;
  // Of every redis URL, unless its parameters say otherwise.
  std::string redis_acks = "at-least-one";
  std::string redis_failover_policy = "exclusive";
  std::chrono::milliseconds redis_quarantine{30'000};

  log::level log_level = log::level::info;
  log::format log_format = log::format::text;
};

/// The program was asked for a text (--help, --version, --print-config): to stdout, then exit 0.
struct printout {
  std::string text;
};

/// The settings do not make sense: every problem found, one sentence each, for stderr; then exit 2.
struct refusal {
  std::vector<std::string> problems;
};

using parse_result = std::variant<config, printout, refusal>;
using environment = std::map<std::string, std::string, std::less<>>;
/// The text of a file, or nothing when it cannot be read.
using file_reader = std::function<std::optional<std::string>(const std::string& path)>;

/// Pure: it sees only its parameters. `args` comes without the program's name, `version` is for --version.
///
/// An environment variable that is set to nothing counts as not set (compose files write `${X:-}`).
/// `DISLOCK_X` goes before the plain name `X` where a key has both. What Kubernetes injects for a Service
/// whose name begins with `dislock` (`DISLOCK_PORT=tcp://...`, `DISLOCK_SERVICE_HOST`) is not ours and is
/// skipped.
[[nodiscard]] parse_result parse(const std::vector<std::string>& args, const environment& env,
                                 const file_reader& read_file, std::string_view version);

/// The URL without its password, also where one hides in the query. In doubt it hides more.
[[nodiscard]] std::string redact_url(std::string_view url);

/// Whether nobody on another machine can reach this address.
[[nodiscard]] bool is_loopback(std::string_view address) noexcept;

}  // namespace dislock::server
