#pragma once

#include "event_loop.hpp"
#include "lock_calls.hpp"

#include <optional>

namespace dislock::load {

/// One lock and one connection that holds it while others queue, and that can ask how many are queued.
///
/// The question is an acquire without waiting, by another client: it is refused with the length of the queue,
/// costs the same however long that is, and once it has counted a waiter that waiter's place is certain.
class queue_gate {
 public:
  queue_gate(event_loop& loop, call_options options, std::uint64_t holder)
      : loop_(loop),
        options_(without_wait(std::move(options))),
        holder_(options_, holder),
        probe_(options_, holder + 1) {}
  queue_gate(const queue_gate&) = delete;
  queue_gate& operator=(const queue_gate&) = delete;

  void close(connection& peer) { loop_.send(peer, holder_.acquire(lock_number, next_request_++)); }
  void count(connection& peer) { loop_.send(peer, probe_.acquire(lock_number, next_request_++)); }
  void open(connection& peer) { loop_.send(peer, holder_.release(next_request_++)); }

  [[nodiscard]] bool closed_by(const http_reply& reply) {
    return reply.ok() && holder_.learn_grant(reply.body);
  }
  [[nodiscard]] static std::optional<std::uint64_t> counted_by(const http_reply& reply) {
    return reply.status == 409 ? find_number(reply.body, R"("queueLength")") : std::nullopt;
  }

  /// The lock that the waiters must name.
  static constexpr std::uint64_t lock_number = 0;

 private:
  static call_options without_wait(call_options options) {
    options.wait.reset();
    return options;
  }

  event_loop& loop_;
  call_options options_;
  lock_calls holder_;
  lock_calls probe_;
  // Away from the waiters' numbers, although a request id belongs to its client anyway.
  std::uint64_t next_request_ = 500'000'000'000;
};

}  // namespace dislock::load
