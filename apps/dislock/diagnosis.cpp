#include "diagnosis.hpp"

#include "wording.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>
#include <netdb.h>
#include <poll.h>
#include <set>
#include <unistd.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

duration since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration_cast<duration>(std::chrono::steady_clock::now() - t);
}

int milliseconds(duration d) {
  return static_cast<int>(
      std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::milliseconds>(d).count()));
}

// A connected socket, or why there is none.
struct connection {
  int socket = -1;
  std::string failure;
};
connection connect_to(const addrinfo& to, duration patience) {
  const int s = ::socket(to.ai_family, to.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to.ai_protocol);
  if (s < 0) return {-1, std::strerror(errno)};
  int why = 0;
  if (connect(s, to.ai_addr, to.ai_addrlen) != 0) {
    why = errno;
    if (why == EINPROGRESS) {
      pollfd open{s, POLLOUT, 0};
      socklen_t size = sizeof why;
      why = 0;
      if (poll(&open, 1, milliseconds(patience)) <= 0)
        why = ETIMEDOUT;
      else
        getsockopt(s, SOL_SOCKET, SO_ERROR, &why, &size);
    }
  }
  if (why == 0) return {s, {}};
  close(s);
  return {-1, std::strerror(why)};
}

}  // namespace

std::vector<endpoint> endpoints_of(std::string_view url) {
  std::vector<endpoint> out;
  if (!url.starts_with("http://") && !url.starts_with("https://")) return out;
  const std::string default_port = url.starts_with("https://") ? "443" : "80";
  url.remove_prefix(url.find("://") + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  while (!url.empty()) {
    auto one = url.substr(0, url.find(','));
    url = one.size() < url.size() ? url.substr(one.size() + 1) : std::string_view{};
    if (const auto scheme = one.find("://"); scheme != std::string_view::npos) one.remove_prefix(scheme + 3);
    if (const auto at = one.rfind('@'); at != std::string_view::npos) one.remove_prefix(at + 1);
    endpoint e{.host = std::string(one), .port = default_port};
    const auto bracket = one.find(']');
    const auto colon = one.find(':', bracket == std::string_view::npos ? 0 : bracket);
    if (colon != std::string_view::npos) {
      e.host = one.substr(0, colon);
      e.port = one.substr(colon + 1);
    }
    if (e.host.starts_with('[') && e.host.ends_with(']')) e.host = e.host.substr(1, e.host.size() - 2);
    out.push_back(std::move(e));
  }
  return out;
}

std::optional<plain_reply> plain_reply_from(std::string_view text) {
  const auto head_end = text.find("\r\n\r\n");
  if (head_end == std::string_view::npos || !text.starts_with("HTTP/1.") || text.size() < 12)
    return std::nullopt;
  plain_reply out;
  const auto [end, wrong] = std::from_chars(text.data() + 9, text.data() + 12, out.status);
  if (wrong != std::errc{}) return std::nullopt;
  auto head = text.substr(0, head_end);
  while (!head.empty()) {
    const auto line_end = head.find("\r\n");
    const auto line = head.substr(0, line_end);
    if (const auto colon = line.find(": "); colon != std::string_view::npos)
      out.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
    head = line_end == std::string_view::npos ? std::string_view{} : head.substr(line_end + 2);
  }
  out.body = text.substr(head_end + 4);
  return out;
}

plain_get get_plainly(const endpoint& from, std::string_view path, duration patience) {
  plain_get out;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int wrong = getaddrinfo(from.host.c_str(), from.port.c_str(), &hints, &found); wrong != 0) {
    out.resolve_failure = gai_strerror(wrong);
    return out;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  auto began = std::chrono::steady_clock::now();
  connection to;
  for (const auto* a = addresses.get(); a && to.socket < 0; a = a->ai_next) to = connect_to(*a, patience);
  out.connect_took = since(began);
  if (to.socket < 0) {
    out.connect_failure = to.failure;
    return out;
  }
  const auto host = from.host.find(':') == std::string::npos ? from.host : "[" + from.host + "]";
  const auto request = "GET " + std::string(path) + " HTTP/1.1\r\nHost: " + host + ":" + from.port +
                       "\r\nConnection: close\r\n\r\n";
  began = std::chrono::steady_clock::now();
  out.sent_at = wall_now();
  std::string text;
  if (send(to.socket, request.data(), request.size(), MSG_NOSIGNAL) < 0)
    out.http_failure = std::strerror(errno);
  while (out.http_failure.empty() && text.size() < 65'536) {
    const auto left = patience - since(began);
    pollfd open{to.socket, POLLIN, 0};
    if (left <= 0ms || poll(&open, 1, milliseconds(left)) <= 0) {
      if (text.empty()) out.http_failure = "no answer in " + in_words(patience);
      break;
    }
    char buffer[4096];
    const auto size = recv(to.socket, buffer, sizeof buffer, 0);
    if (size < 0 && text.empty()) out.http_failure = std::strerror(errno);
    if (size <= 0) break;
    if (text.empty()) {
      out.received_at = wall_now();
      out.answer_took = since(began);
    }
    text.append(buffer, static_cast<std::size_t>(size));
  }
  close(to.socket);
  out.reply = plain_reply_from(text);
  if (!out.reply && out.http_failure.empty())
    out.http_failure =
        text.empty() ? "the connection was closed without an answer" : "the answer is not HTTP";
  return out;
}

diagnosis judge_round_trips(duration p50, duration p99, duration ttl) {
  diagnosis out{.what = "round trips", .found = "p50 " + in_words(p50) + ", p99 " + in_words(p99)};
  const auto renewal = ttl / 3;
  if (p99 > renewal) {
    out.how = verdict::failure;
    out.hint = "a renewal may come too late: with a ttl of " + in_words(ttl) + " it is due every " +
               in_words(renewal) + "; take a longer --ttl";
  } else if (p99 > renewal / 10) {
    out.how = verdict::warning;
    out.hint =
        "an answer can take more than a tenth of the time between two renewals (" + in_words(renewal) + ")";
  }
  return out;
}

diagnosis judge_clock(std::string_view date, wall_time sent_at, wall_time received_at) {
  diagnosis out{.what = "clock"};
  std::tm day{};
  if (date.empty() || !strptime(std::string(date).c_str(), "%a, %d %b %Y %H:%M:%S", &day)) {
    out.found = "the service did not say what time it is";
    return out;
  }
  // The service's time was somewhere in this second, or in the next one if it does not format its Date for
  // each reply; ours was somewhere between sending and receiving.
  const wall_time begin = wall_time(std::chrono::seconds(timegm(&day))), end = begin + 2s;
  duration off{};
  if (begin > received_at) off = begin - received_at;
  if (end < sent_at) off = end - sent_at;
  out.found = off == duration::zero() ? "no difference that the Date header could show"
                                      : "the service is " + in_words(off < duration::zero() ? -off : off) +
                                            (off > duration::zero() ? " ahead" : " behind");
  if (off > 2s || off < -2s) {
    out.how = verdict::warning;
    out.hint = "leases do not depend on it, but the times that are shown do";
  }
  return out;
}

diagnosis judge_server(const plain_reply& reply) {
  diagnosis out{.what = "HTTP", .found = "status " + std::to_string(reply.status)};
  const auto server = reply.headers.find("server");
  if (server != reply.headers.end() && server->second.find("AirTunes") != std::string::npos) {
    out.how = verdict::failure;
    out.found = "AirPlay answers on this port";
    out.hint = "macOS has AirPlay on port 5000: switch it off, or run dislockd with --port 5001";
  } else if (reply.body.find("\"draining\"") == std::string::npos) {
    out.how = verdict::failure;
    out.found += ", but not from a dislockd";
    out.hint = "another program has this port; look at --addr";
  } else if (reply.status != 200) {
    out.how = verdict::failure;
    out.found += ": " + reply.body;
    out.hint = "the service runs but cannot decide; its log says why";
  } else if (reply.body.find("\"draining\":true") != std::string::npos) {
    out.how = verdict::warning;
    out.found += ", it is shutting down";
  }
  return out;
}

diagnosis judge_engine(const engine_info& about) {
  diagnosis out{.what = "engine", .found = about.engine + ", class " + std::string(1, about.guarantee)};
  out.found += about.durable ? ", durable" : ", not durable";
  out.found += about.durable_fence ? ", durable fence" : "";
  if (about.engine == "redlock") {
    if (about.durable_fence) return out;
    out.how = verdict::warning;
    out.hint =
        "tokens can repeat if a majority of the servers crashes: appendonly yes and appendfsync always keep "
        "them";
  } else if (!about.durable) {
    out.how = verdict::warning;
    out.hint = about.engine == "redis"
                   ? "a restart of Redis forgets every lock; its setting appendonly keeps them"
                   : "locks are lost when the service ends; dislockd --engine embedded:/path keeps them";
  } else if (!about.failover_safe_exclusion && about.guarantee != 'A') {
    out.how = verdict::warning;
    out.hint = "a failover can give a lock to two: let what you write to check the fencing token";
  }
  return out;
}

std::vector<diagnosis> judge_environment(const environment& env) {
  std::vector<diagnosis> out;
  for (const auto& [name, value] : env)
    if ((name == "REDIS_PORT" || name == "DISLOCK_PORT") && value.starts_with("tcp://"))
      out.push_back(
          {"environment", verdict::warning, name + "=" + harmless(value),
           "Kubernetes sets this for a Service of that name; dislockd accepts it, other programs may not"});
  const auto url = env.find("DISLOCK_URL"), addr = env.find("DISLOCK_ADDR");
  if (url != env.end() && addr != env.end() && url->second != addr->second)
    out.push_back({"environment", verdict::warning, "DISLOCK_URL and DISLOCK_ADDR differ",
                   "DISLOCK_URL counts; dislock config explain shows it"});
  static const std::set<std::string, std::less<>> known{
      "DISLOCK_URL",       "DISLOCK_ADDR",          "DISLOCK_OUTPUT",           "DISLOCK_TIMEOUT",
      "DISLOCK_CLIENT_ID", "DISLOCK_LOCK_HELD",     "DISLOCK_LOCK_NAME",        "DISLOCK_LOCK_MODE",
      "DISLOCK_LOCK_ID",   "DISLOCK_FENCING_TOKEN", "DISLOCK_LEASE_EXPIRES_AT", "DISLOCK_LOST_FD",
      "DISLOCK_ELECTION",  "DISLOCK_ELECTION_VALUE"};
  const std::vector<std::string> names(known.begin(), known.end());
  for (const auto& [name, value] : env) {
    if (!name.starts_with("DISLOCK_") || known.contains(name)) continue;
    // Others of this prefix are dislockd's, or Kubernetes'; only what is nearly ours is worth a word.
    if (const auto close = nearest(name, names);
        close && name.size() + 1 >= close->size() && close->size() + 1 >= name.size())
      out.push_back(
          {"environment", verdict::warning, name + " is not known here", "did you mean " + *close + "?"});
  }
  return out;
}

}  // namespace dislock::cli
