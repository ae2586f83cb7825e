#include "server/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fcntl.h>
#include <set>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace dislock::server {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class Metrics : public testing::Test {
 protected:
  [[nodiscard]] std::string text() const { return render_metrics(input_); }
  [[nodiscard]] std::set<std::string> lines() const {
    std::set<std::string> out;
    std::istringstream in(text());
    for (std::string line; std::getline(in, line);) out.insert(line);
    return out;
  }
  void happen(event_type type, duration took = {}, std::string_view reason = {},
              lock_mode mode = lock_mode::exclusive) {
    event e;
    e.type = type;
    e.at = clock_.now();
    e.lock = "the-locks-name";
    e.client = "the-clients-name";
    e.reason = reason;
    e.mode = mode;
    e.took = took;
    stats_.on_event(e);
  }

  manual_clock clock_;
  statistics stats_{clock_.now()};
  table_counts counts_;
  http::statistics http_;
  process_facts process_;
  metrics_input input_{.here = stats_,
                       .counts = counts_,
                       .http = http_,
                       .process = process_,
                       .request_memory_max = 4'000'000,
                       .engine = "embedded",
                       .version = "0.1.0"};
};

TEST_F(Metrics, CarryTheNamesThatTheContractPromises) {
  const auto out = lines();
  for (const auto* line :
       {"# TYPE distributed_locks_acquired_total counter", "# TYPE distributed_locks_released_total counter",
        "# TYPE distributed_locks_active gauge", "# TYPE distributed_locks_wait_time histogram",
        "# TYPE distributed_locks_renewal_success counter",
        "# TYPE distributed_locks_deadlocks_detected counter"})
    EXPECT_THAT(out, Contains(line));
}

TEST_F(Metrics, StandThereFromTheFirstScrapeWithEveryLabelValue) {
  const auto out = text();
  for (const auto& m : metric_catalogue) {
    const std::string name(m.name);
    EXPECT_THAT(out, HasSubstr("# HELP " + name + " " + std::string(m.help) + "\n"));
    EXPECT_THAT(out, HasSubstr("# TYPE " + name + " "));
    std::vector<std::string> series{""};
    for (const auto& label : m.labels) {
      std::vector<std::string> longer;
      for (const auto& before : series)
        for (const auto value : label.values)
          longer.push_back(before + (before.empty() ? "" : ",") + std::string(label.name) + "=\"" +
                           std::string(value) + "\"");
      series = longer;
    }
    const auto suffix = m.type == metric_type::histogram ? "_count" : "";
    for (const auto& labels : series)
      EXPECT_THAT(out, HasSubstr("\n" + name + suffix + (labels.empty() ? "" : "{" + labels + "}") + " "))
          << labels;
  }
}

TEST_F(Metrics, SayEachThingOnce) {
  std::istringstream in(text());
  std::set<std::string> seen;
  for (std::string line; std::getline(in, line);)
    EXPECT_TRUE(seen.insert(line.substr(0, line.starts_with('#') ? line.size() : line.rfind(' '))).second)
        << line;
}

TEST_F(Metrics, CountWhatHappensToLeases) {
  happen(event_type::acquired, 2ms);
  happen(event_type::acquired, 0ms, {}, lock_mode::shared);
  happen(event_type::released, 1s, "released");
  happen(event_type::released, 1s, "cancelled");
  happen(event_type::released, 1s, "session_closed");
  happen(event_type::expired, 30s, "expired");
  const auto out = lines();
  for (const auto* line :
       {R"(distributed_locks_acquired_total{mode="exclusive"} 1)",
        R"(distributed_locks_acquired_total{mode="shared"} 1)", "distributed_locks_released_total 3",
        R"(distributed_locks_ended_total{how="released"} 1)",
        R"(distributed_locks_ended_total{how="session_closed"} 1)",
        R"(distributed_locks_ended_total{how="expired"} 1)",
        R"(distributed_locks_wait_time_bucket{le="0.001"} 1)",
        R"(distributed_locks_wait_time_bucket{le="0.005"} 2)",
        R"(distributed_locks_wait_time_bucket{le="+Inf"} 2)", "distributed_locks_wait_time_sum 0.002",
        "distributed_locks_wait_time_count 2", R"(distributed_locks_hold_time_bucket{le="10"} 3)",
        R"(distributed_locks_hold_time_bucket{le="30"} 4)", "distributed_locks_hold_time_sum 33"})
    EXPECT_THAT(out, Contains(line));
}

TEST_F(Metrics, CountNoRefusalAsATimeToAGrant) {
  happen(event_type::refused, 5s, "lock_not_acquired");
  EXPECT_THAT(lines(), Contains("distributed_locks_wait_time_count 0"));
}

TEST_F(Metrics, ShowWhatTheEngineHolds) {
  counts_ = {.active_locks = 5, .leases = 4, .waiters = 3, .sessions = 2, .remembered = 1};
  const auto out = lines();
  for (const auto* line : {"distributed_locks_active 5", "distributed_locks_leases 4",
                           "distributed_locks_waiters 3", "distributed_locks_sessions 2",
                           "dislock_request_memory_entries 1", "dislock_request_memory_max 4000000"})
    EXPECT_THAT(out, Contains(line));
}

