// The client over servers that speak TLS, behind Sentinels, and in a Cluster, through failovers and moves.
#include "engines/redis/wire/test_cluster.hpp"
#include "engines/redis/wire/test_sentinel.hpp"
#include "engines/redis/wire/test_tls.hpp"
#include "library/store/test_store_client.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace dislock::library {
namespace {

using redis::comes_true;
using redis::test_redis;
using redis::test_sentinel;
using redis::test_tls;
using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;

// --- TLS

TEST(TlsStoreClient, TakesLocksAndWaitsForThem) {
  const test_tls authority;
  const auto server = authority.server();
  const auto url = "rediss://" + server->place() + "?" + authority.ca();
  auto locks = client::connect(url).value(), others = client::connect(url).value();
  auto mine = locks.acquire("a", with_ttl(600ms)).value();
  std::thread waiter([&] { EXPECT_GT(others.acquire("a").value().fencing_token(), mine.fencing_token()); });
  until_waiting(locks, "a", 1);
  std::this_thread::sleep_for(900ms);
  EXPECT_TRUE(mine.held()) << "it is renewed";
  EXPECT_TRUE(mine.release());
  waiter.join();
  EXPECT_TRUE(nothing_is_locked(locks));
}

TEST(TlsStoreClient, TalksOnlyToWhomItIsToldToTrust) {
  const test_tls authority, stranger;
  const auto server = authority.server(), other = authority.server("no", "other.pem");
  for (const auto& [url, why] : std::vector<std::pair<std::string, std::string>>{
           {"rediss://" + server->place(), "certificate verify failed"},
           {"rediss://" + server->place() + "?" + stranger.ca(), "certificate verify failed"},
           {"rediss://" + other->place() + "?" + authority.ca(), "mismatch"},
           {"redis://" + server->place(), server->place()}}) {
    const auto got = client::connect(url, impatient());
    EXPECT_EQ(code_of(got), errc::engine_unavailable) << url;
    EXPECT_THAT(detail_of(got), HasSubstr(why)) << url;
  }
  EXPECT_TRUE(client::connect("rediss://" + server->place() + "?insecure=true"));
  const auto no_file =
      client::connect("rediss://" + server->place() + "?ca=" + authority.folder().path("none"));
  EXPECT_EQ(code_of(no_file), errc::invalid_field);
  EXPECT_THAT(detail_of(no_file), HasSubstr("ca"));
}

TEST(TlsStoreClient, ShowsItsCertificateToThoseWhoWantOne) {
  const test_tls authority;
  const auto server = authority.server("yes");
  const auto url = "rediss://" + server->place() + "?" + authority.ca();
  EXPECT_EQ(code_of(client::connect(url, impatient())), errc::engine_unavailable);
  auto known = client::connect(url + "&cert=" + authority.folder().path("cert.pem") +
                               "&key=" + authority.folder().path("key.pem"));
  ASSERT_TRUE(known) << known.error().message();
  EXPECT_TRUE(known->acquire("a").value().release());
}

TEST(TlsStoreClient, AsksAMajorityToo) {
  const test_tls authority;
  std::vector<std::unique_ptr<test_redis>> nodes;
  std::string url = "redlocks://";
  for (int i = 0; i < 3; ++i) {
    nodes.push_back(authority.server());
    url += (i > 0 ? "," : "") + nodes.back()->place();
  }
  auto locks = client::connect(url + "?" + authority.ca()).value();
  auto others = client::connect(url + "?" + authority.ca()).value();
  auto mine = locks.acquire("a").value();
  EXPECT_EQ(code_of(others.acquire("a", with_wait(0ms))), errc::lock_not_acquired);
  EXPECT_TRUE(mine.release());
  EXPECT_TRUE(others.acquire("a"));
  EXPECT_EQ(code_of(client::connect(url, impatient())), errc::engine_unavailable);
}

// --- Sentinel

class SentinelStoreClient : public testing::Test {
 protected:
  // With one replica alone nothing would be granted after a primary's death: nobody would confirm anything.
  void SetUp() override {
    servers_.push_back(std::make_unique<test_redis>());
    for (int i = 0; i < 2; ++i)
      servers_.push_back(std::make_unique<test_redis>(
          std::vector<std::string>{"--replicaof", "127.0.0.1", std::to_string(servers_[0]->port())}));
    for (const std::size_t i : {1u, 2u})
      ASSERT_TRUE(comes_true([&] {
        return servers_[i]->say({"INFO", "replication"}).text.find("master_link_status:up") !=
               std::string::npos;
      }));
    // Alone it has to be sure: what does not answer for a moment is not yet gone.
    sentinel_ = std::make_unique<test_sentinel>(servers_[0]->where(), 1,
                                                "sentinel down-after-milliseconds prod 1200\n"
                                                "sentinel failover-timeout prod 10000\n");
    ASSERT_TRUE(comes_true([&] { return to_promote() == 2; }));
  }
  [[nodiscard]] int to_promote() const {
    int out = 0;
    const auto all = sentinel_->say({"SENTINEL", "REPLICAS", "prod"});
    for (const auto& known : all.items)
      for (std::size_t i = 0; i + 1 < known.items.size(); i += 2)
        if (known.items[i].text == "master-link-status" && known.items[i + 1].text == "ok") ++out;
    return out;
  }
  /// Nothing is granted for as long as leases of up to `quarantine` may live that nobody knows of.
  [[nodiscard]] client open(const std::string& quarantine = "1") const {
    return client::connect("redis+sentinel://" + sentinel_->place() + "/prod?quarantine=" + quarantine)
        .value();
  }
  [[nodiscard]] bool another_is_primary() const {
    const auto named = sentinel_->sees("port");
    return std::any_of(servers_.begin() + 1, servers_.end(), [&](const auto& s) {
      return named == std::to_string(s->port()) && s->say({"ROLE"}).at(0).text == "master";
    });
  }

