// What is made of clients, over memory, by a clock that the test moves.
#pragma once

#include "dislock/async_client.hpp"
#include "dislock/client.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <functional>
#include <string_view>
#include <utility>

namespace dislock::library {

using namespace std::chrono_literals;

/// A client whose every acquire is a flow of its own: it competes with itself as processes do with each
/// other.
class conveniences_test : public ::testing::Test {
 protected:
  [[nodiscard]] lock_state state_of(std::string_view lock) { return locks_.inspect(lock).value(); }
  [[nodiscard]] bool is_free(std::string_view lock) {
    const auto state = state_of(lock);
    return !state.locked && state.queue_length == 0;
  }

  manual_clock time_;
  client locks_ = client::connect("memory:", moved_by(time_)).value();
  async_client async_ = locks_.async();

 private:
  [[nodiscard]] static client_options moved_by(manual_clock& time) {
    client_options out;
    out.time = &time;
    return out;
  }
};

/// An executor that does something when the test says so.
class test_executor {
 public:
  [[nodiscard]] executor get() {
    return [this](std::function<void()> work) { work_.push_back(std::move(work)); };
  }
  [[nodiscard]] std::size_t waiting() const noexcept { return work_.size(); }
  void run_all() {
    while (!work_.empty()) {
      auto next = std::move(work_.front());
      work_.pop_front();
      next();
    }
  }

 private:
  std::deque<std::function<void()>> work_;
};

[[nodiscard]] inline acquire_options waiting(duration wait) {
  acquire_options out;
  out.wait = wait;
  return out;
}

template <class T>
[[nodiscard]] errc code_of(const result<T>& r) {
  if (!r) return r.error().code;
  ADD_FAILURE() << "it succeeded";
  return errc::internal_error;
}

}  // namespace dislock::library
