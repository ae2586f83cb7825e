#include "modes.hpp"
#include "queue_gate.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

namespace dislock::load {
namespace {

using namespace std::chrono_literals;

constexpr auto count_interval = 1ms;
constexpr auto queue_patience = 60s;
constexpr auto drain_limit = 10s;
constexpr std::size_t max_confirmed_rounds =
    200;  // grants after the first round; each costs three round trips

/// Checks, grant by grant, that the queue of one lock is first in, first out, and that its tokens grow.
///
/// While places are confirmed (the server counted a waiter before the next one was sent) any deviation is a
/// fault. At full speed several requests are on the way at once, and the order in which a server reads its
/// sockets is not quite the order in which we wrote to them: there a request may jump over the few that were
/// on the way with it, and over no more. Counting them, rather than microseconds, makes the verdict
/// independent of how long either process was off its core.
class order_judge {
 public:
  struct request {
    clock::time_point began{};
    clock::time_point ended{};
  };

  explicit order_judge(std::size_t clients) : sent_(clients, not_waiting), predecessor_(clients, none) {}

  void waits(std::size_t client, const request& asked) { sent_[client] = asked.ended; }

  void granted(std::size_t client, const request& asked, std::uint64_t token, bool places_confirmed) {
    if (token <= last_token_) ++token_steps_back_;
    last_token_ = token;

    // Those who still wait although they had sent everything before this one began.
    sent_[client] = not_waiting;
    const auto jumped_over =
        std::count_if(sent_.begin(), sent_.end(), [&](clock::time_point sent) { return sent < asked.began; });
    if (jumped_over > 0) ++(places_confirmed ? confirmed_inversions_ : inversions_in_flight_);
    most_jumped_over_ = std::max(most_jumped_over_, static_cast<std::uint64_t>(jumped_over));
    if (!places_confirmed) return;

    // All clients queue again in the order of their grants, so everyone always follows the same one.
    ++confirmed_grants_;
    if (last_client_ != none) {
      if (predecessor_[client] != none && predecessor_[client] != last_client_) ++cycle_breaks_;
      predecessor_[client] = last_client_;
    }
    last_client_ = client;
  }

  void report(json_object& out) const {
    const bool exact = confirmed_inversions_ == 0 && cycle_breaks_ == 0 && token_steps_back_ == 0 &&
                       most_jumped_over_ <= max_in_flight;
    json_object order;
    order.add("fifoExact", exact)
        .add("confirmedGrants", confirmed_grants_)
        .add("confirmedInversions", confirmed_inversions_)
        .add("confirmedCycleBreaks", cycle_breaks_)
        .add("tokenStepsBack", token_steps_back_)
        .add("inversionsInFlight", inversions_in_flight_)
        .add("mostJumpedOver", most_jumped_over_);
    out.add("order", order);
  }

 private:
  static constexpr auto not_waiting = clock::time_point::max();
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  // One client has just released, the next is releasing, and one or two replies are unread on either side.
  static constexpr std::uint64_t max_in_flight = 8;

  std::vector<clock::time_point> sent_;  // by client, while it waits
  std::vector<std::size_t> predecessor_;
  std::size_t last_client_ = none;
  std::uint64_t last_token_ = 0;
  std::uint64_t confirmed_grants_ = 0;
  std::uint64_t confirmed_inversions_ = 0;
  std::uint64_t cycle_breaks_ = 0;
  std::uint64_t token_steps_back_ = 0;
  std::uint64_t inversions_in_flight_ = 0;
  std::uint64_t most_jumped_over_ = 0;
};

class handoff_driver final : public driver {
 public:
  explicit handoff_driver(const run_options& options)
      : options_(options),
        loop_(options.server),
        gate_(loop_, options.calls, options.connections),
        peer_(loop_.add()),
        judge_(options.connections) {
    clients_.reserve(options.connections);
    for (unsigned i = 0; i < options.connections; ++i) {
      loop_.add();
      clients_.emplace_back(lock_calls(options.calls, i));
    }
  }

  json_object run() {
    loop_.run(*this);
    json_object out;
    add_common(out, watch_, handoffs_, loop_.errors());
    out.add("waiters", std::uint64_t{options_.connections})
        .add("grantsToLatecomers", latecomers_)
        .add("latency", latency_);
    judge_.report(out);
    return out;
  }

 private:
  enum class phase : std::uint8_t { idle, waiting, holding, releasing };
  /// Connections open; the gate takes the lock; clients queue one by one; grants are made one by one, each
  /// after the last owner's new place is confirmed; then all at full speed.
  enum class stage : std::uint8_t { opening, closing_gate, queueing, opening_gate, confirming, running };
  enum tag : int { count_again, queueing_failed, window_opens, window_closes, drain_ends };

  struct client {
    explicit client(lock_calls requests) : calls(std::move(requests)) {}
    lock_calls calls;
    phase now = phase::idle;
    order_judge::request asked{};
  };

  [[nodiscard]] client& of(const connection& peer) { return clients_[peer.index() - 1]; }

  void on_open(connection& peer) override {
    if (&peer != &peer_) peers_.push_back(&peer);
    if (loop_.opened() <= options_.connections) return;
    stage_ = stage::closing_gate;
    gate_.close(peer_);
    loop_.call_at(clock::now() + queue_patience, queueing_failed);
  }

