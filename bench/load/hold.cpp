#include "modes.hpp"

#include <cstdio>
#include <vector>

namespace dislock::load {
namespace {

constexpr std::uint64_t progress_step = 100'000;

class hold_driver final : public driver {
 public:
  hold_driver(const run_options& options, std::uint64_t locks, std::uint64_t clients)
      : loop_(options.server), locks_(locks), clients_(clients) {
    callers_.reserve(options.connections);
    for (unsigned i = 0; i < options.connections; ++i) {
      loop_.add();
      callers_.emplace_back(lock_calls(options.calls, i));
    }
  }

  json_object run() {
    watch_.start();
    loop_.run(*this);
    json_object out;
    add_common(out, watch_, held_, loop_.errors());
    out.add("held", held_).add("latency", latency_);
    return out;
  }

 private:
  struct caller {
    explicit caller(lock_calls requests) : calls(std::move(requests)) {}
    lock_calls calls;
    clock::time_point asked{};
  };

  void on_open(connection& peer) override { take_next(peer, clock::now()); }

  void on_reply(connection& peer, const http_reply& reply, clock::time_point now) override {
    if (const auto delay = back_off(reply)) {
      ++loop_.errors()[error_name(reply)];
      return loop_.resend(peer, *delay);
    }
    ++answered_;
    if (reply.ok()) {
      ++held_;
      latency_.record(now - callers_[peer.index()].asked);
      if (held_ % progress_step == 0)
        std::fprintf(stderr, "%llu locks held\n", static_cast<unsigned long long>(held_));
    } else {
      ++loop_.errors()[error_name(reply)];
    }
    if (answered_ == locks_) {
      watch_.stop();
      return loop_.stop();
    }
    take_next(peer, now);
  }

  void take_next(connection& peer, clock::time_point now) {
    if (next_ == locks_) return;
    auto& me = callers_[peer.index()];
    me.asked = now;
    loop_.send(peer, me.calls.acquire_as(next_ % clients_, next_, next_));
    ++next_;
  }

  event_loop loop_;
  std::uint64_t locks_;
  std::uint64_t clients_;
  std::vector<caller> callers_;
  stopwatch watch_;
  histogram latency_;
  std::uint64_t next_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t held_ = 0;
};

}  // namespace

json_object run_hold(const run_options& options, std::uint64_t locks, std::uint64_t clients) {
  return hold_driver(options, locks, clients).run();
}

}  // namespace dislock::load