  /// While one client holds a lock and another waits for it, the primary changes.
  void holds_and_waits_through(const std::function<void()>& failover) {
    auto locks = open(), others = open(), rivals = open();
    auto mine = locks.acquire("a", with_ttl(10s)).value();
    const auto token = mine.fencing_token();
    std::atomic<bool> got{false};
    fencing_token theirs{};
    std::jthread waiter([&] {
      auto lease = others.acquire("a", with_wait(20s));
      got = true;
      ASSERT_TRUE(lease) << lease.error().message();
      theirs = lease->fencing_token();
    });
    until_waiting(locks, "a", 1);
    // What is held is known to the replica, so that it is not lost with the primary.
    for (const std::size_t i : {1u, 2u})
      ASSERT_TRUE(comes_true([&] { return !servers_[i]->say({"GET", "lock:a"}).text.empty(); }));
    failover();
    ASSERT_TRUE(comes_true([&] { return another_is_primary(); }, 15s));
    EXPECT_FALSE(got);
    EXPECT_TRUE(comes_true([&] { return mine.renew().has_value(); }, 8s)) << "by the new primary";
    EXPECT_TRUE(mine.held());
    EXPECT_FALSE(rivals.acquire("a", with_wait(0ms)));
    EXPECT_FALSE(got);
    EXPECT_TRUE(comes_true([&] { return locks.inspect("a").value().queue_length == 1; }, 8s))
        << "who waits still has his place";
    EXPECT_TRUE(mine.release());
    const auto released = steady_clock::now();
    waiter.join();
    EXPECT_LT(steady_clock::now() - released, 8s);
    EXPECT_GT(theirs, token);
    EXPECT_TRUE(comes_true([&] { return rivals.acquire("b", with_wait(1s)).has_value(); }));
  }

  std::vector<std::unique_ptr<test_redis>> servers_;
  std::unique_ptr<test_sentinel> sentinel_;
};

TEST_F(SentinelStoreClient, AFailoverInGoodOrderCostsNeitherTheLeaseNorThePlaceInTheQueue) {
  holds_and_waits_through([&] { EXPECT_EQ(sentinel_->say({"SENTINEL", "FAILOVER", "prod"}).text, "OK"); });
}

TEST_F(SentinelStoreClient, APrimaryThatIsKilledCostsOnlyLeasesThatEndBeforeTheNextIsThere) {
  auto locks = open(), others = open();
  auto brief = locks.acquire("brief", with_ttl(800ms)).value();
  std::jthread next([&] {
    auto theirs = others.acquire("brief", with_wait(30s));
    const bool told = brief.lost().stop_requested() && !brief.held();
    EXPECT_TRUE(told) << "before it was anybody else's";
    ASSERT_TRUE(theirs) << theirs.error().message();
    EXPECT_GT(theirs->fencing_token(), brief.fencing_token());
  });
  until_waiting(locks, "brief", 1);
  holds_and_waits_through([&] { servers_[0]->process().kill(); });
}

TEST(ConnectingThroughSentinels, SaysWhatIsMissing) {
  const auto port = std::to_string(redis::free_port());
  const auto nobody = client::connect("redis+sentinel://127.0.0.1:" + port + "/prod", impatient());
  EXPECT_EQ(code_of(nobody), errc::engine_unavailable);
  EXPECT_THAT(detail_of(nobody), AllOf(HasSubstr("Sentinel"), HasSubstr(port)));
  const test_redis server;
  const test_sentinel sentinel(server.where(), 1);
  const auto unknown = client::connect("redis+sentinel://" + sentinel.place() + "/other", impatient());
  EXPECT_EQ(code_of(unknown), errc::engine_unavailable);
  EXPECT_THAT(detail_of(unknown), HasSubstr("other"));
  EXPECT_TRUE(client::connect("redis+sentinel://" + sentinel.place() + "/prod"));
}

// --- Cluster

TEST(ClusterStoreClient, HoldsAndWaitsWhileTheSlotMoves) {
  const redis::test_cluster cluster;
  auto locks = client::connect(cluster.url(0)).value(), others = client::connect(cluster.url(1)).value();
  auto mine = locks.acquire("a", with_ttl(1500ms)).value();
  std::thread waiter([&] { EXPECT_GT(others.acquire("a").value().fencing_token(), mine.fencing_token()); });
  until_waiting(locks, "a", 1);
  const auto first = redis::test_cluster::owner("{dislock}:");
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_GT(cluster.move("{dislock}:", (first + i) % 3, (first + i + 1) % 3), 5U);
    EXPECT_EQ(code_of(others.acquire("a", with_wait(0ms))), errc::lock_not_acquired);
    EXPECT_TRUE(locks.acquire("b").value().release()) << "no pause";
    std::this_thread::sleep_for(500ms);
  }
  EXPECT_TRUE(mine.held()) << "it is renewed, wherever it is";
  EXPECT_TRUE(mine.release());
  waiter.join();
  EXPECT_TRUE(nothing_is_locked(locks));
}

}  // namespace
}  // namespace dislock::library
