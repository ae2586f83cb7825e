#include "redlock_host.hpp"

#include "engine/test_manual_loop.hpp"
#include "engines/redlock/redlock_engine.hpp"
#include "frozen_server.hpp"

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>

namespace dislock::testing_engines {
namespace {

/// For the deadlines of questions to the nodes: on a machine that stands still for a while, no node counts as
/// silent, which would change what the engine does.
class slow_clock final : public clock {
 public:
  [[nodiscard]] instant now() const noexcept override { return start_ + (real_.now() - start_) / 8; }
  void not_before(instant) noexcept override {}

 private:
  boottime_clock real_;
  const instant start_ = real_.now();
};

class redlock_host final : public engine_host {
 public:
  redlock_host(const host_settings& settings, manual_clock& time, engine_listener& listener) : time_(time) {
    std::string url = "redlock://";
    for (auto& n : nodes_) {
      n.clock.set(time.now());
      n.server.emplace(frozen_server_words(n.folder, n.port));
      url += (&n == nodes_.data() ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(n.port);
    }
    for (auto& n : nodes_)
      if (!redis::comes_true([&] { return redis::test_line(n.port).open(); }))
        throw std::runtime_error("redis-server does not come up");
    redlock_engine_options options;
    options.url = *redis::parse_store_url(url);
    options.table.waiter_grace = settings.waiter_grace;
    options.table.request_memory = settings.request_memory;
    options.table.request_memory_max = settings.request_memory_max;
    options.event_log_size = settings.event_log_size;
    auto made = make_redlock_engine(io_, loop_, network_time_, options);
    if (!made) throw std::runtime_error(made.error().detail);
    engine_ = std::move(*made);
    engine_->start(listener);
    if (!run_until([this] { return engine_->health().detail.empty(); }))
      throw std::runtime_error("not all nodes vote");
    settle();
  }
  ~redlock_host() override { engine_.reset(); }

  dislock::engine& engine() override { return *engine_; }
  bool run_until(const std::function<bool()>& done) override {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (;;) {
      loop_.run_ready();
      if (done()) return true;
      if (std::chrono::steady_clock::now() > give_up) return false;
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(50));
    }
  }
  void settle() override {
    if (!run_until([this] { return redlock_at_rest(*engine_); }))
      throw std::runtime_error("the engine does not come to rest");
  }
  void pass(duration d) override {
    const auto until = time_.now() + d;
    for (settle(); loop_.alarm() <= until; settle())
      move(std::max(loop_.alarm() - time_.now(), duration::zero()));
    move(until - time_.now());
    settle();
  }

 private:
  struct node {
    node() : port(redis::free_port()), clock(folder.path("clock")) {}

    redis::test_folder folder;
    const std::uint16_t port;
    server_clock clock;
    std::optional<redis::test_process> server;
  };

  void move(duration d) {
    time_.advance(d);
    for (auto& n : nodes_) n.clock.set(time_.now());
  }

  manual_clock& time_;
  slow_clock network_time_;
  std::array<node, 3> nodes_;
  boost::asio::io_context io_;
  manual_loop loop_{time_};
  std::unique_ptr<dislock::engine> engine_;
};

}  // namespace

std::unique_ptr<engine_host> make_redlock_host(const host_settings& settings, manual_clock& time,
                                               engine_listener& listener) {
  return std::make_unique<redlock_host>(settings, time, listener);
}

}  // namespace dislock::testing_engines
