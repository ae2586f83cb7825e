// A client over `memory:` whose time the test moves: everything happens on the test's thread, at once.
#pragma once

#include "library/core.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dislock::library {

using namespace std::chrono_literals;

class moved_client : public testing::Test {
 protected:
  explicit moved_client(client_options options = {})
      : core_(open(std::move(options), time_)), locks_(core::make_client(core_)) {}

  /// An acquire that somebody waits for elsewhere.
  struct call {
    std::optional<result<std::vector<lease>>> outcome;
    [[nodiscard]] bool open() const { return !outcome; }
    [[nodiscard]] bool got() const { return outcome && *outcome; }
    [[nodiscard]] lease& mine() { return outcome->value().front(); }
    [[nodiscard]] errc code() const { return got() || open() ? errc{} : outcome->error().code; }
  };
  std::shared_ptr<call> start(std::vector<lock_request> wanted, bool multi, acquire_options options = {}) {
    auto made = std::make_shared<call>();
    core_->acquire(std::move(wanted), multi, false, std::move(options),
                   [made](result<std::vector<lease>> out) { made->outcome.emplace(std::move(out)); });
    return made;
  }
  std::shared_ptr<call> start(std::string_view lock, acquire_options options = {}) {
    lock_request one{std::string(lock), options.mode, options.limit, options.permits};
    return start({std::move(one)}, false, std::move(options));
  }
  lease take(std::string_view lock, acquire_options options = {}) {
    return locks_.acquire(lock, std::move(options)).value();
  }
  [[nodiscard]] bool is_free(std::string_view lock) { return !locks_.is_locked(lock).value(); }
  void drop_client() {
    core_.reset();
    client last(std::move(locks_));
  }

  manual_clock time_;
  std::shared_ptr<core> core_;
  client locks_;

 private:
  static std::shared_ptr<core> open(client_options options, manual_clock& time) {
    options.time = &time;
    return core::open("memory:", std::move(options)).value();
  }
};

}  // namespace dislock::library
