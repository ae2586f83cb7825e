#include "library/remote/endpoints.hpp"

#include <boost/url/authority_view.hpp>
#include <boost/url/parse.hpp>

#include <algorithm>

namespace dislock::library::remote {
namespace {

constexpr std::uint16_t default_port = 5000;

error wrong(std::string detail) {
  error e;
  e.code = errc::invalid_field;
  e.detail = "url: " + std::move(detail);
  return e;
}

}  // namespace

result<std::vector<endpoint>> parse_endpoints(std::string_view url) {
  constexpr std::string_view scheme = "http://";
  if (url.starts_with("https://")) return wrong("https is not supported yet");
  if (!url.starts_with(scheme)) return wrong("must begin with http://");
  url.remove_prefix(scheme.size());
  if (url.ends_with('/')) url.remove_suffix(1);
  if (url.find('@') != std::string_view::npos) return wrong("must not hold a user name or password");
  if (url.find_first_of("/?#") != std::string_view::npos) return wrong("must end after the port");

  std::vector<endpoint> out;
  for (std::size_t at = 0; at <= url.size();) {
    const auto end = std::min(url.find(',', at), url.size());
    const auto part = url.substr(at, end - at);
    at = end + 1;
    const auto place = boost::urls::parse_authority({part.data(), part.size()});
    if (!place || place->host().empty()) return wrong("'" + std::string(part) + "' is not host[:port]");
    // A number that does not fit is cut off by port_number().
    const auto number = place->port_number();
    if (place->has_port() && (number == 0 || std::string(place->port()) != std::to_string(number)))
      return wrong("the port of '" + std::string(part) + "' is not a number from 1 to 65535");
    if (place->host_type() == boost::urls::host_type::ipvfuture)
      return wrong("'" + std::string(part) + "' is not an address");
    endpoint e;
    const auto host = place->host_address();  // percent-decoded, without brackets
    e.host.assign(host.data(), host.size());
    e.port = place->has_port() ? place->port_number() : default_port;
    const auto odd = [](char c) { return c <= ' ' || c >= '\x7f' || c == '/' || c == '"'; };
    if (std::any_of(e.host.begin(), e.host.end(), odd))
      return wrong("'" + std::string(part) + "' is not a host name");
    const bool v6 = place->host_type() == boost::urls::host_type::ipv6;
    e.authority = (v6 ? "[" + e.host + "]" : e.host) + ":" + std::to_string(e.port);
    if (std::find(out.begin(), out.end(), e) != out.end()) return wrong(e.authority + " is named twice");
    out.push_back(std::move(e));
  }
  return out;
}

std::size_t endpoint_choice::pick(instant now) const noexcept {
  auto best = current_;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto which = (current_ + i) % places_.size();
    if (!avoided(which, now)) return which;
    if (places_[which].avoid_until < places_[best].avoid_until) best = which;
  }
  return best;
}

void endpoint_choice::worked(std::size_t which) noexcept {
  places_[which] = {};
  current_ = which;
}

void endpoint_choice::failed(std::size_t which, instant now) noexcept {
  auto& p = places_[which];
  const auto avoid = std::min<duration>(std::chrono::milliseconds(100) * (1 << std::min(p.failures, 6U)),
                                        std::chrono::seconds(5));
  // Calls that were under way together fail together: that is one failure.
  if (p.avoid_until <= now) {
    p.avoid_until = later(now, avoid);
    ++p.failures;
  }
}

}  // namespace dislock::library::remote
