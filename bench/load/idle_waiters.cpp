#include "modes.hpp"
#include "queue_gate.hpp"

#include <cstdio>
#include <stdexcept>
#include <unistd.h>
#include <vector>

namespace dislock::load {
namespace {

using namespace std::chrono_literals;

constexpr auto count_interval = 50ms;
constexpr auto queue_patience = 120s;

class idle_waiters_driver final : public driver {
 public:
  explicit idle_waiters_driver(const run_options& options)
      : options_(options),
        loop_(options.server),
        gate_(loop_, options.calls, options.connections),
        peer_(loop_.add()) {
    waiters_.reserve(options.connections);
    for (unsigned i = 0; i < options.connections; ++i) {
      loop_.add();
      waiters_.emplace_back(options.calls, i);
    }
    loop_.watch_input(STDIN_FILENO);
  }

  json_object run() {
    watch_.start();
    loop_.run(*this);
    watch_.stop();
    json_object out;
    add_common(out, watch_, queued_, loop_.errors());
    return out.add("queued", queued_).add("grantedWhileIdle", granted_);
  }

 private:
  enum tag : int { count_again, give_up };

  void on_open(connection& peer) override {
    if (&peer == &peer_) {
      gate_.close(peer);
      loop_.call_at(clock::now() + queue_patience, give_up);
    } else if (closed_) {
      enqueue(peer);
    } else {
      early_.push_back(&peer);
    }
  }

  void on_reply(connection& peer, const http_reply& reply, clock::time_point) override {
    if (&peer == &peer_) return on_gate(reply);
    if (const auto delay = back_off(reply)) {
      ++loop_.errors()[error_name(reply)];
      return loop_.resend(peer, *delay);
    }
    if (reply.status == 202) return loop_.resend(peer);
    if (reply.ok()) {
      ++granted_;
    } else {
      ++loop_.errors()[error_name(reply)];
    }
  }

  void on_gate(const http_reply& reply) {
    if (const auto delay = back_off(reply)) return loop_.resend(peer_, *delay);
    if (!closed_) {
      if (!gate_.closed_by(reply))
        throw std::runtime_error("the lock to wait for was refused: " + error_name(reply));
      closed_ = true;
      for (auto* waiter : early_) enqueue(*waiter);
    } else {
      queued_ = queue_gate::counted_by(reply).value_or(queued_);
      if (queued_ >= options_.connections && !announced_) {
        announced_ = true;
        std::puts(json_object().add("queued", queued_).add("errors", loop_.errors()).text().c_str());
        std::fflush(stdout);
      }
    }
    if (!announced_) loop_.call_at(clock::now() + count_interval, count_again);
  }

  void on_timer(int tag, clock::time_point) override {
    if (tag == count_again) return gate_.count(peer_);
    if (!announced_) {
      throw std::runtime_error("only " + std::to_string(queued_) + " of " +
                               std::to_string(options_.connections) + " waiters are queued");
    }
  }

  void on_input_end() override { loop_.stop(); }

  void enqueue(connection& peer) {
    loop_.send(peer, waiters_[peer.index() - 1].acquire(queue_gate::lock_number, peer.index()));
  }

  const run_options& options_;
  event_loop loop_;
  queue_gate gate_;
  connection& peer_;                // of the gate; the first connection, so that the lock is held early
  std::vector<connection*> early_;  // opened before the lock was held
  std::vector<lock_calls> waiters_;
  stopwatch watch_;
  std::uint64_t queued_ = 0;
  std::uint64_t granted_ = 0;
  bool closed_ = false;
  bool announced_ = false;
};

}  // namespace

json_object run_idle_waiters(const run_options& options) {
  return idle_waiters_driver(options).run();
}

}  // namespace dislock::load
