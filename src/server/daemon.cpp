#include "server/daemon.hpp"

#include "base/log.hpp"
#include "engines/embedded/embedded_engine.hpp"
#include "engines/memory/memory_engine.hpp"
#include "engines/redis/redis_engine.hpp"
#include "engines/redlock/redlock_engine.hpp"
#include "http/server.hpp"
#include "server/openapi_text.hpp"
#include "server/service.hpp"
#include "server/version.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace dislock::server {
namespace {

namespace asio = boost::asio;

// A connection is a file; the default soft limit is far below what one process can serve.
void raise_file_limit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &files);
}

core::table_options table_of(const config& settings) {
  core::table_options table;
  table.waiter_grace = settings.waiter_grace;
  table.request_memory = settings.request_memory;
  table.request_memory_max = settings.request_memory_max;
  table.detect_deadlocks = settings.deadlock_detection;
  return table;
}

redis::failover_terms failover_of(const config& settings) {
  redis::failover_terms terms;
  terms.acks = settings.redis_acks == "all"    ? redis::acks_policy::all
               : settings.redis_acks == "none" ? redis::acks_policy::none
                                               : redis::acks_policy::at_least_one;
  terms.exclusive = settings.redis_failover_policy == "exclusive";
  terms.quarantine = settings.redis_quarantine;
  return terms;
}

bool is_planted(std::string_view bug) {
  const char* plant = std::getenv("DISLOCK_PLANT");
  return plant && plant == bug;
}

// Null, with the reason on stderr, when the engine cannot be had.
std::unique_ptr<dislock::engine> make_engine(const config& settings, asio::io_context& io, loop& strand,
                                             clock& time) {
  const std::string_view url = settings.engine;
  if (url == "memory:" || url == "memory") {
    local_engine_options options;
    options.table = table_of(settings);
    options.event_log_size = settings.event_log_size;
    return make_memory_engine(strand, options);
  }
  constexpr std::string_view embedded_scheme = "embedded:";
  if (url.starts_with(embedded_scheme) && url.size() > embedded_scheme.size()) {
    embedded_engine_options options;
    options.table = table_of(settings);
    options.event_log_size = settings.event_log_size;
    options.path = url.substr(embedded_scheme.size());
    options.mode = settings.durability == durability_mode::sync ? embedded::durability::sync
                                                                : embedded::durability::async;
    if (is_planted("answer_before_commit")) {
      options.plant_answer_before_commit = true;
      log::error("daemon", "planted bug: answers leave before they are durable; for tests of the tests only");
    }
    auto opened = open_embedded_engine(options, strand, time);
    if (opened) return std::move(*opened);
    std::fprintf(stderr, "dislockd: %s\n", opened.error().message.c_str());
    return nullptr;
  }
  constexpr std::string_view redis_schemes[] = {"redis://",          "rediss://",
                                                "redis+sentinel://", "rediss+sentinel://",
                                                "redis+cluster://",  "rediss+cluster://"};
  if (std::ranges::any_of(redis_schemes, [&](auto scheme) { return url.starts_with(scheme); })) {
    const auto refuse = [&](const error& why) {
      std::fprintf(stderr, "dislockd: the engine %s: %s\n", redact_url(url).c_str(), why.detail.c_str());
      return nullptr;
    };
    auto where = redis::parse_store_url(url);
    if (!where) return refuse(where.error());
    const auto failover = redis::read_failover_terms(*where, failover_of(settings));
    if (!failover) return refuse(failover.error());
    redis_engine_options options;
    options.url = std::move(*where);
    options.failover = *failover;
    // A slot that moves is waited for.
    if (options.url.what == redis::store_url::kind::cluster) options.call_timeout = std::chrono::seconds(15);
    if (is_planted("plain_counter")) {
      options.plant_plain_counter = true;
      log::error("daemon", "planted bug: tokens without a watermark; for tests of the tests only");
    }
    if (is_planted("trusted_moves")) {
      options.plant_trusted_moves = true;
      log::error("daemon", "planted bug: a failover passes for a move; for tests of the tests only");
    }
    options.waiter_grace = settings.waiter_grace;
    options.request_memory = settings.request_memory;
    options.detect_deadlocks = settings.deadlock_detection;
    options.event_log_size = settings.event_log_size;
    auto made = make_redis_engine(io, strand, time, std::move(options));
    if (made) return std::move(*made);
    std::fprintf(stderr, "dislockd: %s\n", made.error().detail.c_str());
    return nullptr;
  }
  if (url.starts_with("redlock://") || url.starts_with("redlocks://")) {
    auto where = redis::parse_store_url(url);
    if (!where) {
      std::fprintf(stderr, "dislockd: the engine %s: %s\n", redact_url(url).c_str(),
                   where.error().detail.c_str());
      return nullptr;
    }
    redlock_engine_options options;
    options.url = std::move(*where);
    options.table = table_of(settings);
    options.event_log_size = settings.event_log_size;
    options.max_ttl = settings.max_timeout;
    auto made = make_redlock_engine(io, strand, time, std::move(options));
    if (made) return std::move(*made);
    std::fprintf(stderr, "dislockd: the engine %s: %s\n", redact_url(url).c_str(),
                 made.error().detail.c_str());
    return nullptr;
  }
  std::fprintf(
      stderr,
      "dislockd: the engine %s is not one of memory:, embedded:/path, redis://host:port/db, "
      "redis+sentinel://host:port,.../master, redis+cluster://host:port,... and redlock://h1,h2,h3\n",
      redact_url(url).c_str());
  return nullptr;
}

