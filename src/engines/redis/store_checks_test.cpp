#include "engines/redis/store_checks.hpp"

#include <gmock/gmock.h>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using kind = store_url::kind;

server_facts info(std::string_view version = "7.0.15", std::string_view more = {}) {
  return server_facts("redis_version:" + std::string(version) + "\r\nrole:master\r\n" + std::string(more));
}
const std::string appends = "aof_enabled:1\r\n", one_replica = "connected_slaves:1\r\n";
const store_settings nothing_kept{
    {{"save", ""}, {"appendfsync", "everysec"}, {"min-replicas-to-write", "1"}}};
const store_settings always{{{"save", ""}, {"appendfsync", "always"}, {"min-replicas-to-write", "1"}}};

TEST(RefuseStore, ByVersion) {
  const struct {
    std::string_view version;
    bool used;
  } cases[] = {{"6.2.0", true}, {"6.2.14", true},  {"7.0.15", true},   {"7.4", true},    {"8.0.1", true},
               {"10.0", true},  {"6.0.16", false}, {"6.1.240", false}, {"5.0.7", false}, {"2.8.24", false},
               {"", false},     {"seven", false},  {"7", false}};
  for (const auto& c : cases) EXPECT_EQ(refuse_store(info(c.version), {}).empty(), c.used) << c.version;
}

