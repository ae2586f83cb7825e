// What callers may ask for, and what a client may be opened with: checked before anything is done.
#pragma once

#include "dislock/client.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dislock::library {

/// 1 to `longest` of the characters that names and ids are made of (DESIGN 3).
[[nodiscard]] bool is_identifier(std::string_view s, std::size_t longest) noexcept;

/// Nothing when it is allowed, else why it is not. `detail` begins with the name of the field.
[[nodiscard]] std::optional<error> wrong_lock_name(std::string_view name);
[[nodiscard]] std::optional<error> wrong_locks(std::span<const lock_request> locks, bool multi);
/// `metadata` is made compact.
[[nodiscard]] std::optional<error> wrong_options(acquire_options& options, bool only_try);
[[nodiscard]] std::optional<error> wrong_options(const client_options& options);

/// Of a renewal.
[[nodiscard]] std::optional<error> wrong_ttl(std::optional<duration> ttl);
/// Of a force release: at most 200 printable bytes.
[[nodiscard]] std::optional<error> wrong_reason(std::string_view reason);

/// Which backend a URL means.
struct engine_url {
  enum class kind : std::uint8_t { memory, embedded, http, store };
  kind what{};
  std::string path;  ///< embedded: the directory; http and store: the whole URL
};
[[nodiscard]] result<engine_url> parse_url(std::string_view url);

/// host-pid-random.
[[nodiscard]] std::string make_instance();

}  // namespace dislock::library