  void on_reply(connection& peer, const http_reply& reply, clock::time_point now) override {
    if (&peer == &peer_) return on_gate(reply);
    auto& me = of(peer);
    if (const auto delay = back_off(reply)) {
      ++loop_.errors()[error_name(reply)];
      return loop_.resend(peer, *delay);
    }
    if (me.now == phase::waiting && reply.status == 202) return loop_.resend(peer);  // the place is kept
    if (me.now == phase::waiting && reply.ok() && me.calls.learn_grant(reply.body)) {
      return on_grant(peer, reply, now);
    }
    if (!reply.ok()) ++loop_.errors()[error_name(reply)];
    enqueue(peer);
  }

  void on_grant(connection& peer, const http_reply& reply, clock::time_point now) {
    auto& me = of(peer);
    const bool confirming = stage_ != stage::running;
    judge_.granted(peer.index() - 1, me.asked, find_number(reply.body, R"("fencingToken")").value_or(0),
                   confirming);
    me.now = phase::holding;
    if (confirming) {
      owner_ = &peer;
      return release_when_confirmed();
    }
    if (measuring_) {
      // Whoever asked after the release was sent was not waiting for it.
      if (me.asked.ended < released_) {
        ++handoffs_;
        latency_.record(now - released_);
      } else {
        ++latecomers_;
      }
    }
    release(peer);
  }

  void release(connection& peer) {
    of(peer).now = phase::releasing;
    released_ = clock::now();
    loop_.send(peer, of(peer).calls.release(next_request_++));
  }

  void release_when_confirmed() {
    if (owner_ == nullptr || !place_confirmed_) return;
    place_confirmed_ = false;
    if (confirmed_++ == clients_.size() + std::min(clients_.size(), max_confirmed_rounds)) start_running();
    release(*std::exchange(owner_, nullptr));
  }

  void start_running() {
    stage_ = stage::running;
    const auto now = clock::now();
    loop_.call_at(now + options_.warm_up, window_opens);
    loop_.call_at(now + options_.warm_up + options_.duration, window_closes);
  }

  void on_resend(connection& peer) override {
    if (&peer == &peer_ || of(peer).now != phase::waiting) return;
    // Its place is now where it arrives, which is nothing that we can know.
    of(peer).asked = {clock::time_point::min(), clock::time_point::max()};
    judge_.waits(peer.index() - 1, of(peer).asked);
  }

  void enqueue(connection& peer) {
    auto& me = of(peer);
    if (draining_) {
      me.now = phase::idle;
      if (++drained_ == clients_.size()) loop_.stop();
      return;
    }
    me.now = phase::waiting;
    const auto message = me.calls.acquire(queue_gate::lock_number, next_request_++);
    me.asked.began = clock::now();
    loop_.send(peer, message);
    me.asked.ended = clock::now();
    judge_.waits(peer.index() - 1, me.asked);
    if (stage_ == stage::confirming) gate_.count(peer_);
  }

  void on_gate(const http_reply& reply) {
    if (const auto delay = back_off(reply)) return loop_.resend(peer_, *delay);
    switch (stage_) {
      case stage::closing_gate:
        if (!gate_.closed_by(reply))
          throw std::runtime_error("the lock to wait for was refused: " + error_name(reply));
        stage_ = stage::queueing;
        enqueue(*peers_[0]);
        gate_.count(peer_);
        break;
      case stage::queueing:
      case stage::confirming:
        on_count(queue_gate::counted_by(reply).value_or(0));
        break;
      case stage::opening_gate:
        if (!reply.ok()) throw std::runtime_error("the first release was refused: " + error_name(reply));
        stage_ = stage::confirming;
        confirm_place();
        break;
      default:
        break;
    }
  }

  void on_count(std::uint64_t queued) {
    const auto expected = stage_ == stage::queueing ? placed_ + 1 : clients_.size() - 1;
    if (queued < expected) return loop_.call_at(clock::now() + count_interval, count_again);
    if (stage_ == stage::confirming) return confirm_place();
    if (++placed_ < peers_.size()) {
      enqueue(*peers_[placed_]);
      return gate_.count(peer_);
    }
    stage_ = stage::opening_gate;
    gate_.open(peer_);
  }

  void confirm_place() {
    place_confirmed_ = true;
    release_when_confirmed();
  }

  void on_timer(int tag, clock::time_point now) override {
    switch (tag) {
      case count_again:
        gate_.count(peer_);
        break;
      case queueing_failed:
        if (stage_ != stage::running) {
          throw std::runtime_error("only " + std::to_string(placed_) + " places and " +
                                   std::to_string(confirmed_) + " grants were confirmed");
        }
        break;
      case window_opens:
        measuring_ = true;
        watch_.start();
        break;
      case window_closes:
        measuring_ = false;
        draining_ = true;
        watch_.stop();
        loop_.call_at(now + drain_limit, drain_ends);
        break;
      default:
        ++loop_.errors()["waiters left without an answer"];
        loop_.stop();
    }
  }

  const run_options& options_;
  event_loop loop_;
  queue_gate gate_;
  connection& peer_;  // of the gate
  order_judge judge_;
  std::vector<client> clients_;
  std::vector<connection*> peers_;  // in the order in which they will queue
  connection* owner_ = nullptr;     // holds the lock until the last owner's new place is confirmed
  stopwatch watch_;
  histogram latency_;
  stage stage_ = stage::opening;
  clock::time_point released_{};
  std::uint64_t handoffs_ = 0;
  std::uint64_t latecomers_ = 0;
  std::uint64_t next_request_ = 0;
  std::size_t placed_ = 0;
  std::size_t confirmed_ = 0;
  std::size_t drained_ = 0;
  bool place_confirmed_ = false;
  bool measuring_ = false;
  bool draining_ = false;
};

}  // namespace

json_object run_handoff(const run_options& options) {
  return handoff_driver(options).run();
}

}  // namespace dislock::load
