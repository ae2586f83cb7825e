// The suite's vocabulary. One text for every engine: a case says what a caller does and what it must see.
#pragma once

#include "engine_host.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dislock::testing_engines {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

/// What a test asks for, where it differs from "the lock `a`, exclusively, for 10 s, now or never".
struct wish {
  std::string_view lock = "a";
  lock_mode mode = lock_mode::exclusive;
  std::uint32_t limit = 0;
  std::uint32_t permits = 1;
  duration ttl = 10s;
  duration wait = 0s;
  duration lock_delay = 0s;
  std::optional<duration> max_hold{};
  bool auto_renew = false;
  session_id session{};
  lock_id reentry{};
  std::string_view metadata{};
};
[[nodiscard]] wish on(std::string_view lock, wish w = {});
[[nodiscard]] wish shared(wish w = {});
[[nodiscard]] wish permits(std::uint32_t count, std::uint32_t limit, wish w = {});
[[nodiscard]] wish waiting(duration wait, wish w = {});
[[nodiscard]] acquire_request request_of(std::string_view request, std::string_view client, const wish& w,
                                         std::span<const lock_want> wants, bool multi);

[[nodiscard]] std::optional<errc> code(const acquire_answer& a);
template <class T>
[[nodiscard]] std::optional<errc> code(const answer<T>& a) {
  return a ? std::nullopt : std::optional(a.error().code);
}
[[nodiscard]] inline bool is_granted(const acquire_answer& a) {
  return std::holds_alternative<granted>(a);
}
[[nodiscard]] inline bool is_queued(const acquire_answer& a) {
  return std::holds_alternative<queued>(a);
}
// These throw, and so fail the test, for an answer of another kind.
[[nodiscard]] inline const refusal& why(const acquire_answer& a) {
  return *std::get<refusal_ptr>(a);
}
[[nodiscard]] inline const grant& lease_of(const acquire_answer& a) {
  return std::get<granted>(a).leases.at(0);
}

/// Remembers what the engine tells.
class recorder final : public engine_listener {
 public:
  void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) override {
    resolved.push_back({id, epoch, std::move(outcome)});
  }
  void on_event(const event& e) override { events.push_back(e.type); }
  void on_deadlock(const deadlock& d) override { deadlocks.push_back(d); }

  struct resolution {
    ticket id{};
    std::uint32_t epoch = 0;
    acquire_answer outcome;
  };
  std::vector<resolution> resolved;
  std::vector<event_type> events;
  std::vector<deadlock> deadlocks;
};

class Conformance : public testing::TestWithParam<engine_under_test> {
 protected:
  Conformance() { begin({}); }
  /// Starts over with an engine of these settings.
  void begin(const host_settings& settings);

  template <class T>
  using pending = std::shared_ptr<std::optional<T>>;
  /// Where the answer of a call will be; fails the test if it comes twice.
  template <class T>
  [[nodiscard]] static std::pair<pending<T>, completion<T>> promise() {
    auto box = std::make_shared<std::optional<T>>();
    return {box, [box](T got) {
              EXPECT_FALSE(box->has_value()) << "a call completes once";
              box->emplace(std::move(got));
            }};
  }
  template <class T>
  [[nodiscard]] T await(const pending<T>& box) {
    if (!host_->run_until([&] { return box->has_value(); })) throw std::runtime_error("a call has no answer");
    return **box;
  }

  // --- calls
  // -------------------------------------------------------------------------------------------------

