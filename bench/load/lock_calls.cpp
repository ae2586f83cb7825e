#include "lock_calls.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <random>
#include <stdexcept>
#include <unistd.h>

namespace dislock::load {
namespace {

using namespace std::chrono_literals;

// Nine digits, because etcd wants names in base64: nine bytes are twelve characters of it, on their own.
constexpr std::size_t number_width = 9;
constexpr std::size_t encoded_number_width = 12;
constexpr std::size_t request_width = 12;

// What stands in a fresh message where digits will be written. No such run occurs in a prefix.
constexpr std::string_view name_mark = "NNNNNNNNN";
constexpr std::string_view encoded_name_mark = "NNNNNNNNNNNN";
constexpr std::string_view client_mark = "CCCCCCCCC";
constexpr std::string_view request_mark = "RRRRRRRRRRRR";

void write_digits(char* at, std::size_t width, std::uint64_t value) noexcept {
  for (std::size_t i = width; i-- > 0; value /= 10) at[i] = static_cast<char>('0' + value % 10);
}

std::string base64(std::string_view text) {
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 3 != 0) throw std::logic_error("base64 without padding needs a multiple of three bytes");
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 3) {
    const auto byte = [&](std::size_t k) {
      return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i + k]));
    };
    const auto bits = byte(0) << 16U | byte(1) << 8U | byte(2);
    for (const auto shift : {18U, 12U, 6U, 0U}) out += alphabet[bits >> shift & 63U];
  }
  return out;
}

std::string seconds_text(std::chrono::milliseconds duration) {
  auto text = std::to_string(duration.count() / 1000);
  if (duration.count() % 1000 != 0) text += "." + std::to_string(1000 + duration.count() % 1000).substr(1);
  return text;
}

std::string post(const std::string& host, const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: " + host +
         "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

}  // namespace

lock_calls::lock_calls(const call_options& options, std::uint64_t client, std::uint64_t etcd_lease)
    : options_(options) {
  if (options.target == target_kind::etcd) {
    acquire_ = post(options.host, "/v3/lock/lock",
                    R"({"name":")" + base64(options.prefix) + std::string(encoded_name_mark) +
                        R"(","lease":")" + std::to_string(etcd_lease) + "\"}");
    acquire_name_ = acquire_.find(encoded_name_mark);
    return;
  }
  client_id_ = options.prefix + std::string(client_mark);
  std::string body = R"({"clientId":")" + client_id_ + R"(","timeout":)" + seconds_text(options.timeout);
  if (options.wait) body += R"(,"waitTimeout":)" + seconds_text(*options.wait);
  if (options.request_ids) body += R"(,"requestId":")" + options.prefix + std::string(request_mark) + '"';
  body += '}';
  lock_path_ = "/locks/" + options.prefix + std::string(name_mark);
  acquire_ = post(options.host, lock_path_ + "/acquire", body);
  acquire_name_ = acquire_.find(name_mark);
  acquire_client_ = acquire_.find(client_mark);
  acquire_request_ = acquire_.find(request_mark);
  write_digits(acquire_.data() + acquire_client_, number_width, client);
  client_id_ = acquire_.substr(acquire_client_ - options.prefix.size(), options.prefix.size() + number_width);
}

std::string_view lock_calls::acquire(std::uint64_t name, std::uint64_t request) {
  name_ = name;
  if (options_.target == target_kind::etcd) {
    std::array<char, number_width> digits;
    write_digits(digits.data(), digits.size(), name);
    base64({digits.data(), digits.size()}).copy(acquire_.data() + acquire_name_, encoded_number_width);
    return acquire_;
  }
  write_digits(acquire_.data() + acquire_name_, number_width, name);
  if (options_.request_ids) write_digits(acquire_.data() + acquire_request_, request_width, request);
  return acquire_;
}

std::string_view lock_calls::acquire_as(std::uint64_t client, std::uint64_t name, std::uint64_t request) {
  write_digits(acquire_.data() + acquire_client_, number_width, client);
  return acquire(name, request);
}

bool lock_calls::learn_grant(std::string_view body) {
  const auto id = find_string(body, options_.target == target_kind::etcd ? R"("key")" : R"("lockId")");
  if (!id) return false;
  if (id->size() != grant_id_size_) {
    build_release(*id);
  } else {
    id->copy(release_.data() + release_grant_, grant_id_size_);
  }
  return true;
}

void lock_calls::build_release(std::string_view grant_id) {
  grant_id_size_ = grant_id.size();
  if (options_.target == target_kind::etcd) {
    release_ = post(options_.host, "/v3/lock/unlock", R"({"key":")" + std::string(grant_id) + "\"}");
    release_grant_ = release_.rfind(grant_id);
    return;
  }
  std::string body = R"({"clientId":")" + client_id_ + R"(","lockId":")" + std::string(grant_id) + '"';
  if (options_.request_ids) body += R"(,"requestId":")" + options_.prefix + std::string(request_mark) + '"';
  body += '}';
  release_ = post(options_.host, lock_path_ + "/release", body);
  release_name_ = release_.find(name_mark);
  release_grant_ = release_.rfind(R"("lockId":")" + std::string(grant_id)) + 10;
  release_request_ = release_.rfind(request_mark);
}

std::string_view lock_calls::release(std::uint64_t request) {
  if (options_.target == target_kind::etcd) return release_;
  write_digits(release_.data() + release_name_, number_width, name_);
  if (options_.request_ids) write_digits(release_.data() + release_request_, request_width, request);
  return release_;
}

std::string fresh_prefix() {
  std::random_device random;
  std::string prefix = "bench-";
  // Lower-case letters only, so that no mark can occur; twelve bytes in all, a multiple of three (base64).
  for (int i = 0; i < 5; ++i) prefix += static_cast<char>('a' + random() % 26);
  return prefix + '-';
}

std::optional<clock::duration> back_off(const http_reply& reply) {
  if (reply.status != 503 && reply.status != 429) return std::nullopt;
  const auto asked = retry_after(reply);
  if (!asked) return 50ms;
  return std::min<clock::duration>(std::chrono::seconds(std::min<std::uint64_t>(*asked, 5)), 5s);
}

std::string error_name(const http_reply& reply) {
  const auto code = find_string(reply.body, R"("code")");
  return code ? std::to_string(reply.status) + " " + std::string(*code) : std::to_string(reply.status);
}

std::uint64_t grant_etcd_lease(const endpoint& server, std::chrono::seconds ttl) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.port);
  inet_pton(AF_INET, server.address.c_str(), &address.sin_addr);
  const auto request =
      post(server.host(), "/v3/lease/grant", R"({"TTL":)" + std::to_string(ttl.count()) + "}");
  std::string bytes;
  http_reply reply;
  // NOLINTNEXTLINE(*-reinterpret-cast): the socket interface is declared that way
  if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
    std::array<char, 4096> piece;
    while (parse_reply(bytes, reply).state == parse_state::incomplete) {
      const auto received = ::recv(fd, piece.data(), piece.size(), 0);
      if (received <= 0) break;
      bytes.append(piece.data(), static_cast<std::size_t>(received));
    }
  }
  if (fd >= 0) ::close(fd);
  const auto lease = find_number(reply.body, R"("ID")");
  if (!lease) throw std::runtime_error("etcd granted no lease at " + server.host());
  return *lease;
}

}  // namespace dislock::load
