// What an operator writes to say which Redis is meant.
#pragma once

#include "dislock/clock.hpp"
#include "dislock/error.hpp"
#include "engines/redis/wire/address.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dislock::redis {

/// Name and password for `AUTH`. Neither printed nor compared.
struct credentials {
  std::string user;  ///< empty: the default user
  std::string password;
  bool given = false;
};

struct tls_terms {
  bool on = false;
  bool verify = true;     ///< the certificate, and that it belongs to the host that was named
  std::string ca_file;    ///< empty: what the system trusts
  std::string cert_file;  ///< for servers that want to know their clients
  std::string key_file;
};

/// One of
///
///     redis://[user[:password]@]host[:port][/db]
///     redis+sentinel://[user:password@]host[:port],...[/master[/db]]
///     redis+cluster://[user:password@]host[:port],...
///     redlock://[user:password@]host[:port],...[/db]        an odd number of servers
///
/// with `rediss` and `redlocks` for TLS, and then `?name=value&...`:
///
///     db                  as in the path
///     name                how the connections call themselves (CLIENT SETNAME)
///     connect-timeout     seconds
///     prefix, own-prefix  how the names of keys begin: see key_prefixes
///     ca, cert, key       files, for TLS;  insecure=true: do not verify
///     sentinel-user, sentinel-password     for the Sentinels: they get nothing of what is before the '@'
struct store_url {
  enum class kind : std::uint8_t { single, sentinel, cluster, redlock };

  kind what = kind::single;
  std::vector<address> places;  ///< servers; or the Sentinels, where these are asked for the server
  std::string master;           ///< the Sentinels' name for it
  unsigned database = 0;
  credentials login, sentinel_login;
  tls_terms tls;
  std::string client_name = "dislock";
  duration connect_timeout = std::chrono::seconds(2);
  std::optional<std::string> prefix, own_prefix;
  std::vector<std::pair<std::string, std::string>> others;  ///< parameters that mean nothing here

  /// Without user, password and parameters: for logs and errors.
  [[nodiscard]] std::string display() const;
};

/// `invalid_field`, with the part that is wrong; no part that may hold a password is repeated.
[[nodiscard]] result<store_url> parse_store_url(std::string_view url);

}  // namespace dislock::redis