  /// Asks, and does not wait for the answer.
  pending<acquire_answer> ask(std::string_view request, std::string_view client, const wish& w = {});
  acquire_answer acquire(std::string_view request, std::string_view client, const wish& w = {});
  acquire_answer acquire_all(std::string_view request, std::string_view client,
                             const std::vector<wish>& wishes, duration wait = 0s);
  grant hold(std::string_view client, const wish& w = {}, std::string_view request = {});
  /// Joins the queue; for a minute, unless the wish says otherwise.
  queued wait_for(std::string_view request, std::string_view client, wish w = {});
  queued wait_for_all(std::string_view request, std::string_view client, const std::vector<wish>& wishes,
                      duration wait = 60s);
  answer<released> release(const lock_id& id, std::string_view lock = "a", std::string_view request = {},
                           std::string_view client = {});
  answer<release_answers> release_all(const std::vector<lease_proof>& leases, std::string_view request = {},
                                      std::string_view client = {});
  answer<renewed> renew(const lease_proof& proof, std::optional<duration> ttl = {},
                        std::string_view request = {}, std::string_view client = {});
  answer<renewed> renew(const lock_id& id, std::optional<duration> ttl = {}) {
    return renew({lock_name("a"), id, {}}, ttl);
  }
  answer<renew_answers> renew_all(const std::vector<lease_proof>& leases, std::optional<duration> ttl = {},
                                  std::string_view request = {});
  answer<cancelled> cancel(std::string_view request, std::string_view client, std::string_view lock = "a");
  answer<cancelled> cancel_multi(std::string_view request, std::string_view client);
  answer<forced> force(std::string_view lock = "a", std::optional<fencing_token> token = {},
                       std::string_view request = {});
  answer<session_opened> open(std::string_view client, duration ttl = 10s, std::string_view request = {});
  answer<session_kept> keep(session_id id, std::string_view request = {});
  answer<session_closed> close(session_id id, std::string_view request = {});
  void detach(const queued& q);
  void undelivered(const grant& given, std::string_view lock = "a");

  // --- what there is
  // -----------------------------------------------------------------------------------------

  [[nodiscard]] lock_view status(std::string_view lock = "a");
  [[nodiscard]] std::vector<std::string> holders(std::string_view lock = "a");
  [[nodiscard]] std::vector<std::string> waiters(std::string_view lock = "a");
  [[nodiscard]] validity validate(fencing_token token, std::string_view lock = "a");
  [[nodiscard]] std::optional<std::vector<place>> places(const queued& q);
  [[nodiscard]] page<lock_view> list(const lock_filter& filter, std::uint64_t cursor = 0,
                                     std::size_t limit = 100);
  [[nodiscard]] std::vector<std::string> listed(const lock_filter& filter, std::size_t page_size);
  [[nodiscard]] page<session_view> sessions(std::uint64_t cursor = 0, std::size_t limit = 100);
  [[nodiscard]] std::vector<wait_edge> edges(std::size_t limit = 100);
  [[nodiscard]] std::vector<logged_event> events_after(std::uint64_t id = 0);
  [[nodiscard]] table_counts counts();
  /// Nothing is held, awaited, closed or remembered.
  [[nodiscard]] bool is_empty();

  /// What a waiter has been told so far.
  [[nodiscard]] std::optional<acquire_answer> told(const queued& q);
  /// The lease that a waiter gets; throws if it gets none.
  [[nodiscard]] grant granted_to(const queued& q);
  [[nodiscard]] std::optional<errc> refused_with(const queued& q);
  [[nodiscard]] bool still_waits(const queued& q) { return !told(q) && places(q); }

  // --- time, restarts, abilities
  // -----------------------------------------------------------------------------

  void pass(duration d) { host_->pass(d); }
  [[nodiscard]] instant now() { return host_->engine().now(); }
  [[nodiscard]] duration left(instant end) { return end - now(); }
  /// False, after having seen that the engine says so, if nothing outlives the process.
  [[nodiscard]] bool restarts();
  void restart(engine_host::ending how = engine_host::ending::stop, duration clock_moves = 0s);
  void crash(duration clock_moves = 0s) { restart(engine_host::ending::crash, clock_moves); }
  /// False, after having seen that the engine refuses it in words, if it cannot do this.
  [[nodiscard]] bool can(bool capabilities::*what);

  manual_clock time_;
  recorder told_;
  std::unique_ptr<engine_host> host_;
};

/// Runs the cases of a fixture with every engine.
#define DISLOCK_CONFORMANCE_SUITE(Fixture)                                     \
  INSTANTIATE_TEST_SUITE_P(Engines, Fixture, testing::ValuesIn(all_engines()), \
                           [](const auto& each) { return each.param.name; })

}  // namespace dislock::testing_engines