TEST(RefuseStore, ThatForgetsKeysWhenItsMemoryIsFull) {
  const struct {
    std::string_view memory;
    bool used;
  } cases[] = {
      {"maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", true},
      {"maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n", true},
      {"maxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\n", false},
      {"maxmemory:1000\r\nmaxmemory_policy:volatile-ttl\r\n", false},
      {"maxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n", false},
      {"maxmemory:1000\r\n", true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(refuse_store(info("7.0.15", c.memory), {}).empty(), c.used) << c.memory;
    EXPECT_EQ(refuse_store(info("7.0.15", c.memory), {.allow_eviction = true}), "");
  }
  const auto allowed =
      judge_store(info("7.0.15", cases[2].memory), always, kind::single, {.allow_eviction = true});
  EXPECT_THAT(allowed.notes, testing::Contains(HasSubstr("locks vanish")));
  EXPECT_FALSE(allowed.durable);
}

TEST(JudgeStore, SaysWhatARestartLoses) {
  const struct {
    std::string facts;
    store_settings settings;
    kind what;
    bool durable, keeps;
    std::string note;
  } cases[] = {
      {appends, always, kind::single, true, true, ""},
      {appends, nothing_kept, kind::single, false, true, "appendfsync is not always"},
      {"", nothing_kept, kind::single, false, false, "a restart forgets every lock"},
      {"", {{{"save", "3600 1"}, {"appendfsync", "everysec"}}}, kind::single, false, true, "only snapshots"},
      {one_replica, nothing_kept, kind::single, false, false, "comes back empty"},
      {"", nothing_kept, kind::sentinel, false, false, "comes back empty"},
      {appends + one_replica, nothing_kept, kind::sentinel, false, true, ""},
      {appends + one_replica, always, kind::sentinel, true, true, ""},
      {appends, std::nullopt, kind::single, false, true, "CONFIG is forbidden"},
      {"", std::nullopt, kind::single, false, false, "CONFIG is forbidden"},
  };
  for (const auto& c : cases) {
    const auto got = judge_store(info("7.0.15", c.facts), c.settings, c.what, {});
    EXPECT_EQ(got.refusal, "");
    EXPECT_EQ(got.durable, c.durable) << c.facts << c.note;
    EXPECT_EQ(got.keeps_data, c.keeps) << c.facts << c.note;
    if (c.note.empty()) {
      EXPECT_THAT(got.notes, IsEmpty());
    } else {
      EXPECT_THAT(got.notes.at(0), HasSubstr(c.note));
    }
  }
}

TEST(JudgeStore, NotesAPrimaryThatWouldGoOnAlone) {
  const store_settings alone{{{"save", ""}, {"appendfsync", "always"}, {"min-replicas-to-write", "0"}}};
  EXPECT_THAT(judge_store(info("7.0.15", appends + one_replica), alone, kind::sentinel, {}).notes,
              ElementsAre(HasSubstr("min-replicas-to-write")));
  EXPECT_THAT(judge_store(info("7.0.15", appends), alone, kind::single, {}).notes, IsEmpty());
}

TEST(JudgeAcks, SaysWhetherTheWatermarkCounts) {
  using p = acks_policy;
  const struct {
    p policy;
    std::int64_t known, acked;
    bool confirmed, degraded;
  } cases[] = {
      {p::at_least_one, 0, 0, true, false}, {p::at_least_one, -1, 0, true, false},
      {p::at_least_one, 1, 0, false, true}, {p::at_least_one, 1, 1, true, false},
      {p::at_least_one, 2, 0, false, true}, {p::at_least_one, 2, 1, true, true},
      {p::at_least_one, 2, 2, true, false}, {p::at_least_one, 2, 3, true, false},
      {p::all, 0, 0, true, false},          {p::all, 2, 0, false, true},
      {p::all, 2, 1, false, true},          {p::all, 2, 2, true, false},
      {p::none, 0, 0, true, false},         {p::none, 2, 0, true, false},
      {p::none, 2, 2, true, false},
  };
  for (const auto& c : cases) {
    const auto got = judge_acks(c.policy, {c.known, c.acked});
    EXPECT_EQ(got.confirmed, c.confirmed) << static_cast<int>(c.policy) << " " << c.known << " " << c.acked;
    EXPECT_EQ(got.degraded, c.degraded) << static_cast<int>(c.policy) << " " << c.known << " " << c.acked;
  }
}

TEST(Grade, IsWhatTheWeakestPartAllows) {
  const store_verdict durable{.durable = true, .keeps_data = true}, kept{.keeps_data = true}, lost{};
  const confirmation all{true, false}, fewer{true, true}, nobody{false, true};
  const failover_terms exclusive{}, fence_only{.exclusive = false}, unasked{.acks = acks_policy::none};
  const struct {
    const store_verdict& store;
    kind what;
    const failover_terms& terms;
    const confirmation& acks;
    bool replicas;
    char grade;
    bool durable, fence, exclusion;
  } cases[] = {
      {kept, kind::sentinel, exclusive, all, true, 'B', false, true, true},
      {kept, kind::sentinel, fence_only, all, true, 'C', false, true, false},
      {kept, kind::sentinel, exclusive, fewer, true, 'C', false, false, false},
      {kept, kind::sentinel, exclusive, nobody, true, 'C', false, false, false},
      {kept, kind::sentinel, unasked, all, true, 'C', false, false, false},
      {lost, kind::sentinel, exclusive, all, true, 'C', false, false, false},
      {kept, kind::sentinel, exclusive, all, false, 'C', false, false, false},
      {durable, kind::sentinel, exclusive, all, true, 'B', false, true, true},
      {durable, kind::single, exclusive, all, false, 'C', true, true, false},
      {kept, kind::single, exclusive, all, false, 'C', false, false, false},
      {kept, kind::single, exclusive, all, true, 'C', false, false, false},
  };
  int line = 0;
  for (const auto& c : cases) {
    SCOPED_TRACE(++line);
    capabilities about;
    grade(about, c.store, c.what, c.terms, c.acks, c.replicas);
    EXPECT_EQ(static_cast<char>(about.grade), c.grade);
    EXPECT_EQ(about.durable, c.durable);
    EXPECT_EQ(about.durable_fence, c.fence);
    EXPECT_EQ(about.failover_safe_exclusion, c.exclusion);
  }
}

TEST(FailoverTerms, AreReadFromTheUrlAndOverTheDefaults) {
  const auto read = [](const std::string& query, failover_terms defaults = {}) {
    return read_failover_terms(*parse_store_url("redis://h" + query), defaults);
  };
  EXPECT_EQ(read("")->acks, acks_policy::at_least_one);
  EXPECT_TRUE(read("")->exclusive);
  EXPECT_EQ(read("", {.acks = acks_policy::all})->acks, acks_policy::all);
  EXPECT_EQ(read("?acks=none", {.acks = acks_policy::all})->acks, acks_policy::none);
  EXPECT_EQ(read("?acks=at-least-one", {.acks = acks_policy::all})->acks, acks_policy::at_least_one);
  EXPECT_FALSE(read("?failover=fence-only")->exclusive);
  EXPECT_TRUE(read("?failover=exclusive", {.exclusive = false})->exclusive);
  EXPECT_EQ(read("?quarantine=2.5")->quarantine, 2500ms);
  EXPECT_TRUE(read("?allow-eviction=true&name=x")->allow_eviction);
}

TEST(FailoverTerms, RefuseWhatTheyDoNotKnow) {
  const struct {
    std::string query, why;
  } cases[] = {{"?ack=all", "'ack'"},
               {"?acks=some", "acks is"},
               {"?failover=no", "failover is"},
               {"?quarantine=0", "quarantine"},
               {"?quarantine=301", "quarantine"},
               {"?quarantine=x", "quarantine"},
               {"?allow-eviction=1", "allow-eviction is"}};
  for (const auto& c : cases) {
    const auto got = read_failover_terms(*parse_store_url("redis://h" + c.query), {});
    ASSERT_FALSE(got) << c.query;
    EXPECT_THAT(got.error().detail, HasSubstr(c.why));
  }
}

}  // namespace
}  // namespace dislock::redis
