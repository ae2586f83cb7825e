// A remote backend as its core would use it, and calls that wait for their outcome.
#pragma once

#include "library/remote/remote_backend.hpp"
#include "library/remote/test_strand.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dislock::library {

using namespace std::chrono_literals;

/// The outcome of a call that may still be under way.
template <class T>
class pending {
 public:
  explicit pending(std::future<result<T>> f) : future_(std::move(f)) {}
  /// Waits for it, at most 20 s.
  result<T> get() {
    if (future_.wait_for(20s) == std::future_status::ready) return future_.get();
    ADD_FAILURE() << "a call did not end";
    error none;
    none.code = errc::internal_error;
    return none;
  }
  [[nodiscard]] bool over(duration within = {}) const {
    return future_.wait_for(within) == std::future_status::ready;
  }

 private:
  std::future<result<T>> future_;
};

class test_remote {
 public:
  explicit test_remote(const std::string& url, client_options options = {}) {
    auto opened = open_remote_backend(url, options, on_);
    if (opened) {
      backend_ = std::move(*opened);
    } else {
      why_ = opened.error();
    }
  }
  ~test_remote() {
    if (backend_) stop();
  }

  [[nodiscard]] const error& why() const noexcept { return why_; }
  [[nodiscard]] bool open() const noexcept { return backend_ != nullptr; }
  [[nodiscard]] strand& on() noexcept { return on_; }
  [[nodiscard]] backend& where() noexcept { return *backend_; }
  [[nodiscard]] std::unique_ptr<backend> take() noexcept { return std::move(backend_); }

  void stop() {
    std::promise<void> done;
    auto stopped = done.get_future();
    on_.run([&] { backend_->stop([&done] { done.set_value(); }); });
    EXPECT_EQ(stopped.wait_for(20s), std::future_status::ready) << "it did not stop";
    backend_.reset();
  }

  /// Starts `ask(backend&, completion)` in the strand.
  template <class T, class Ask>
  pending<T> begin(Ask ask) {
    auto told = std::make_shared<std::promise<result<T>>>();
    pending<T> out(told->get_future());
    on_.run([&] { ask(*backend_, completion<T>([told](result<T> r) { told->set_value(std::move(r)); })); });
    return out;
  }
  template <class T, class Ask>
  result<T> ask(Ask ask) {
    return begin<T>(std::move(ask)).get();
  }

  // What the tests ask for most.

  [[nodiscard]] static acquire_call wanting(std::string lock, std::string client, duration wait = {},
                                            duration ttl = 30s) {
    acquire_call c;
    c.client = std::move(client);
    c.request = "request-" + std::to_string(++requests_);
    c.locks.emplace_back().name = std::move(lock);
    c.wait = wait;
    c.ttl = ttl;
    return c;
  }
  pending<granted_leases> begin_acquire(acquire_call c, call_number* number = nullptr) {
    return begin<granted_leases>([&](backend& b, auto done) {
      const auto n = b.acquire(std::move(c), std::move(done));
      if (number) *number = n;
    });
  }
  result<granted_leases> acquire(acquire_call c) { return begin_acquire(std::move(c)).get(); }
  result<granted_leases> acquire(std::string lock, std::string client, duration wait = {}) {
    return acquire(wanting(std::move(lock), std::move(client), wait));
  }
  result<void> release(const granted_lease& l, std::string client, duration patience = 5s) {
    return ask<void>([&](backend& b, auto done) {
      b.release({l.lock, std::move(client), l.id}, "release-" + std::to_string(++requests_),
                later(b.now(), patience), std::move(done));
    });
  }
  result<void> cancel(const acquire_call& c) {
    return ask<void>([&](backend& b, auto done) {
      b.cancel(c.locks[0].name, c.multi, c.client, c.request, std::move(done));
    });
  }
  lock_state inspect(std::string lock) {
    auto s = ask<lock_state>([&](backend& b, auto done) { b.inspect(std::move(lock), std::move(done)); });
    if (s) return *s;
    ADD_FAILURE() << "inspect: " << to_string(s.error().code) << " " << s.error().detail;
    return {};
  }
  /// Until `count` wait for the lock: at most 20 s.
  void until_waiting(const std::string& lock, std::size_t count) {
    const auto limit = later(on_.now(), 20s);
    while (inspect(lock).queue_length != count) {
      if (on_.now() > limit) {
        ADD_FAILURE() << "not " << count << " clients wait for " << lock;
        return;
      }
      std::this_thread::yield();
    }
  }

 private:
  static inline std::atomic<int> requests_{0};
  test_strand on_;
  error why_;
  std::unique_ptr<backend> backend_;
};

[[nodiscard]] inline errc code_of(const auto& failed) {
  if (!failed) return failed.error().code;
  ADD_FAILURE() << "it succeeded";
  return errc::internal_error;
}

}  // namespace dislock::library
