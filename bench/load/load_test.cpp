#include "histogram.hpp"
#include "http_reply.hpp"
#include "lock_calls.hpp"

#include <gtest/gtest.h>

namespace dislock::load {
namespace {

using namespace std::chrono_literals;

TEST(Histogram, FindsPercentilesWithinOnePercent) {
  histogram values;
  for (int i = 1; i <= 100'000; ++i) values.record(std::chrono::microseconds(i));

  EXPECT_NEAR(static_cast<double>(values.percentile(0.5).count()), 50e6, 0.5e6);
  EXPECT_NEAR(static_cast<double>(values.percentile(0.99).count()), 99e6, 1e6);
  EXPECT_EQ(values.max(), 100ms);
  EXPECT_EQ(values.mean(), 50'000'500ns);
}

TEST(Histogram, CountsExtremesWithoutOverflow) {
  histogram values;
  values.record(-1ns);
  values.record(std::chrono::hours(24 * 365 * 100));

  EXPECT_EQ(values.count(), 2U);
  EXPECT_EQ(values.percentile(0.1), 0ns);
  EXPECT_EQ(values.percentile(1), values.max());
}

TEST(HttpReply, AsksForMoreUntilTheBodyIsWhole) {
  constexpr std::string_view whole = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nServer: x\r\n\r\nbody";
  http_reply reply;

  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_EQ(parse_reply(whole.substr(0, size), reply).state, parse_state::incomplete) << size;
  }
  EXPECT_EQ(parse_reply(whole, reply).size, whole.size());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "body");
}

TEST(HttpReply, RefusesWhatHasNoLength) {
  http_reply reply;
  const auto parsed = parse_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", reply);

  EXPECT_EQ(parsed.state, parse_state::malformed);
}

TEST(HttpReply, ReadsStringsAndNumbersByKey) {
  constexpr std::string_view body = R"({"lockId": "abc", "fencingToken":17, "ID":"42"})";

  EXPECT_EQ(find_string(body, R"("lockId")"), "abc");
  EXPECT_EQ(find_number(body, R"("fencingToken")"), 17U);
  EXPECT_EQ(find_number(body, R"("ID")"), 42U);
  EXPECT_EQ(find_string(body, R"("code")"), std::nullopt);
}

TEST(LockCalls, ReleaseNamesTheLockAndTheClientOfItsAcquire) {
  const call_options options{
      .host = "h:1", .prefix = "bench-abcde-", .request_ids = true, .timeout = 1'500ms};
  lock_calls calls(options, 7);

  EXPECT_EQ(calls.acquire(3, 9),
            "POST /locks/bench-abcde-000000003/acquire HTTP/1.1\r\nHost: h:1\r\nContent-Type: "
            "application/json\r\nContent-Length: 91\r\n\r\n"
            R"({"clientId":"bench-abcde-000000007","timeout":1.500,"requestId":"bench-abcde-000000000009"})");
  ASSERT_TRUE(calls.learn_grant(R"({"lockId":"one"})"));
  ASSERT_TRUE(calls.learn_grant(R"({"lockId":"two"})"));
  EXPECT_EQ(calls.release(10),
            "POST /locks/bench-abcde-000000003/release HTTP/1.1\r\nHost: h:1\r\nContent-Type: "
            "application/json\r\nContent-Length: 90\r\n\r\n"
            R"({"clientId":"bench-abcde-000000007","lockId":"two","requestId":"bench-abcde-000000000010"})");
}

TEST(LockCalls, EtcdNamesAreBase64) {
  const call_options options{.target = target_kind::etcd, .host = "h:1", .prefix = "bench-abcde-"};
  lock_calls calls(options, 0, 42);

  const auto request = calls.acquire(1, 0);

  EXPECT_TRUE(request.ends_with(R"({"name":"YmVuY2gtYWJjZGUtMDAwMDAwMDAx","lease":"42"})")) << request;
}

}  // namespace
}  // namespace dislock::load
