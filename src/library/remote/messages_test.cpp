#include "library/remote/messages.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock::library::remote {
namespace {

using namespace std::chrono_literals;
using testing::SizeIs;

lock_id secret_id() {
  return *lock_id::parse("d86a7acc159db9af1c05b9b24611c149");
}

acquire_call wanting(std::string name) {
  acquire_call c;
  c.client = "me/1";
  c.request = "r1";
  c.locks.emplace_back().name = std::move(name);
  c.ttl = 30s;
  return c;
}

std::string body_of(const acquire_call& c, duration left = {}) {
  std::string out;
  append_acquire(out, c, c.request, left);
  return out;
}

reply as_reply(int status, std::string_view body) {
  return {status, body, {}, true};
}

TEST(Requests, SayNoMoreThanWhatIsAskedFor) {
  EXPECT_EQ(body_of(wanting("a")), R"({"clientId":"me/1","timeout":30,"requestId":"r1"})");
}

TEST(Requests, SayEverythingThatIsAskedFor) {
  auto c = wanting("a");
  c.locks[0].mode = lock_mode::semaphore;
  c.locks[0].limit = 5;
  c.locks[0].permits = 2;
  c.ttl = 1500ms;
  c.lock_delay = 2s;
  c.max_hold = 1h;
  c.metadata = R"({"a":1})";
  c.reentry = secret_id();
  EXPECT_EQ(
      body_of(c, 1234us),
      R"({"clientId":"me/1","timeout":1.5,"requestId":"r1","waitTimeout":0.002,"lockDelay":2,"maxHold":3600,)"
      R"("metadata":{"a":1},"lockId":"d86a7acc159db9af1c05b9b24611c149","mode":"semaphore","limit":5,"permits":2})");
}

TEST(Requests, DoNotWaitWhenTheWaitIsOver) {
  EXPECT_EQ(body_of(wanting("a"), -5s).find("waitTimeout"), std::string::npos);
}

TEST(Requests, NameSeveralLocks) {
  auto c = wanting("a");
  c.multi = true;
  c.locks.push_back({"b", lock_mode::shared, 0, 1});
  EXPECT_EQ(
      body_of(c),
      R"({"clientId":"me/1","timeout":30,"requestId":"r1","locks":[{"name":"a"},{"name":"b","mode":"shared"}]})");
  std::string out;
  const std::vector<lease_key> keys{{"a", "me", secret_id()}, {"b", "other", secret_id()}};
  append_renew(out, keys, 10s);
  EXPECT_EQ(out, R"({"timeout":10,"locks":[{"name":"a","lockId":"d86a7acc159db9af1c05b9b24611c149"},)"
                 R"({"name":"b","lockId":"d86a7acc159db9af1c05b9b24611c149"}]})");
}

TEST(Targets, KeepWhatALockNameMayHoldAndEncodeAllElse) {
  std::string out;
  append_lock_target(out, "a/b:c@d+e=f,g~h", "acquire");
  EXPECT_EQ(out, "/locks/a/b:c@d+e=f,g~h/acquire");
  out.clear();
  append_lock_target(out, "a b\r\n?#%\xff", "acquire");
  EXPECT_EQ(out, "/locks/a%20b%0D%0A%3F%23%25%FF/acquire");
  out.clear();
  append_lock_target(out, {}, "acquire");
  EXPECT_EQ(out, "/locks/acquire");
  out.clear();
  append_lock_target(out, "a", {});
  EXPECT_EQ(out, "/locks/a");
  out.clear();
  append_query_value(out, "a/b c+d&e=f");
  EXPECT_EQ(out, "a%2Fb%20c%2Bd%26e%3Df");
}

TEST(Replies, AGrantIsBelievedFromBeforeTheCall) {
  const auto sent = from_microseconds(1'000'000'000);
  const auto got = read_granted(
      R"({"acquired":true,"lockName":"a","lockId":"d86a7acc159db9af1c05b9b24611c149",
          "renewalToken":"c42703737c774711ea927ff161e3fa31","fencingToken":1795226400123456,"mode":"semaphore",
          "permits":2,"limit":5,"clientId":"me/1","expiresAt":"2026-11-21T02:00:30.000Z","ttl":28.5,"elapsed":1.5,
          "waitTime":1.25,"holdCount":3,"new":[{}]})",
      wanting("a"), sent);
  ASSERT_TRUE(got);
  ASSERT_THAT(got->leases, SizeIs(1));
  const auto& l = got->leases[0];
  EXPECT_EQ(l.id, secret_id());
  EXPECT_EQ(l.renewal.to_string(), "c42703737c774711ea927ff161e3fa31");
  EXPECT_EQ(to_number(l.token), 1795226400123456U);
  EXPECT_EQ(l.mode, lock_mode::semaphore);
  EXPECT_EQ(l.permits, 2U);
  EXPECT_EQ(l.hold_count, 3U);
  EXPECT_EQ(l.ttl, 30s);
  EXPECT_EQ(l.valid_until, sent + 29'698ms);
  EXPECT_EQ(got->waited, 1250ms);
}

TEST(Replies, AGrantOfOtherLocksThanAskedForIsNone) {
  auto two = wanting("a");
  two.multi = true;
  two.locks.push_back({"b", lock_mode::exclusive, 0, 1});
  const std::string lease =
      R"("lockId":"d86a7acc159db9af1c05b9b24611c149","renewalToken":"c42703737c774711ea927ff161e3fa31","fencingToken":7,"mode":"exclusive"})";
  const auto reply = [&](const std::string& names) {
    return R"({"acquired":true,"clientId":"me","ttl":1,"elapsed":0,"waitTime":0,"locks":[)" + names + "]}";
  };
  const auto a = R"({"lockName":"a",)" + lease, b = R"({"lockName":"b",)" + lease;
  EXPECT_TRUE(read_granted(reply(a + "," + b), two, {}));
  EXPECT_FALSE(read_granted(reply(b + "," + a), two, {}));
  EXPECT_FALSE(read_granted(reply(a), two, {}));
  EXPECT_FALSE(read_granted(reply(a + "," + b + "," + a), two, {}));
  EXPECT_FALSE(read_granted(reply(a + ",7"), two, {}));
}

TEST(Replies, RenewalsAreAnsweredOneByOne) {
  const std::vector<lease_key> keys{{"a", "me", secret_id()}, {"b", "me", secret_id()}};
  const auto sent = from_microseconds(1'000'000'000);
  const auto got = read_renewed(
      R"({"renewed":false,"elapsed":0.5,"locks":[{"lockName":"a","renewed":true,"ttl":9.5,"fencingToken":7},
          {"lockName":"b","renewed":false,"code":"lock_not_held","ended":"expired"}]})",
      keys, sent);
  ASSERT_TRUE(got);
  ASSERT_EQ(got->size(), 2U);
  EXPECT_EQ((*got)[0]->valid_until, sent + 9'898ms);
  EXPECT_EQ((*got)[1].error().code, errc::lock_not_held);
  EXPECT_EQ((*got)[1].error().ended, end_reason::expired);
  EXPECT_EQ((*got)[1].error().lock, "b");
}

