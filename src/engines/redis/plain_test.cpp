// The plain case inside of a real Redis: how many commands it takes, and when it leaves a call to the rules.
#include "engines/redis/plain.hpp"

#include "engines/redis/asking.hpp"
#include "engines/redis/scripts.hpp"
#include "engines/redis/wire/test_redis.hpp"

#include <gmock/gmock.h>

#include <map>

namespace dislock::redis {
namespace {

using testing::ElementsAre;
using testing::Pair;

constexpr std::int64_t far = 9'000'000'000'000'000, past = 1'000'000'000'000'000;
const std::string one(40, 'a'), other(40, 'b');

class PlainCase : public testing::Test {
 protected:
  PlainCase() : line_(server_.port()) {
    digest_ = line_.say({"SCRIPT", "LOAD", table_script}).text;
    set_fence(one, far, past);
  }

  void set_fence(const std::string& incarnation, std::int64_t ceiling, std::int64_t closed) {
    const auto n = [](std::int64_t number) { return std::to_string(number); };
    const auto record =
        incarnation.substr(0, 16) + n(past) + n(ceiling) + n(ceiling) + n(far) + n(far) + n(closed);
    line_.say({"SET", "dislock:fence", record});
  }

  reply run(const script_words& words, const std::string& incarnation = one, std::int64_t latest = far) {
    const auto all = words.all();
    std::vector<std::string> out{"EVALSHA", digest_, std::to_string(all.keys.size())};
    out.insert(out.end(), all.keys.begin(), all.keys.end());
    out.push_back(incarnation);
    out.insert(out.end(), all.arguments.begin(), all.arguments.end());
    out.insert(out.begin() + 3 + static_cast<std::ptrdiff_t>(all.keys.size()) + 2, std::to_string(latest));
    const std::vector<std::string_view> views(out.begin(), out.end());
    line_.send_words(views);
    return line_.receive();
  }
  script_words taking(std::string_view request = {}, duration ttl = 10s) const {
    const lock_want want{lock_name("orders/7")};
    acquire_request r;
    r.client = client_id("billing/1");
    r.request = request_id(request);
    r.wants = {&want, 1};
    r.ttl = ttl;
    EXPECT_TRUE(is_plain(terms_, r));
    return plain_acquire(terms_, r, id_, renewal_, 17);
  }
  script_words giving(std::string_view request = {}) const {
    const lease_proof proof{lock_name("orders/7"), id_, {}};
    release_request r;
    r.client = client_id("billing/1");
    r.request = request_id(request);
    r.leases = {&proof, 1};
    EXPECT_TRUE(is_plain(terms_, r));
    return plain_release(terms_, r, 18, past);
  }
  script_words renewing() const {
    const lease_proof proof{lock_name("orders/7"), {}, renewal_};
    renew_request r;
    r.leases = {&proof, 1};
    EXPECT_TRUE(is_plain(terms_, r));
    return plain_renew(terms_, r);
  }

  // What Redis executes for a call, without the call itself.
  std::map<std::string, std::int64_t> commands_of(const script_words& words) {
    line_.say({"CONFIG", "RESETSTAT"});
    EXPECT_TRUE(read_plain(run(words)));
    std::map<std::string, std::int64_t> out;
    const auto text = line_.say({"INFO", "commandstats"}).text;
    for (std::size_t at = 0; (at = text.find("cmdstat_", at)) != std::string::npos;) {
      at += 8;
      const auto name = text.substr(at, text.find(':', at) - at);
      if (name != "evalsha" && name != "config|resetstat" && name != "info")
        out[name] = std::atoll(text.c_str() + text.find("calls=", at) + 6);
    }
    return out;
  }