// The order in which things end; see run_daemon.
class shutdown {
 public:
  shutdown(asio::io_context& io, service& calls, http::server& server, dislock::engine& engine,
           std::chrono::milliseconds patience)
      : io_(io),
        calls_(calls),
        server_(server),
        engine_(engine),
        patience_(patience),
        timer_(io),
        signals_(io, SIGTERM, SIGINT) {
    listen();
  }

 private:
  void listen() {
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (error) return;
      if (begun_) {
        log::warn("daemon", "second signal: ending at once");
        std::_Exit(0);
      }
      begun_ = true;
      listen();
      begin();
    });
  }

  void begin() {
    log::info("daemon", "draining", {{"waiting_calls", calls_.waiting()}});
    server_.stop_accepting();
    server_.on_drained([this] { close_engine(); });
    server_.close_idle();  // first, so that the replies to those who wait say that the connection ends
    calls_.drain();
    deadline_ = std::chrono::steady_clock::now() + patience_;
    watch();
  }

  void watch() {
    if (server_.open_exchanges() == 0 || std::chrono::steady_clock::now() >= deadline_)
      return server_.close_all();
    timer_.expires_after(std::chrono::milliseconds(10));
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) watch();
    });
  }

  void close_engine() {
    engine_.stop([this] {
      log::info("daemon", "ended");
      io_.stop();
    });
  }

  asio::io_context& io_;
  service& calls_;
  http::server& server_;
  dislock::engine& engine_;
  const std::chrono::milliseconds patience_;
  asio::steady_timer timer_;
  asio::signal_set signals_;
  std::chrono::steady_clock::time_point deadline_{};
  bool begun_ = false;
};

}  // namespace

int run_daemon(const config& settings) {
  log::configure({settings.log_level, settings.log_format});
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of the write, like a full disk
  raise_file_limit();

  boottime_clock time;
  asio::io_context io(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO);
  const auto strand = make_asio_loop(io, time);
  const auto wait_clock = make_asio_loop(io, time);
  const auto renew_clock = make_asio_loop(io, time);
  const auto event_clock = make_asio_loop(io, time);
  const auto engine = make_engine(settings, io, *strand, time);
  if (!engine) return 1;

  http::options how;
  how.address = settings.listen;
  how.port = settings.port;
  how.max_connections = settings.max_connections;
  how.max_connections_per_address = settings.max_connections_per_address;
  how.hosts = settings.allowed_hosts;
  how.origins = settings.allowed_origins;
  try {
    service calls({*engine, time, *wait_clock, *renew_clock, *event_clock}, settings, openapi_text);
    http::server server(io, how, [&calls](http::exchange_ptr x) { calls.handle(std::move(x)); });
    calls.watch(&server);
    calls.start();
    shutdown order(io, calls, server, *engine, settings.drain_timeout);
    const bool v6 = settings.listen.find(':') != std::string::npos;
    std::printf("dislockd listening on http://%s%s%s:%u\n", v6 ? "[" : "", settings.listen.c_str(),
                v6 ? "]" : "", static_cast<unsigned>(server.local_port()));
    std::fflush(stdout);
    log::info("daemon", "listening",
              {{"address", settings.listen},
               {"port", server.local_port()},
               {"engine", redact_url(settings.engine)},
               {"version", version}});
    if (!is_loopback(settings.listen))
      log::warn("daemon", "anybody who reaches this address can take and release locks (--insecure)");
    io.run();
    calls.watch(nullptr);
  } catch (const boost::system::system_error& error) {
    std::fprintf(stderr, "dislockd: cannot listen on %s port %u: %s\n", settings.listen.c_str(),
                 static_cast<unsigned>(settings.port), error.code().message().c_str());
    return 1;
  }
  return 0;
}

}  // namespace dislock::server