TEST(Problems, BecomeErrorsWithEverythingThatHelps) {
  const auto e = read_problem(as_reply(
      409,
      R"({"type":"urn:dislock:error:lock_not_acquired","title":"t","status":409,"code":"lock_not_acquired","effect":"none",
          "traceId":"x","lockName":"a","acquired":false,"waitTime":1.5,"queueLength":4,"holderCount":12,
          "holders":[{"clientId":"bob","fencingToken":7,"mode":"shared","acquiredAt":"2026-11-21T01:59:58.250Z",
                      "expiresAt":"2026-11-21T02:00:28.000Z","holdCount":2,"metadata":{"job":"x"},"autoRenew":true,
                      "principal":"","sessionBound":true}]})"));
  ASSERT_TRUE(e);
  EXPECT_EQ(e->code, errc::lock_not_acquired);
  EXPECT_EQ(e->lock, "a");
  EXPECT_EQ(e->waited, 1500ms);
  EXPECT_EQ(e->queue_length, 4U);
  EXPECT_EQ(e->holder_count, 12U);
  ASSERT_THAT(e->holders, SizeIs(1));
  const auto& h = e->holders[0];
  EXPECT_EQ(h.client, "bob");
  EXPECT_EQ(h.mode, lock_mode::shared);
  EXPECT_EQ(h.hold_count, 2U);
  EXPECT_EQ(h.metadata, R"({"job":"x"})");
  EXPECT_TRUE(h.auto_renew && h.session_bound);
  EXPECT_EQ(h.expires_at - h.acquired_at, 29'750ms);
  EXPECT_EQ(h.acquired_at, wall_time(1'795'226'398'250ms));
}

TEST(Problems, CarryTheCycleAndTheEnd) {
  const auto cycle = read_problem(as_reply(
      409,
      R"({"code":"deadlock_detected","lockName":"b","cycle":[{"clientId":"a","waitsFor":"x","heldBy":"b","waitsBehind":true}]})"));
  ASSERT_TRUE(cycle);
  ASSERT_THAT(cycle->cycle, SizeIs(1));
  EXPECT_EQ(cycle->cycle[0].blocker, "b");
  EXPECT_TRUE(cycle->cycle[0].behind);
  const auto ended = read_problem(as_reply(409, R"({"code":"lock_not_held","ended":"max_hold"})"));
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->ended, end_reason::max_hold);
}

