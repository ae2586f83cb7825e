#include "diagnosis.hpp"

#include "latencies.hpp"

#include <gmock/gmock.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(Diagnosis, FindsTheEndpointsOfAnAddress) {
  const auto all = endpoints_of("http://a:5000,b:5001/x");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].host + "|" + all[0].port, "a|5000");
  EXPECT_EQ(all[1].host + "|" + all[1].port, "b|5001");
  EXPECT_EQ(endpoints_of("http://[::1]:7").front().host, "::1");
  EXPECT_EQ(endpoints_of("https://h").front().port, "443");
  EXPECT_TRUE(endpoints_of("memory:").empty());
}

TEST(Diagnosis, ReadsAPlainReply) {
  const auto r = plain_reply_from("HTTP/1.1 200 OK\r\nServer: X\r\nContent-Type: a\r\n\r\nbody");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->status, 200);
  EXPECT_EQ(r->headers.at("server"), "X");
  EXPECT_EQ(r->body, "body");
  EXPECT_FALSE(plain_reply_from("SSH-2.0-OpenSSH"));
  EXPECT_FALSE(plain_reply_from("HTTP/1.1 200 OK\r\n"));
}

TEST(Diagnosis, RecognisesAirPlay) {
  const auto d = judge_server({403, {{"server", "AirTunes/670.6.2"}}, ""});
  EXPECT_EQ(d.how, verdict::failure);
  EXPECT_THAT(d.found, HasSubstr("AirPlay"));
}

TEST(Diagnosis, TellsAnotherProgramOnThePort) {
  EXPECT_EQ(judge_server({200, {}, "<html>"}).how, verdict::failure);
  EXPECT_EQ(judge_server({200, {}, R"({"status":"ok","draining":false})"}).how, verdict::ok);
  EXPECT_EQ(judge_server({200, {}, R"({"status":"ok","draining":true})"}).how, verdict::warning);
  EXPECT_EQ(judge_server({503, {}, R"({"status":"unavailable","draining":false})"}).how, verdict::failure);
}

TEST(Diagnosis, ComparesClocksAsFarAsWholeSecondsAllow) {
  const wall_time noon(1'700'000'000s);  // Tue, 14 Nov 2023 22:13:20
  const auto judge = [&](duration ours) {
    return judge_clock("Tue, 14 Nov 2023 22:13:20 GMT", noon + ours, noon + ours + 10ms);
  };
  EXPECT_EQ(judge(500ms).how, verdict::ok);
  EXPECT_EQ(judge(2500ms).how, verdict::ok) << "0.5 s";
  EXPECT_EQ(judge(10s).how, verdict::warning);
  EXPECT_THAT(judge(10s).found, HasSubstr("8.0s behind"));
  EXPECT_THAT(judge(duration(-10s)).found, HasSubstr("ahead"));
  EXPECT_EQ(judge_clock("", noon, noon).how, verdict::ok);
}

TEST(Diagnosis, JudgesRoundTripsAgainstRenewals) {
  EXPECT_EQ(judge_round_trips(1ms, 5ms, 30s).how, verdict::ok);
  EXPECT_EQ(judge_round_trips(1ms, 1500ms, 30s).how, verdict::warning);
  EXPECT_EQ(judge_round_trips(1ms, 15s, 30s).how, verdict::failure);
}

TEST(Diagnosis, WarnsOfAnEngineThatForgets) {
  engine_info about;
  about.engine = "memory";
  EXPECT_EQ(judge_engine(about).how, verdict::warning);
  about.engine = "embedded";
  about.durable = true;
  EXPECT_EQ(judge_engine(about).how, verdict::ok);
  about.engine = "redlock";
  about.guarantee = 'C';
  about.durable = false;  // what it is about: the servers
  EXPECT_NE(judge_engine(about).hint.find("appendfsync"), std::string::npos);
  about.durable_fence = true;
  EXPECT_EQ(judge_engine(about).how, verdict::ok);
}

TEST(Diagnosis, LooksAtTheEnvironment) {
  EXPECT_EQ(judge_environment({{"REDIS_PORT", "tcp://10.0.0.1:6379"}}).size(), 1U);
  EXPECT_EQ(judge_environment({{"REDIS_PORT", "6379"}, {"DISLOCK_URL", "a"}, {"DISLOCK_ADDR", "a"}}).size(),
            0U);
  EXPECT_EQ(judge_environment({{"DISLOCK_URL", "a"}, {"DISLOCK_ADDR", "b"}}).size(), 1U);
  EXPECT_EQ(judge_environment({{"DISLOCK_ULR", "a"}}).size(), 1U);
  EXPECT_EQ(judge_environment({{"DISLOCK_SERVICE_HOST", "10.0.0.1"}}).size(), 0U);
}

TEST(Latencies, TakePercentilesByRank) {
  std::vector<duration> values;
  for (int i = 1000; i >= 1; --i) values.push_back(i * 1us);
  const auto p = percentiles_of(values);
  EXPECT_EQ(p.p50, 500us);
  EXPECT_EQ(p.p90, 900us);
  EXPECT_EQ(p.p99, 990us);
  EXPECT_EQ(p.p999, 999us);
  EXPECT_EQ(p.longest, 1000us);
  std::vector<duration> one{5us}, none;
  EXPECT_EQ(percentiles_of(one).p50, 5us);
  EXPECT_EQ(percentiles_of(none).longest, duration::zero());
}

}  // namespace
}  // namespace dislock::cli
