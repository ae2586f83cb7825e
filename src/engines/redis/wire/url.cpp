#include "engines/redis/wire/url.hpp"

#include <boost/url/authority_view.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/parse_query.hpp>
#include <boost/url/pct_string_view.hpp>

#include <algorithm>
#include <charconv>

namespace dislock::redis {
namespace {

struct scheme {
  std::string_view name;
  store_url::kind what;
  bool tls;
};
constexpr scheme schemes[] = {
    {"redis", store_url::kind::single, false},
    {"rediss", store_url::kind::single, true},
    {"redis+sentinel", store_url::kind::sentinel, false},
    {"rediss+sentinel", store_url::kind::sentinel, true},
    {"redis+cluster", store_url::kind::cluster, false},
    {"rediss+cluster", store_url::kind::cluster, true},
    {"redlock", store_url::kind::redlock, false},
    {"redlocks", store_url::kind::redlock, true},
};

error wrong(std::string detail) {
  error e;
  e.code = errc::invalid_field;
  e.detail = "url: " + std::move(detail);
  return e;
}

std::optional<std::string> decoded(std::string_view text) {
  const auto view = boost::urls::make_pct_string_view({text.data(), text.size()});
  if (!view) return std::nullopt;
  std::string out = view->decode();
  // What is a word of a command, a host or a file has no business with zero bytes.
  if (out.find('\0') != std::string::npos) return std::nullopt;
  return out;
}

std::optional<unsigned> database_number(std::string_view text) {
  unsigned out = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || text.size() > 9 || ec != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return out;
}

class parser {
 public:
  explicit parser(std::string_view url) : rest_(url), hides_(url.find('@') != std::string_view::npos) {}

  result<store_url> parse() {
    std::string problem;
    if (!(scheme_part(problem) && login(problem) && places(problem) && path(problem) && query(problem) &&
          whole(problem)))
      return wrong(std::move(problem));
    return std::move(out_);
  }

 private:
  // A password that was not percent-encoded can end up in any part: then none is repeated.
  [[nodiscard]] std::string shown(std::string_view part, std::string_view instead) const {
    return hides_ ? std::string(instead) : "'" + std::string(part) + "'";
  }

  bool scheme_part(std::string& problem) {
    const auto at = rest_.find("://");
    const auto name = rest_.substr(0, at);
    for (const auto& s : schemes)
      if (at != std::string_view::npos && name == s.name) {
        out_.what = s.what;
        out_.tls.on = s.tls;
        rest_.remove_prefix(at + 3);
        if (const auto hash = rest_.find('#'); hash != std::string_view::npos) {
          problem = "must not have a fragment ('#' inside of a password is written %23)";
          return false;
        }
        authority_ = rest_.substr(0, rest_.find_first_of("/?"));
        rest_.remove_prefix(authority_.size());
        return true;
      }
    problem = "must begin with redis://, rediss://, redis+sentinel://, redis+cluster:// or redlock://";
    return false;
  }

  bool login(std::string& problem) {
    const auto at = authority_.rfind('@');
    if (at == std::string_view::npos) {
      if (hides_ && rest_.substr(0, rest_.find('?')).find('@') != std::string_view::npos) {
        problem = "'/' inside of a password is written %2F";
        return false;
      }
      return true;
    }
    const auto all = authority_.substr(0, at);
    authority_.remove_prefix(at + 1);
    const auto colon = all.find(':');
    if (colon == std::string_view::npos) {
      problem = "a user needs a password: user:password@host, :password@host for the default user";
      return false;
    }
    const auto user = decoded(all.substr(0, colon));
    const auto password = decoded(all.substr(colon + 1));
    if (!user || !password || all.find('@') != std::string_view::npos) {
      problem = "the user or the password is not percent-encoded";
      return false;
    }
    out_.login = {*user, *password, true};
    return true;
  }

  [[nodiscard]] std::uint16_t default_port() const noexcept {
    return out_.what == store_url::kind::sentinel ? 26379 : 6379;
  }

  bool places(std::string& problem) {
    for (std::size_t at = 0; at <= authority_.size();) {
      const auto end = std::min(authority_.find(',', at), authority_.size());
      const auto part = authority_.substr(at, end - at);
      at = end + 1;
      const auto it = shown(part, "a place");
      const auto place = boost::urls::parse_authority({part.data(), part.size()});
      if (!place || place->host().empty() || place->has_userinfo() ||
          place->host_type() == boost::urls::host_type::ipvfuture) {
        problem = it + " is not host[:port]";
        return false;
      }
      // A number that does not fit is cut off by port_number().
      const auto number = place->port_number();
      if (place->has_port() && (number == 0 || std::string(place->port()) != std::to_string(number))) {
        problem = "the port of " + it + " is not a number from 1 to 65535";
        return false;
      }
      const auto host = place->host_address();  // percent-decoded, without brackets
      address a{std::string(host.data(), host.size()), place->has_port() ? number : default_port()};
      const auto odd = [](char c) { return c <= ' ' || c >= '\x7f' || c == '/' || c == '"'; };
      if (std::any_of(a.host.begin(), a.host.end(), odd)) {
        problem = it + " is not a host name";
        return false;
      }
      if (std::find(out_.places.begin(), out_.places.end(), a) != out_.places.end()) {
        problem = shown(a.text(), "a place") + " is named twice";
        return false;
      }
      out_.places.push_back(std::move(a));
    }
    return true;
  }