TEST(Problems, OfACodeThatIsNotKnownYetAreTheNearestOne) {
  const auto code = [](int status) {
    const auto e = read_problem(as_reply(status, R"({"code":"new_thing","detail":"so it is"})"));
    EXPECT_TRUE(e);
    EXPECT_EQ(e->detail, "new_thing: so it is");
    return e->code;
  };
  EXPECT_EQ(code(400), errc::invalid_field);
  EXPECT_EQ(code(409), errc::lock_not_acquired);
  EXPECT_EQ(code(500), errc::internal_error);
  EXPECT_EQ(code(503), errc::engine_unavailable);
}

TEST(Problems, NameTheField) {
  const auto e =
      read_problem(as_reply(400, R"({"code":"invalid_field","field":"timeout","detail":"Too long."})"));
  ASSERT_TRUE(e);
  EXPECT_EQ(e->detail, "timeout: Too long.");
}

TEST(Problems, ThatAreNoneAreNotGuessed) {
  EXPECT_FALSE(read_problem(as_reply(503, "<html>")));
  EXPECT_FALSE(read_problem(as_reply(503, R"({"message":"no"})")));
  EXPECT_FALSE(read_problem(as_reply(409, R"({"code":7})")));
}

TEST(Views, AnIdleLockHasNoModeAndNoToken) {
  const auto s = read_status(
      R"({"lockName":"a","locked":false,"mode":null,"holders":[],"holderCount":0,"waiters":[],"waiterCount":0,"queueLength":0,"fencingToken":null})");
  ASSERT_TRUE(s);
  EXPECT_FALSE(s->locked);
  EXPECT_FALSE(s->latest_token);
  EXPECT_FALSE(s->closed_until);
}

TEST(Views, TimesAreReadInTheOneFormThatTheyHave) {
  const auto closed = [](std::string_view time) {
    return read_status(
        R"({"lockName":"a","locked":false,"mode":null,"holders":[],"holderCount":0,"waiters":[],"queueLength":0,"closedUntil":")" +
        std::string(time) + "\"}");
  };
  EXPECT_EQ(closed("2024-02-29T23:59:59.999Z")->closed_until, wall_time(1'709'251'199'999ms));
  for (const auto* wrong :
       {"2024-02-30T00:00:00.000Z", "2024-02-29T23:59:59Z", "2024-02-29 23:59:59.999Z", "x"})
    EXPECT_FALSE(closed(wrong)) << wrong;
}

TEST(Views, AnEventTellsHowLongItTook) {
  const auto e = read_event(
      R"({"id":"1795226400123456","at":"2026-11-21T02:00:00.000Z","type":"released","lockName":"a","clientId":"c","fencingToken":7,"mode":"shared","holdTime":1.5,"reason":"released"})");
  ASSERT_TRUE(e);
  EXPECT_EQ(e->id, 1795226400123456U);
  EXPECT_EQ(e->took, 1500ms);
  EXPECT_EQ(e->mode, lock_mode::shared);
  EXPECT_FALSE(read_event(R"({"id":"x","at":"2026-11-21T02:00:00.000Z","type":"released"})"));
}

TEST(Views, HealthSaysWhyNot) {
  EXPECT_EQ(read_health(R"({"status":"degraded","engine":{"name":"memory","ready":true},"draining":false})"),
            "");
  EXPECT_EQ(read_health(R"({"status":"unavailable","engine":{"name":"m","ready":true},"draining":true})"),
            "draining");
  EXPECT_EQ(
      read_health(
          R"({"status":"unavailable","engine":{"name":"m","ready":false,"detail":"disk full"},"draining":false})"),
      "the engine is not ready: disk full");
}

}  // namespace
}  // namespace dislock::library::remote
