#include "redis_host.hpp"

#include "engine/test_manual_loop.hpp"
#include "engines/redis/redis_engine.hpp"
#include "engines/redis/wire/test_redis.hpp"
#include "frozen_server.hpp"

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <fstream>
#include <list>
#include <sstream>
#include <stdexcept>

namespace dislock::testing_engines {
class redis_world::impl {
 public:
  impl(manual_clock& time, found how)
      : time_(time), port_(redis::free_port()), server_time_(time.now()), clock_(folder_.path("clock")) {
    // A node of a Cluster writes nothing in its first seconds.
    if (how == found::in_cluster) server_time_ -= std::chrono::seconds(3);
    clock_.set(server_time_);
    auto words = frozen_server_words(folder_, port_);
    if (how == found::in_cluster) words.insert(words.end(), {"--cluster-enabled", "yes"});
    server_.emplace(std::move(words));
    if (!redis::comes_true([&] { return redis::test_line(port_).open(); }))
      throw std::runtime_error("redis-server does not come up");
    url_ = "redis://127.0.0.1:" + std::to_string(port_);
    if (how == found::by_sentinel) start_sentinel();
    if (how == found::in_cluster) form_cluster();
  }

  dislock::engine& add(const host_settings& settings, engine_listener& listener,
                       const redis::failover_terms& terms, bool planted) {
    redis_engine_options options;
    options.failover = terms;
    options.plant_plain_counter = planted;
    options.url = *redis::parse_store_url(url_);
    options.waiter_grace = settings.waiter_grace;
    options.request_memory = settings.request_memory;
    options.event_log_size = settings.event_log_size;
    options.call_timeout = std::chrono::minutes(1);  // ten thousand questions at once, on a busy machine
    auto& r = replicas_.emplace_back();
    r.io = std::make_unique<boost::asio::io_context>();
    r.loop = std::make_unique<manual_loop>(time_);
    auto made = make_redis_engine(*r.io, *r.loop, network_time_, options);
    if (!made) throw std::runtime_error(made.error().detail);
    r.engine = std::move(*made);
    r.engine->start(listener);
    if (!run_until([&r] { return r.engine->health().ready; }))
      throw std::runtime_error("no connection to the server");
    rest();
    return *r.engine;
  }

  void kill(const dislock::engine& which) {
    std::erase_if(replicas_, [&](const replica& r) { return r.engine.get() == &which; });
  }

  bool run_until(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (;;) {
      for (auto& r : replicas_) r.loop->run_ready();
      if (done()) return true;
      if (std::chrono::steady_clock::now() > give_up) return false;
      for (auto& r : replicas_) {
        r.io->restart();
        if (replicas_.size() == 1) {
          r.io->run_one_for(std::chrono::milliseconds(50));
        } else {
          r.io->run_for(std::chrono::microseconds(100));
        }
      }
    }
  }

  void rest() {
    // What one engine publishes reaches the others a moment later, through the server.
    for (std::size_t round = 0; round < replicas_.size(); ++round) {
      for (auto& r : replicas_)
        if (!run_until([&r] { return is_at_rest(*r.engine); }))
          throw std::runtime_error("an engine does not come to rest");
      if (replicas_.size() > 1) hear_messages();
    }
  }
  void count() {
    for (auto& r : replicas_) count_now(*r.engine);
    rest();
  }
  void pass(duration d) {
    const auto until = time_.now() + d;
    const auto next = [this] {
      auto at = never;
      for (auto& r : replicas_) at = std::min(at, r.loop->alarm());
      return at;
    };
    for (rest(); next() <= until; rest()) move(std::max(next() - time_.now(), duration::zero()));
    move(until - time_.now());
    rest();
  }
  void set_back_engines(duration d) { time_ = manual_clock(time_.now() - d); }
  void set_clock_by(duration d) {
    server_time_ += d;
    clock_.set(server_time_);
  }
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  std::string say(const std::string& command) {
    std::istringstream in(command);
    std::vector<std::string> words;
    for (std::string w; in >> w;) words.push_back(w);
    const std::vector<std::string_view> views(words.begin(), words.end());
    redis::test_line line(port_);
    line.send_words(views);
    const auto got = line.receive();
    return got.is == redis::reply::kind::integer ? std::to_string(got.number) : got.text;
  }

 private:
  void start_sentinel() {
    const auto port = std::to_string(redis::free_port()), conf = folder_.path("sentinel.conf");
    std::ofstream(conf) << "port " << port << "\nbind 127.0.0.1\ndir " << folder_.path() << "\nlogfile "
                        << folder_.path("sentinel.log") << "\nsentinel monitor prod 127.0.0.1 " << port_
                        << " 1\n";
    sentinel_.emplace(std::vector<std::string>{"redis-sentinel", conf});
    const auto number = static_cast<std::uint16_t>(std::stoi(port));
    if (!redis::comes_true([&] { return redis::test_line(number).open(); }))
      throw std::runtime_error("redis-sentinel does not come up");
    url_ = "redis+sentinel://127.0.0.1:" + port + "/prod";
  }