  bool path(std::string& problem) {
    auto text = rest_.substr(0, rest_.find('?'));
    rest_.remove_prefix(text.size());
    if (text.starts_with('/')) text.remove_prefix(1);
    if (text.ends_with('/')) text.remove_suffix(1);
    if (out_.what == store_url::kind::sentinel) {
      const auto master = decoded(text.substr(0, text.find('/')));
      if (!master) {
        problem = "the name of the master is not percent-encoded";
        return false;
      }
      out_.master = master->empty() ? "mymaster" : *master;
      const auto odd = [](char c) { return c <= ' ' || c >= '\x7f'; };
      if (std::any_of(out_.master.begin(), out_.master.end(), odd)) {
        problem = "the name of the master has a space in it";
        return false;
      }
      const auto slash = text.find('/');
      text = slash == std::string_view::npos ? std::string_view() : text.substr(slash + 1);
    }
    return text.empty() || database(text, problem);
  }

  bool database(std::string_view text, std::string& problem) {
    const auto number = database_number(text);
    if (!number) {
      problem = "the database " + shown(text, "in it") + " is not a number";
      return false;
    }
    if (database_given_ && out_.database != *number) {
      problem = "names two databases";
      return false;
    }
    database_given_ = true;
    out_.database = *number;
    return true;
  }

  bool query(std::string& problem) {
    if (rest_.empty()) return true;
    rest_.remove_prefix(1);
    std::string text;  // a copy: Boost 1.81 looks for a zero byte at its end
    for (const char c : rest_) {
      // A hash tag is written as people write it.
      if (c == '{' || c == '}') {
        text += c == '{' ? "%7B" : "%7D";
      } else {
        text += c;
      }
    }
    const auto parameters = boost::urls::parse_query(text);
    if (!parameters) {
      problem = "the part after '?' is not name=value&...";
      return false;
    }
    std::vector<std::string> seen;
    for (const auto& p : *parameters) {
      const auto name = decoded({p.key.data(), p.key.size()});
      const auto value = decoded({p.value.data(), p.value.size()});
      if (!name || !value || name->empty()) {
        problem = "the part after '?' is not name=value&...";
        return false;
      }
      if (std::find(seen.begin(), seen.end(), *name) != seen.end()) {
        problem = "the parameter " + shown(*name, "after '?'") + " is given twice";
        return false;
      }
      seen.push_back(*name);
      if (!parameter(*name, *value, problem)) return false;
    }
    return true;
  }

  bool parameter(const std::string& name, const std::string& value, std::string& problem) {
    if (name == "db") return database(value, problem);
    if (name == "sentinel-user") {
      out_.sentinel_login.user = value;
    } else if (name == "sentinel-password") {
      out_.sentinel_login.password = value;
      out_.sentinel_login.given = true;
    } else if (name == "ca") {
      out_.tls.ca_file = value;
    } else if (name == "cert") {
      out_.tls.cert_file = value;
    } else if (name == "key") {
      out_.tls.key_file = value;
    } else if (name == "insecure") {
      if (value != "true" && value != "false") {
        problem = "insecure is true or false";
        return false;
      }
      out_.tls.verify = value == "false";
    } else if (name == "name") {
      const auto odd = [](char c) { return c <= ' ' || c >= '\x7f'; };
      if (value.empty() || std::any_of(value.begin(), value.end(), odd)) {
        problem = "name must be letters without spaces";
        return false;
      }
      out_.client_name = value;
    } else if (name == "prefix") {
      out_.prefix = value;
    } else if (name == "own-prefix") {
      out_.own_prefix = value;
    } else if (name == "connect-timeout") {
      double seconds = 0;
      const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (ec != std::errc() || end != value.data() + value.size() || !(seconds >= 0.01 && seconds <= 60)) {
        problem = "connect-timeout is a number of seconds from 0.01 to 60";
        return false;
      }
      out_.connect_timeout = std::chrono::round<duration>(std::chrono::duration<double>(seconds));
    } else {
      out_.others.emplace_back(name, value);
    }
    return true;
  }

  bool whole(std::string& problem) {
    using kind = store_url::kind;
    const auto refuse = [&](std::string_view why) {
      problem = why;
      return false;
    };
    if (out_.what == kind::single && out_.places.size() > 1)
      return refuse(
          "redis:// names one server; for several there are redis+sentinel://, redis+cluster:// and "
          "redlock://");
    if (out_.what == kind::cluster && out_.database != 0) return refuse("a Cluster has database 0 only");
    if (out_.what == kind::redlock && out_.places.size() % 2 == 0)
      return refuse("redlock:// needs an odd number of servers: one more makes no failure more bearable");
    if (!out_.sentinel_login.user.empty() && !out_.sentinel_login.given)
      return refuse("sentinel-user needs sentinel-password");
    if (out_.what != kind::sentinel && out_.sentinel_login.given)
      return refuse("sentinel-password is for redis+sentinel:// only");
    const auto& t = out_.tls;
    if (!t.on && (!t.ca_file.empty() || !t.cert_file.empty() || !t.key_file.empty() || !t.verify))
      return refuse("ca, cert, key and insecure are for TLS: rediss://");
    if (t.cert_file.empty() != t.key_file.empty()) return refuse("cert and key belong together");
    if (!t.verify && !t.ca_file.empty()) return refuse("insecure would leave ca without effect");
    return true;
  }

  std::string_view rest_, authority_;
  const bool hides_;
  bool database_given_ = false;
  store_url out_;
};

}  // namespace

std::string store_url::display() const {
  std::string out;
  for (const auto& s : schemes)
    if (s.what == what && s.tls == tls.on) out = s.name;
  out += "://";
  for (std::size_t i = 0; i < places.size(); ++i) out += (i ? "," : "") + places[i].text();
  if (what == kind::sentinel) out += "/" + master;
  if (what != kind::cluster && database != 0) out += "/" + std::to_string(database);
  return out;
}

result<store_url> parse_store_url(std::string_view url) {
  return parser(url).parse();
}

}  // namespace dislock::redis
