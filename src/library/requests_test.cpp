#include "library/requests.hpp"

#include <gtest/gtest.h>

namespace dislock::library {
namespace {

using namespace std::chrono_literals;

// The field that is wrong; empty: none is.
std::string field_of(const std::optional<error>& why, errc code = errc::invalid_field) {
  if (!why) return {};
  EXPECT_EQ(why->code, code);
  EXPECT_EQ(effect_of(why->code), effect::none);
  return why->detail.substr(0, why->detail.find(':'));
}
std::string wrong_field(acquire_options o, bool only_try = false) {
  return field_of(wrong_options(o, only_try));
}
std::string wrong_client_field(const client_options& o) {
  return field_of(wrong_options(o));
}

TEST(LockNames, AreOneTo255OfTheirCharactersInSegmentsThatSaySomething) {
  for (const auto* good : {"a", "jobs/nightly", "A-Z.a_z~0:9@+=,-", "a..b", "..."})
    EXPECT_FALSE(wrong_lock_name(good)) << good;
  EXPECT_FALSE(wrong_lock_name(std::string(255, 'a')));
  for (const auto* bad :
       {"", "/a", "a/", "a//b", ".", "..", "a/../b", "a b", "a%2Fb", "caf\xc3\xa9", "a\n"}) {
    const auto why = wrong_lock_name(bad);
    ASSERT_TRUE(why) << bad;
    EXPECT_EQ(why->code, errc::invalid_lock_name);
  }
  EXPECT_TRUE(wrong_lock_name(std::string(256, 'a')));
  EXPECT_TRUE(wrong_lock_name(std::string("a\0b", 3)));
}

TEST(Locks, OfAGroupAreOneTo32WithoutRepetition) {
  std::vector<lock_request> locks;
  EXPECT_EQ(field_of(wrong_locks(locks, true)), "locks");
  for (int i = 0; i < 32; ++i) locks.push_back({"l" + std::to_string(i)});
  EXPECT_FALSE(wrong_locks(locks, true));
  locks.push_back({"one-more"});
  EXPECT_EQ(field_of(wrong_locks(locks, true)), "locks");
  locks.resize(2);
  locks[1].name = locks[0].name;
  EXPECT_EQ(field_of(wrong_locks(locks, true)), "locks");
}

TEST(Locks, OnlyASemaphoreHasALimitAndPermits) {
  const auto wrong = [](lock_mode mode, std::uint32_t limit, std::uint32_t permits) {
    const lock_request one{"a", mode, limit, permits};
    return field_of(wrong_locks({&one, 1}, false));
  };
  EXPECT_EQ(wrong(lock_mode::exclusive, 0, 1), "");
  EXPECT_EQ(wrong(lock_mode::shared, 0, 1), "");
  EXPECT_EQ(wrong(lock_mode::semaphore, 3, 3), "");
  EXPECT_EQ(wrong(lock_mode::exclusive, 1, 1), "limit");
  EXPECT_EQ(wrong(lock_mode::shared, 0, 2), "permits");
  EXPECT_EQ(wrong(lock_mode::semaphore, 0, 1), "limit");
  EXPECT_EQ(wrong(lock_mode::semaphore, 1'000'001, 1), "limit");
  EXPECT_EQ(wrong(lock_mode::semaphore, 3, 0), "permits");
  EXPECT_EQ(wrong(lock_mode::semaphore, 3, 4), "permits");
  EXPECT_EQ(wrong(static_cast<lock_mode>(3), 0, 1), "mode");
}

TEST(AcquireOptions, HaveDefaultsThatAreAllowed) {
  EXPECT_EQ(wrong_field(acquire_options{}), "");
}

TEST(AcquireOptions, AWrongOneIsNamed) {
  EXPECT_EQ(wrong_field({.wait = -1us}), "wait");
  EXPECT_EQ(wrong_field({.wait = 600s}), "");
  EXPECT_EQ(wrong_field({.wait = 601s}), "wait");
  EXPECT_EQ(wrong_field({.wait = 601s}, true), "") << "who does not wait has no patience to get wrong";
  EXPECT_EQ(wrong_field({.ttl = 99ms}), "ttl");
  EXPECT_EQ(wrong_field({.ttl = 25h}), "ttl");
  EXPECT_EQ(wrong_field({.max_hold = 0s}), "max_hold");
  EXPECT_EQ(wrong_field({.lock_delay = 61s}), "lock_delay");
  EXPECT_EQ(wrong_field({.lock_delay = -1s}), "lock_delay");
  EXPECT_EQ(wrong_field({.client_id = "with space"}), "client_id");
  EXPECT_EQ(wrong_field({.client_id = std::string(129, 'a')}), "client_id");
  EXPECT_EQ(wrong_field({.reenter = true}), "reenter");
  const lease none;
  EXPECT_EQ(wrong_field({.within = &none}), "within");
}

TEST(AcquireOptions, MetadataIsAnObjectAndMadeCompact) {
  acquire_options o;
  o.metadata = " { \"host\" : \"a\" } ";
  ASSERT_FALSE(wrong_options(o, false));
  EXPECT_EQ(o.metadata, R"({"host":"a"})");
  EXPECT_EQ(wrong_field({.metadata = "[1]"}), "metadata");
  EXPECT_EQ(wrong_field({.metadata = "{"}), "metadata");
  EXPECT_EQ(wrong_field({.metadata = "{} {}"}), "metadata");
  EXPECT_EQ(wrong_field({.metadata = R"({"a":")" + std::string(4'088, 'x') + "\"}"}), "");
  EXPECT_EQ(wrong_field({.metadata = R"({"a":")" + std::string(4'089, 'x') + "\"}"}), "metadata");
  EXPECT_EQ(wrong_field({.metadata = std::string(100'000, ' ') + "{}"}), "metadata");
  EXPECT_EQ(wrong_field({.metadata = R"({"a":)" + std::string(1'000, '[') + std::string(1'000, ']') + "}"}),
            "metadata");
}

TEST(ClientOptions, AWrongOneIsNamed) {
  const auto with = [](auto change) {
    client_options o;
    change(o);
    return wrong_client_field(o);
  };
  EXPECT_EQ(wrong_client_field(client_options{}), "");
  EXPECT_EQ(with([](auto& o) { o.instance = "a/b"; }), "instance");
  EXPECT_EQ(with([](auto& o) { o.instance = std::string(65, 'a'); }), "instance");
  EXPECT_EQ(with([](auto& o) { o.ttl = 0s; }), "ttl");
  EXPECT_EQ(with([](auto& o) { o.renewal_interval = 0s; }), "renewal_interval");
  EXPECT_EQ(with([](auto& o) { o.stop_margin = -1s; }), "stop_margin");
  EXPECT_EQ(with([](auto& o) { o.stop_margin = 0s; }), "");
  EXPECT_EQ(with([](auto& o) { o.connections = 0; }), "connections");
  EXPECT_EQ(with([](auto& o) { o.connect_timeout = 0s; }), "connect_timeout");
  EXPECT_EQ(with([](auto& o) { o.request_timeout = 2h; }), "request_timeout");
}

TEST(ARenewal, HasATtlOfTheSameRange) {
  EXPECT_EQ(field_of(wrong_ttl(std::nullopt)), "");
  EXPECT_EQ(field_of(wrong_ttl(100ms)), "");
  EXPECT_EQ(field_of(wrong_ttl(-1s)), "ttl");
  EXPECT_EQ(field_of(wrong_ttl(25h)), "ttl");
}

TEST(AReason, IsPrintableAndShort) {
  EXPECT_EQ(field_of(wrong_reason("")), "");
  EXPECT_EQ(field_of(wrong_reason("node 7 is gone")), "");
  EXPECT_EQ(field_of(wrong_reason("a\nb")), "reason");
  EXPECT_EQ(field_of(wrong_reason(std::string(201, 'a'))), "reason");
}

TEST(EngineUrls, SayWhichEngine) {
  EXPECT_EQ(parse_url("memory:")->what, engine_url::kind::memory);
  const auto store = parse_url("embedded:/var/lib/locks");
  ASSERT_TRUE(store);
  EXPECT_EQ(store->what, engine_url::kind::embedded);
  EXPECT_EQ(store->path, "/var/lib/locks");
  EXPECT_EQ(parse_url("http://a:1,b:2")->path, "http://a:1,b:2");
  for (const auto* there : {"redis://h:6379/1", "rediss://h", "redis+sentinel://a:1,b:2/primary"}) {
    ASSERT_TRUE(parse_url(there)) << there;
    EXPECT_EQ(parse_url(there)->what, engine_url::kind::store);
    EXPECT_EQ(parse_url(there)->path, there);
  }
}

TEST(EngineUrls, AWrongOneIsNamedWithoutWhatMayBeAPassword) {
  for (const auto* bad :
       {"", "memory:x", "embedded:", "postgres://user:hunter2@host", "hunter2", "://hunter2"}) {
    const auto out = parse_url(bad);
    ASSERT_FALSE(out) << bad;
    EXPECT_EQ(field_of(out.error()), "url");
    EXPECT_EQ(out.error().message().find("hunter2"), std::string::npos) << out.error().message();
  }
}

TEST(Instances, DifferAndCanBePartOfAClientId) {
  const auto one = make_instance();
  EXPECT_NE(one, make_instance());
  EXPECT_LE(one.size(), 64u);
  client_options o;
  o.instance = one;
  EXPECT_EQ(wrong_client_field(o), "");
}

}  // namespace
}  // namespace dislock::library