  void form_cluster() {
    url_ = "redis+cluster://127.0.0.1:" + std::to_string(port_);
    say("CLUSTER ADDSLOTSRANGE 0 16383");
    if (!redis::comes_true(
            [&] { return say("CLUSTER INFO").find("cluster_slots_ok:16384") != std::string::npos; }))
      throw std::runtime_error("the Cluster has no slots");
    set_clock_by(std::chrono::seconds(3));
    if (!redis::comes_true([&] { return say("CLUSTER INFO").find("cluster_state:ok") != std::string::npos; }))
      throw std::runtime_error("the Cluster does not come up");
  }

  struct replica {
    std::unique_ptr<boost::asio::io_context> io;
    std::unique_ptr<manual_loop> loop;
    std::unique_ptr<dislock::engine> engine;
  };

  // A message is written to the sockets of those who listen before the answer to the call that published it
  // is: what was published before this question was answered is there after it.
  void hear_messages() {
    (void)say("PING");
    for (auto& r : replicas_) {
      r.io->restart();
      r.io->run_for(std::chrono::milliseconds(1));
      r.loop->run_ready();
    }
  }
  void move(duration d) {
    time_.advance(d);
    server_time_ += d;
    clock_.set(server_time_);
  }

  manual_clock& time_;
  boottime_clock network_time_;
  redis::test_folder folder_;
  const std::uint16_t port_;
  instant server_time_;
  server_clock clock_;
  std::optional<redis::test_process> server_, sentinel_;
  std::string url_;
  std::list<replica> replicas_;
};

redis_world::redis_world(manual_clock& time, found how)
    : impl_(std::make_unique<impl>(time, how)),
      shown_as_(how == found::in_cluster ? "{dislock}:key:" : "lock:"),
      own_(how == found::in_cluster ? "{dislock}:" : "dislock:") {}
redis_world::~redis_world() = default;
engine& redis_world::add(const host_settings& settings, engine_listener& listener) {
  return impl_->add(settings, listener, failover, plain_counter);
}
void redis_world::kill(engine& which) {
  impl_->kill(which);
}
bool redis_world::run_until(const std::function<bool()>& done) {
  return impl_->run_until(done);
}
void redis_world::rest() {
  impl_->rest();
}
void redis_world::settle() {
  impl_->rest();
  impl_->count();
}
void redis_world::pass(duration d) {
  impl_->pass(d);
}
void redis_world::set_clock_by(duration d) {
  impl_->set_clock_by(d);
}
std::uint16_t redis_world::port() const {
  return impl_->port();
}
void redis_world::set_back_engines(duration d) {
  impl_->set_back_engines(d);
}
std::string redis_world::say(const std::string& command) {
  return impl_->say(command);
}

namespace {

class redis_host final : public engine_host {
 public:
  redis_host(const host_settings& settings, manual_clock& time, engine_listener& listener,
             redis_world::found how)
      : settings_(settings),
        listener_(listener),
        world_(time, how),
        engine_(&world_.add(settings, listener)) {}

  dislock::engine& engine() override { return *engine_; }
  bool run_until(const std::function<bool()>& done) override { return world_.run_until(done); }
  void settle() override { world_.settle(); }
  void pass(duration d) override { world_.pass(d); }
  bool outlives_its_process() const override { return true; }
  void restart(ending how, duration clock_moves) override {
    if (how == ending::stop) {
      bool stopped = false;
      engine_->stop([&stopped] { stopped = true; });
      if (!run_until([&stopped] { return stopped; })) throw std::runtime_error("the engine does not stop");
    }
    world_.kill(*engine_);
    if (clock_moves < duration::zero()) {
      world_.set_back_engines(-clock_moves);
    } else {
      world_.pass(clock_moves);
    }
    engine_ = &world_.add(settings_, listener_);
  }
  bool store_runs_on() const override { return true; }
  bool counts_remembered() const override { return false; }

 private:
  const host_settings settings_;
  engine_listener& listener_;
  redis_world world_;
  dislock::engine* engine_;
};

}  // namespace

std::unique_ptr<engine_host> make_redis_host(const host_settings& settings, manual_clock& time,
                                             engine_listener& listener) {
  return std::make_unique<redis_host>(settings, time, listener, redis_world::found::directly);
}

std::unique_ptr<engine_host> make_cluster_host(const host_settings& settings, manual_clock& time,
                                               engine_listener& listener) {
  return std::make_unique<redis_host>(settings, time, listener, redis_world::found::in_cluster);
}

}  // namespace dislock::testing_engines
