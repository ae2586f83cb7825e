#pragma once

#include "dislock/errc.hpp"
#include "http/request.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::http {

/// Which `Host` and `Origin` a request may carry: the defence against DNS rebinding and foreign web pages.
///
/// Loopback names and addresses (`localhost`, `*.localhost`, `127.0.0.0/8`, `[::1]`) are always allowed, with
/// any port. A configured host is `name` (any port), `name:port`, or `*` (any host: only behind a proxy that
/// checks). An origin is allowed when its host and port are the request's own `Host`, or when it is
/// configured, e.g. `https://console.example.com`. Comparison ignores case.
class host_policy {
 public:
  host_policy(std::vector<std::string> hosts, std::vector<std::string> origins);

  /// Nothing when the request may pass; else `malformed_http`, `unknown_host` or `forbidden_origin`.
  /// `host_required`: the request came by HTTP/1.1.
  [[nodiscard]] std::optional<errc> check(const request& r, bool host_required) const;

 private:
  [[nodiscard]] bool is_known(std::string_view name, std::string_view port) const;
  [[nodiscard]] bool is_allowed_origin(std::string_view origin, std::string_view host) const;

  std::vector<std::string> hosts_;
  std::vector<std::string> origins_;
  bool any_host_ = false;
};

}  // namespace dislock::http
