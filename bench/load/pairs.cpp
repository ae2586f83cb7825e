#include "modes.hpp"

#include <vector>

namespace dislock::load {
namespace {

using namespace std::chrono_literals;

constexpr auto etcd_lease_ttl = 600s;  // longer than any run, so that renewals do not enter the figure
constexpr auto drain_limit = 5s;

class pairs_driver final : public driver {
 public:
  pairs_driver(const run_options& options, std::uint64_t names)
      : options_(options), names_(names), loop_(options.server) {
    callers_.reserve(options.connections);
    for (unsigned i = 0; i < options.connections; ++i) {
      loop_.add();
      const auto lease =
          options.calls.target == target_kind::etcd ? grant_etcd_lease(options.server, etcd_lease_ttl) : 0;
      callers_.emplace_back(lock_calls(options.calls, i, lease));
    }
  }

  json_object run() {
    loop_.run(*this);
    json_object out;
    const auto ops = acquired_.count() + released_.count();
    add_common(out, watch_, ops, loop_.errors());
    out.add("pairs", released_.count())
        .add("pairsPerSecond", static_cast<double>(released_.count()) / watch_.seconds());
    histogram all = acquired_;
    all.merge(released_);
    out.add("latency", all).add("acquireLatency", acquired_).add("releaseLatency", released_);
    return out;
  }

 private:
  enum class phase : std::uint8_t { idle, acquiring, releasing };
  enum tag : int { window_opens, window_closes, drain_ends };

  struct caller {
    explicit caller(lock_calls requests) : calls(std::move(requests)) {}
    lock_calls calls;
    phase now = phase::idle;
    clock::time_point asked{};
  };

  void on_open(connection& peer) override {
    if (loop_.opened() == 1) {
      // The stragglers of a large crowd open during the warm-up.
      const auto now = clock::now();
      loop_.call_at(now + options_.warm_up, window_opens);
      loop_.call_at(now + options_.warm_up + options_.duration, window_closes);
    }
    acquire(peer, clock::now());
  }

  void on_reply(connection& peer, const http_reply& reply, clock::time_point now) override {
    auto& me = callers_[peer.index()];
    if (reply.ok()) {
      if (measuring_) (me.now == phase::acquiring ? acquired_ : released_).record(now - me.asked);
      if (me.now == phase::acquiring && me.calls.learn_grant(reply.body)) return release(peer, now);
      if (me.now == phase::acquiring) ++loop_.errors()["200 without a lockId"];
    } else {
      ++loop_.errors()[error_name(reply)];
      if (const auto delay = back_off(reply)) return loop_.resend(peer, *delay);
    }
    acquire(peer, now);
  }

  void on_timer(int tag, clock::time_point now) override {
    switch (tag) {
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
        loop_.stop();
    }
  }

  void acquire(connection& peer, clock::time_point now) {
    auto& me = callers_[peer.index()];
    if (draining_) {
      me.now = phase::idle;
      // Held locks would get in the way of the next run.
      if (++drained_ == loop_.opened()) loop_.stop();
      return;
    }
    me.now = phase::acquiring;
    me.asked = now;
    const auto name = names_ == 0 ? peer.index() : next_name_++ % names_;
    loop_.send(peer, me.calls.acquire(name, next_request_++));
  }

  void release(connection& peer, clock::time_point now) {
    auto& me = callers_[peer.index()];
    me.now = phase::releasing;
    me.asked = now;
    loop_.send(peer, me.calls.release(next_request_++));
  }

  const run_options& options_;
  std::uint64_t names_;
  event_loop loop_;
  std::vector<caller> callers_;
  stopwatch watch_;
  histogram acquired_;
  histogram released_;
  std::uint64_t next_name_ = 0;
  std::uint64_t next_request_ = 0;
  std::size_t drained_ = 0;
  bool measuring_ = false;
  bool draining_ = false;
};

}  // namespace

json_object run_pairs(const run_options& options, std::uint64_t names) {
  return pairs_driver(options, names).run();
}

}  // namespace dislock::load