  test_redis server_;
  test_line line_;
  std::string digest_;
  const plain_terms terms_{"dislock:", "lock:",
                           house_words({.side_prefix = "dislock:",
                                        .canonical_prefix = "lock:",
                                        .replica = "0123456789abcdef",
                                        .waiter_grace = 5s,
                                        .request_memory = 30s,
                                        .replica_lapse = 3s,
                                        .ahead = 2s,
                                        .covered = 30s,
                                        .queue_max = 100}),
                           30s, 30s};
  const lock_id id_{{1, 2}};
  const renewal_token renewal_{{3, 4}};
};

TEST_F(PlainCase, TakesFiveCommandsToTakeAndThreeToGiveBack) {
  const auto taken = ElementsAre(Pair("mget", 1), Pair("set", 2), Pair("setrange", 1), Pair("time", 1));
  EXPECT_THAT(commands_of(taking()), taken);
  EXPECT_THAT(commands_of(giving()), ElementsAre(Pair("del", 1), Pair("mget", 1)));
  EXPECT_THAT(commands_of(taking("r1")), taken);
  EXPECT_THAT(commands_of(renewing()),
              ElementsAre(Pair("mget", 1), Pair("pexpire", 2), Pair("setrange", 1), Pair("time", 1)));
  EXPECT_THAT(commands_of(giving("r2")), ElementsAre(Pair("append", 1), Pair("del", 1), Pair("mget", 1)));
  EXPECT_THAT(commands_of(taking("r3")),
              ElementsAre(Pair("mget", 1), Pair("set", 4), Pair("setrange", 1), Pair("time", 1)))
      << "two of them keep what the calls of the last owner came to";
}

TEST_F(PlainCase, TokensRiseByTheStoresClockAndAlsoWhereThatStandsBehind) {
  const auto first = read_plain(run(taking()));
  ASSERT_TRUE(first);
  EXPECT_EQ(to_number(first->token), static_cast<std::uint64_t>(first->at));
  run(giving());
  set_fence(one, far, past);
  line_.say({"SETRANGE", "dislock:fence", "16", std::to_string(far - 9)});
  const auto second = read_plain(run(taking()));
  ASSERT_TRUE(second);
  EXPECT_EQ(to_number(second->token), static_cast<std::uint64_t>(far - 8));
}

TEST_F(PlainCase, IsNotDecidedInAStoreOfAnotherIncarnation) {
  EXPECT_FALSE(read_plain(run(taking(), other)));
  EXPECT_EQ(line_.say({"GET", "lock:orders/7"}).is, reply::kind::nil) << "the rules have closed it";
  set_fence(one, far, past);
  ASSERT_TRUE(read_plain(run(taking())));
  EXPECT_FALSE(read_plain(run(renewing(), other)));
}

TEST_F(PlainCase, IsNotDecidedByAClockThatIsAhead) {
  EXPECT_FALSE(read_plain(run(taking(), one, past)));
  EXPECT_EQ(line_.say({"GET", "lock:orders/7"}).is, reply::kind::nil);
  ASSERT_TRUE(read_plain(run(taking())));
  EXPECT_FALSE(read_plain(run(renewing(), one, past)));
}

TEST_F(PlainCase, IsNotDecidedWhileNothingIsGranted) {
  set_fence(one, far, far);
  EXPECT_FALSE(read_plain(run(taking())));
  EXPECT_EQ(line_.say({"GET", "lock:orders/7"}).is, reply::kind::nil);
}

TEST_F(PlainCase, IsNotDecidedBeyondWhatTheReplicasHaveConfirmed) {
  ASSERT_TRUE(read_plain(run(taking())));
  set_fence(one, past, past);
  EXPECT_FALSE(read_plain(run(renewing())));
  run(giving());
  EXPECT_FALSE(read_plain(run(taking())));
  EXPECT_EQ(line_.say({"GET", "lock:orders/7"}).is, reply::kind::nil);
}

TEST_F(PlainCase, LeavesAloneWhatItDidNotWrite) {
  line_.say({"SET", "lock:orders/7", "somebody else"});
  EXPECT_FALSE(read_plain(run(taking())));
  EXPECT_FALSE(read_plain(run(giving())));
  EXPECT_EQ(line_.say({"GET", "lock:orders/7"}).text, "somebody else");
  line_.say({"DEL", "lock:orders/7"});
  line_.say({"RPUSH", "lock:orders/7", "a list"});
  EXPECT_FALSE(read_plain(run(taking())));
  EXPECT_EQ(line_.say({"LLEN", "lock:orders/7"}).number, 1);
}

}  // namespace
}  // namespace dislock::redis