TEST_F(Metrics, CountCallsRepliesAndProblems) {
  stats_.on_reply(request_operation::acquire_multi, 409, 200us);
  stats_.on_problem(errc::deadlock_detected);
  stats_.on_problem(errc::internal_error);
  stats_.on_engine_call(engine_operation::force_release, 3ms);
  stats_.on_engine_error(effect::unknown);
  stats_.on_renewal(true, renewed_by::session, 3);
  stats_.on_renewal(false);
  stats_.on_deadlock({});
  const auto out = lines();
  for (const auto* line :
       {R"(dislock_requests_total{operation="acquireMulti",status="4xx"} 1)",
        R"(dislock_request_duration_seconds_bucket{operation="acquireMulti",le="0.0001"} 0)",
        R"(dislock_request_duration_seconds_bucket{operation="acquireMulti",le="0.00025"} 1)",
        R"(dislock_problems_total{code="deadlock_detected"} 1)",
        R"(dislock_problems_total{code="internal_error"} 1)",
        R"(dislock_problems_total{code="lock_not_held"} 0)",
        R"(dislock_engine_duration_seconds_count{operation="force_release"} 1)",
        R"(dislock_engine_errors_total{effect="unknown"} 1)",
        R"(distributed_locks_renewal_success{by="session"} 3)",
        R"(distributed_locks_renewal_failure{by="client"} 1)", "distributed_locks_deadlocks_detected 1"})
    EXPECT_THAT(out, Contains(line));
}

TEST_F(Metrics, ShowTheStateOfTheReplica) {
  http_.connections_open = 7;
  http_.connections_refused = 6;
  http_.streams_open = 5;
  process_ = {.started = 1795226400.25, .cpu = 1.5, .resident = 1e8, .open_fds = 12, .max_fds = 1024};
  input_.engine_ready = true;
  input_.clock_suspect = true;
  input_.engine_degraded = true;
  input_.clock_steps_forward = 2;
  input_.draining = true;
  const auto out = lines();
  for (const auto* line :
       {"dislock_connections 7", "dislock_connections_refused_total 6", "dislock_event_streams 5",
        "dislock_engine_up 1", "dislock_engine_degraded 1", "dislock_clock_suspect 1",
        R"(dislock_clock_steps_total{direction="forward"} 2)",
        R"(dislock_clock_steps_total{direction="backward"} 0)", "dislock_draining 1",
        R"(dislock_build_info{version="0.1.0",engine="embedded"} 1)",
        "process_start_time_seconds 1795226400.25", "process_cpu_seconds_total 1.5",
        "process_resident_memory_bytes 100000000", "process_open_fds 12", "process_max_fds 1024"})
    EXPECT_THAT(out, Contains(line));
}

TEST_F(Metrics, NeverShowALockOrAClient) {
  happen(event_type::queued);
  happen(event_type::acquired, 5s);
  happen(event_type::forced, 5s, "the-administrators-words");
  stats_.on_deadlock({clock_.now(), "the-clients-name", "the-locks-name", {}});
  EXPECT_THAT(text(), Not(HasSubstr("the-")));
}

TEST(ProcessStat, IsReadBehindANameThatLooksLikeFields) {
  const auto stat = parse_process_stat(
      "4242 (a) S 1 (b c) S 1 4242 4242 0 -1 4194304 100 0 0 0 17 23 0 0 20 0 3 0 987654 12345678 4321 "
      "184467 1 1\n");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->user_ticks, 17u);
  EXPECT_EQ(stat->system_ticks, 23u);
  EXPECT_EQ(stat->start_ticks, 987654u);
  EXPECT_EQ(stat->resident_pages, 4321u);
}

TEST(ProcessStat, IsNotMadeUpFromSomethingElse) {
  EXPECT_FALSE(parse_process_stat(""));
  EXPECT_FALSE(parse_process_stat("4242 (dislockd) S 1"));
  EXPECT_FALSE(parse_process_stat("4242 (dislockd) S 1 1 1 0 -1 1 1 0 0 0 x 23 0 0 20 0 3 0 9 1 4 1"));
}

TEST(ProcessProbe, KnowsThisProcess) {
  const process_probe probe;
  const auto facts = probe.read();
  const auto now = std::chrono::duration<double>(boottime_clock().now().time_since_epoch()).count();
  EXPECT_LT(facts.started, now + 1);
  EXPECT_GT(facts.started, now - 3'600);
  EXPECT_GE(facts.cpu, 0);
  EXPECT_GT(facts.resident, 1e5);
  EXPECT_GE(facts.max_fds, facts.open_fds);
}

TEST(ProcessProbe, SeesADescriptorComeAndGo) {
  const process_probe probe;
  const auto before = probe.read().open_fds;
  const auto fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(probe.read().open_fds, before + 1);
  ::close(fd);
  EXPECT_EQ(probe.read().open_fds, before);
}

}  // namespace
}  // namespace dislock::server
