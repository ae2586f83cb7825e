// What the tests of clients over real stores share.
#pragma once

#include "dislock/client.hpp"
#include "engines/redis/wire/test_redis.hpp"

#include <gtest/gtest.h>

#include <string>

namespace dislock::library {

using namespace std::chrono_literals;

inline client_options impatient() {
  client_options out;
  out.connect_timeout = 300ms;
  out.request_timeout = 500ms;
  return out;
}
inline acquire_options with_wait(duration wait) {
  acquire_options out;
  out.wait = wait;
  return out;
}
inline acquire_options with_ttl(duration ttl) {
  acquire_options out;
  out.ttl = ttl;
  return out;
}
template <class T>
errc code_of(const result<T>& r) {
  if (!r) return r.error().code;
  ADD_FAILURE() << "it succeeded";
  return errc::internal_error;
}
template <class T>
std::string detail_of(const result<T>& r) {
  if (!r) return r.error().detail;
  ADD_FAILURE() << "it succeeded";
  return {};
}
inline void until_waiting(client& locks, const std::string& lock, std::size_t count) {
  EXPECT_TRUE(redis::comes_true([&] { return locks.inspect(lock).value().queue_length == count; }));
}
inline bool nothing_is_locked(client& locks) {
  return redis::comes_true([&] {
    const auto left = locks.list();
    return left && left->empty();
  });
}

}  // namespace dislock::library
