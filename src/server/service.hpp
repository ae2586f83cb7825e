#pragma once

#include "client/keeper.hpp"
#include "client/wait_room.hpp"
#include "engine/engine.hpp"
#include "http/exchange.hpp"
#include "http/problem.hpp"
#include "http/server.hpp"
#include "server/config.hpp"
#include "server/event_streams.hpp"
#include "server/fields.hpp"
#include "server/json_tree.hpp"
#include "server/metrics.hpp"
#include "server/replies.hpp"
#include "server/statistics.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace dislock::server {

/// The REST service: turns each request into one call of the engine, and the engine's answer into the reply.
///
/// It decides nothing about locks and holds no state of theirs. A grant is written only to a client that is
/// still there; one that could not be written goes back to the engine.
///
/// One strand: the HTTP server's and the engine's. Shutdown: `drain`, then destroy after the HTTP server.
class service final : private engine_listener {
 public:
  struct parts {
    dislock::engine& engine;
    const clock& time;
    loop& wait_clock;  ///< each for one purpose alone
    loop& renew_clock;
    loop& event_clock;
  };
  service(const parts& p, const config& settings, std::string_view openapi);
  ~service() override;

  /// Starts the engine. Once.
  void start();
  void handle(http::exchange_ptr x);
  /// From now on nobody waits here: waiting calls are answered 503 `draining`, new waits are refused, streams
  /// end.
  void drain();
  /// Where /metrics finds what the HTTP server counted; null before and after its life.
  void watch(const http::server* server) noexcept { http_ = server; }

  [[nodiscard]] std::size_t waiting() const noexcept { return room_.waiting(); }

 private:
  struct call;
  using call_ptr = std::unique_ptr<call>;

  /// A request, and what is counted of it.
  struct incoming {
    http::exchange_ptr exchange;
    request_operation what = request_operation::other;
    instant started{};
    duration waited{};  ///< for a lock: no part of the time that the request took

    [[nodiscard]] http::exchange* operator->() const noexcept { return &*exchange; }
    [[nodiscard]] http::exchange& operator*() const noexcept { return *exchange; }
  };

  // service.cpp: routing, and what all calls have in common
  void route_lock(incoming x, std::string_view rest);
  void route_lock_post(incoming x, std::string_view rest);
  [[nodiscard]] bool parse_body(const incoming& x);
  [[nodiscard]] bool no_query(const incoming& x);
  void method_not_allowed(const incoming& x, std::string_view allow);
  void refuse(const incoming& x, errc code, std::string_view field, std::string_view detail);
  void refuse(const incoming& x, const bad_request& why);
  void refuse(const incoming& x, const dislock::refusal& why, const call_facts* facts);
  void problem(const incoming& x, const http::problem& p, std::string_view headers);
  http::delivery reply(const incoming& x, int status = 200, std::string_view type = http::content_type::json);
  [[nodiscard]] bool meets(const incoming& x, fields& in);
  void engine_answered(const incoming& x, engine_operation what);

  // acquire_calls.cpp
  void acquire(incoming x, std::string_view name);
  void acquire_multi(incoming x);
  void ask(incoming x, acquire_request& request, call_ptr c);
  void decided(call_ptr c, acquire_answer&& a);
  void waited(call_ptr c, wait_room::outcome&& o);
  void deliver(call& c, const granted& got);

  // lease_calls.cpp
  void release(incoming x, std::string_view name);
  void renew(incoming x, std::string_view name);
  void cancel(incoming x, std::string_view name);
  void validate(incoming x, std::string_view name);
  void force_release(incoming x, std::string_view name);

  // session_calls.cpp
  void open_session(incoming x);
  void keep_session(incoming x);
  void close_session(incoming x);

  // view_calls.cpp
  void status(incoming x, std::string_view name);
  void list(incoming x);
  void list_sessions(incoming x);
  void stats(incoming x);
  void graph(incoming x);
  void deadlocks(incoming x);
  void ready(incoming x);
  void live(incoming x);
  void health(const incoming& x, bool must_be_ready);
  void metrics(incoming x);
  void describe(incoming x);
  void events(incoming x);
  void openapi(incoming x);

  void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) override;
  void on_event(const event& e) override { statistics_.on_event(e); }
  void on_deadlock(const deadlock& d) override { statistics_.on_deadlock(d); }
  void on_adopted(lock_name name, const lock_id& id, duration ttl) override { keeper_.adopt(name, id, ttl); }

  dislock::engine& engine_;
  const clock& time_;
  const config settings_;
  const std::string openapi_;
  const instant started_;
  wait_room room_;
  keeper keeper_;
  event_streams streams_;
  statistics statistics_;
  const http::server* http_ = nullptr;
  process_probe process_;
  json_tree body_;        // of the request that is being read
  std::string metadata_;  // scratch
  bool draining_ = false;
};

/// A call that is being answered.
struct service::call {
  incoming x;
  call_facts facts;
};

}  // namespace dislock::server
