// The remote backend when the service, or the way to it, is not well.
#include "library/remote/test_dislockd.hpp"
#include "library/remote/test_remote.hpp"
#include "library/remote/test_wire.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>

namespace dislock::library {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// A port on which nobody listens.
std::uint16_t closed_port() {
  test_server s([](auto, auto&) { return false; });
  return s.port();
}

class directory {
 public:
  directory() {
    std::string name = (std::filesystem::temp_directory_path() / "dislock-remote-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string engine() const { return "embedded:" + (path_ / "store").string(); }

 private:
  std::filesystem::path path_;
};

client_options quick() {
  client_options o;
  o.connect_timeout = 500ms;
  o.request_timeout = 500ms;
  return o;
}

constexpr std::string_view problem_json = "application/problem+json";

std::string problem(errc code, std::string_view headers = {}) {
  return test_reply(http_status_of(code),
                    R"({"type":"x","title":"x","status":503,"code":")" + std::string(to_string(code)) +
                        R"(","effect":"none"})",
                    problem_json, headers);
}

// Opening

TEST(RemoteOpen, RefusesWhatItCannotDo) {
  EXPECT_THAT(test_remote("https://127.0.0.1:1").why().detail, HasSubstr("https is not supported yet"));
  EXPECT_EQ(test_remote("https://127.0.0.1:1").why().code, errc::invalid_field);
  EXPECT_EQ(test_remote("http://").why().code, errc::invalid_field);
  manual_clock stands_still;
  client_options o;
  o.time = &stands_still;
  EXPECT_THAT(test_remote("http://127.0.0.1:1", o).why().detail, HasSubstr("time"));
  o = {};
  o.connections = 0;
  EXPECT_THAT(test_remote("http://127.0.0.1:1", o).why().detail, HasSubstr("connections"));
}

TEST(RemoteOpen, SaysWhatIsWrongWithEachPlaceWhenNobodyIsThere) {
  test_server rubbish([](auto, auto& wire) { return wire.send("hello\r\n\r\n"), false; });
  const auto first = "127.0.0.1:" + std::to_string(closed_port());
  test_remote remote("http://" + first + ",localhost:1,no-such-host.invalid:5000", quick());
  EXPECT_FALSE(remote.open());
  EXPECT_EQ(remote.why().code, errc::engine_unavailable);
  EXPECT_THAT(remote.why().detail,
              AllOf(HasSubstr(first + ": Connection refused"), HasSubstr("localhost:1: "),
                    HasSubstr("no-such-host.invalid:5000: the name is unknown")));
}

TEST(RemoteOpen, FindsTheOneThatAnswers) {
  test_dislockd service;
  test_remote remote("http://127.0.0.1:" + std::to_string(closed_port()) + "," + service.address(), quick());
  ASSERT_TRUE(remote.open()) << remote.why().detail;
  EXPECT_TRUE(remote.acquire("a", "alice"));
}

TEST(RemoteOpen, FindsAServiceByName) {
  test_dislockd service;
  test_remote remote("http://localhost:" + std::to_string(service.port()), quick());
  ASSERT_TRUE(remote.open()) << remote.why().detail;
  EXPECT_TRUE(remote.acquire("a", "alice"));
}

// A service that dies

TEST(RemoteFaults, AWaitWhoseServiceIsKilledEndsUnknown) {
  test_dislockd service;
  test_remote remote(service.url(), quick());
  ASSERT_TRUE(remote.acquire("a", "alice"));
  auto waits = remote.begin_acquire(remote.wanting("a", "bob", 300ms));
  remote.until_waiting("a", 1);
  service.kill();

  const auto lost = waits.get();
  ASSERT_EQ(code_of(lost), errc::outcome_unknown) << "nobody knows whether it was granted";
  EXPECT_THAT(lost.error().detail, HasSubstr(service.address()));
  EXPECT_GE(lost.error().waited, 300ms);
}

TEST(RemoteFaults, ATryAtADeadServiceFailsAtOnceAndChangedNothing) {
  test_dislockd service;
  client_options patient;
  patient.request_timeout = 10s;
  test_remote remote(service.url(), patient);
  ASSERT_TRUE(remote.acquire("a", "alice"));
  service.kill();
  const auto before = remote.on().now();
  // The first may have been on its way when the connection ended; the next ones cannot even leave.
  auto refused = remote.acquire("b", "alice");
  if (!refused && refused.error().code == errc::outcome_unknown) refused = remote.acquire("b", "alice");
  EXPECT_EQ(code_of(refused), errc::engine_unavailable);
  EXPECT_THAT(refused.error().detail, HasSubstr("Connection refused"));
  EXPECT_LT(remote.on().now() - before, 5s);
}

TEST(RemoteFaults, WaitersKeepTheirPlacesOverARestart) {
  directory store;
  auto service = std::make_unique<test_dislockd>(std::vector<std::string>{}, store.engine());
  const auto port = service->port();
  test_remote remote(service->url());
  const auto held = remote.acquire("a", "alice");
  ASSERT_TRUE(held);
  auto first = remote.begin_acquire(remote.wanting("a", "first", 20s));
  remote.until_waiting("a", 1);
  auto second = remote.begin_acquire(remote.wanting("a", "second", 20s));
  remote.until_waiting("a", 2);

  service->kill();
  service = std::make_unique<test_dislockd>(std::vector<std::string>{}, store.engine(), port);
  remote.until_waiting("a", 2);
  ASSERT_TRUE(remote.release(held->leases[0], "alice"));
  const auto got = first.get();
  ASSERT_TRUE(got) << to_string(got.error().code);
  EXPECT_GT(got->leases[0].token, held->leases[0].token);
  EXPECT_FALSE(second.over());
  ASSERT_TRUE(remote.release(got->leases[0], "first"));
  EXPECT_TRUE(second.get());
}

TEST(RemoteFaults, AReleaseIsRepeatedUntilTheServiceIsBack) {
  directory store;
  auto service = std::make_unique<test_dislockd>(std::vector<std::string>{}, store.engine());
  const auto port = service->port();
  test_remote remote(service->url());
  const auto held = remote.acquire("a", "alice");
  ASSERT_TRUE(held);
  service->kill();
  auto released = remote.begin<void>([&](backend& b, auto done) {
    b.release({"a", "alice", held->leases[0].id}, "release-once", later(b.now(), 20s), std::move(done));
  });
  EXPECT_FALSE(released.over(100ms));
  service = std::make_unique<test_dislockd>(std::vector<std::string>{}, store.engine(), port);
  EXPECT_TRUE(released.get());
  EXPECT_FALSE(remote.inspect("a").locked);
}

TEST(RemoteFaults, ConnectionsThatWentStaleAreNotNoticedByCallers) {
  directory store;
  auto service = std::make_unique<test_dislockd>(std::vector<std::string>{}, store.engine());
  const auto port = service->port();
  test_remote remote(service->url());
  std::vector<pending<granted_leases>> all;  // at once, so that there are several connections
  for (int i = 0; i < 10; ++i)
    all.push_back(remote.begin_acquire(remote.wanting("lock-" + std::to_string(i), "alice")));
  for (auto& one : all) ASSERT_TRUE(one.get());
  service->kill();
  service = std::make_unique<test_dislockd>(std::vector<std::string>{}, store.engine(), port);
  all.clear();
  for (int i = 10; i < 30; ++i)
    all.push_back(remote.begin_acquire(remote.wanting("lock-" + std::to_string(i), "alice")));
  for (auto& one : all) EXPECT_TRUE(one.get());
}

TEST(RemoteFaults, AServiceThatStandsStillCostsARequestTimeoutAndLosesNothing) {
  test_dislockd service;
  test_remote remote(service.url(), quick());
  const auto held = remote.acquire("a", "alice");
  ASSERT_TRUE(held);
  service.freeze();
  const auto tried = remote.acquire("b", "alice");
  EXPECT_EQ(code_of(tried), errc::outcome_unknown);
  const auto status = remote.ask<lock_state>([](backend& b, auto done) { b.inspect("a", std::move(done)); });
  EXPECT_EQ(code_of(status), errc::engine_unavailable) << "a question leaves no doubt behind";
  EXPECT_THAT(status.error().detail, HasSubstr("no answer in time"));

  auto released = remote.begin<void>([&](backend& b, auto done) {
    b.release({"a", "alice", held->leases[0].id}, "release-once", later(b.now(), 20s), std::move(done));
  });
  EXPECT_FALSE(released.over(700ms));  // more than one try
  service.thaw();
  EXPECT_TRUE(released.get());
  EXPECT_FALSE(remote.inspect("a").locked);
}

TEST(RemoteFaults, TheNextPlaceTakesOverFromOneThatDrains) {
  test_dislockd first, second;
  test_remote remote("http://" + first.address() + "," + second.address());
  ASSERT_TRUE(remote.acquire("a", "alice"));
  auto waits = remote.begin_acquire(remote.wanting("a", "bob", 20s));
  remote.until_waiting("a", 1);
  first.drain();
  const auto got = waits.get();  // in these two, which share nothing, the lock is free at the other one
  ASSERT_TRUE(got) << to_string(got.error().code);
  first.reap();
  EXPECT_TRUE(remote.acquire("b", "bob"));
  test_remote other(second.url());
  EXPECT_EQ(other.inspect("a").holders.at(0).client, "bob");
}

TEST(RemoteFaults, EverybodyMovesOnWhenAPlaceDies) {
  test_dislockd first, second;
  test_remote remote("http://" + first.address() + "," + second.address(), quick());
  ASSERT_TRUE(remote.acquire("a", "alice"));
  first.kill();
  for (int i = 0; i < 20; ++i) {
    auto got = remote.acquire("b" + std::to_string(i), "alice", 5s);
    EXPECT_TRUE(got) << i;
  }
}

// A way that loses things: a proxy in front of a real service.

class LossyWay : public testing::Test {
 protected:
  test_dislockd service_{{"--waiter-grace", "0.1"}};
  std::atomic<bool> lose_{true};
  std::atomic<int> lost_{0};
  test_server way_{[this](std::string_view request, test_wire& wire) {
    auto there = test_wire::to(service_.port());
    there.send(request);
    const bool acquires = request.find("/acquire ") != std::string_view::npos;
    auto answer = there.receive();
    if (acquires && lose_) {
      ++lost_;
      return false;  // it was done, and nobody hears of it
    }
    if (answer) wire.send(*answer);
    return answer.has_value();
  }};
};

TEST_F(LossyWay, AGrantThatGotLostIsUnknownAndCancelLeavesNothingLocked) {
  test_remote remote(way_.url(), quick());
  const auto call = remote.wanting("a", "alice");
  const auto lost = remote.acquire(call);
  ASSERT_EQ(code_of(lost), errc::outcome_unknown);
  EXPECT_TRUE(remote.inspect("a").locked) << "it had been granted";
  ASSERT_TRUE(remote.cancel(call));
  EXPECT_FALSE(remote.inspect("a").locked);
}

TEST_F(LossyWay, AGrantThatGotLostIsFoundByRepeatingTheRequest) {
  test_remote remote(way_.url(), quick());
  auto waits = remote.begin_acquire(remote.wanting("a", "alice", 20s));
  while (lost_ == 0) std::this_thread::yield();
  lose_ = false;
  const auto got = waits.get();
  ASSERT_TRUE(got) << to_string(got.error().code);
  const auto state = remote.inspect("a");
  ASSERT_THAT(state.holders, SizeIs(1));
  EXPECT_EQ(state.holders[0].token, got->leases[0].token) << "one lease, not two";
  EXPECT_TRUE(remote.release(got->leases[0], "alice"));
  EXPECT_FALSE(remote.inspect("a").locked);
}

// The client speaks with the service directly, and by a way that can be cut.
TEST(RemoteFaults, APlaceThatWasLostOnTheWayIsTakenAnew) {
  test_dislockd service({"--waiter-grace", "0.1"});
  std::atomic<bool> open{true};
  test_server way([&](std::string_view request, test_wire& wire) {
    if (!open) return false;
    auto there = test_wire::to(service.port());
    there.send(request);
    pollfd both[] = {{there.socket(), POLLIN, 0}, {wire.socket(), POLLIN | POLLRDHUP, 0}};
    ::poll(both, 2, 20'000);
    if (both[1].revents != 0) return false;  // and the connection to the service ends with it
    const auto answer = there.receive();
    if (answer) wire.send(*answer);
    return answer.has_value();
  });
  test_remote direct(service.url());
  test_remote remote(way.url(), quick());
  const auto held = direct.acquire("a", "alice");
  ASSERT_TRUE(held);
  const auto call = remote.wanting("a", "bob", 20s);
  auto waits = remote.begin_acquire(call);
  direct.until_waiting("a", 1);
  open = false;
  way.cut();
  direct.until_waiting("a", 0);  // its grace is over: the service remembers it as refused
  open = true;
  direct.until_waiting("a", 1);
  ASSERT_TRUE(direct.release(held->leases[0], "alice"));
  const auto got = waits.get();
  ASSERT_TRUE(got) << to_string(got.error().code);
}

TEST(RemoteFaults, CancelReachesTheRequestThatWasTakenAnew) {
  test_dislockd service({"--waiter-grace", "0.1"});
  std::atomic<int> mode{0};  // 0: as it is, 1: cut, 2: acquires are lost after they arrived
  std::atomic<int> seen{0};
  test_server way([&](std::string_view request, test_wire& wire) {
    if (mode == 1) return false;
    auto there = test_wire::to(service.port());
    there.send(request);
    pollfd both[] = {{there.socket(), POLLIN, 0}, {wire.socket(), POLLIN | POLLRDHUP, 0}};
    ::poll(both, 2, 20'000);
    if (both[1].revents != 0) return false;
    const auto answer = there.receive();
    if (mode == 2 && request.find("~1") != std::string_view::npos &&
        request.find("/cancel ") == std::string_view::npos)
      return ++seen, false;
    if (answer) wire.send(*answer);
    return answer.has_value();
  });
  test_remote direct(service.url());
  test_remote remote(way.url(), quick());
  auto held = direct.acquire("a", "alice");
  ASSERT_TRUE(held);
  const auto call = remote.wanting("a", "bob", 3s);
  call_number number{};
  auto waits = remote.begin_acquire(call, &number);
  direct.until_waiting("a", 1);
  mode = 1;
  way.cut();
  direct.until_waiting("a", 0);
  mode = 2;
  ASSERT_TRUE(direct.release(held->leases[0], "alice"));
  while (seen == 0) std::this_thread::yield();  // granted to the new request, and lost
  remote.on().run([&] { remote.where().abandon(number); });
  EXPECT_EQ(code_of(waits.get()), errc::outcome_unknown);
  EXPECT_TRUE(direct.inspect("a").locked);
  ASSERT_TRUE(remote.cancel(call));
  EXPECT_FALSE(direct.inspect("a").locked);
}

// Peers that are no lock service

class Strange : public testing::Test {
 protected:
  result<granted_leases> answered(std::string bytes) {
    test_server peer([bytes](std::string_view, test_wire& wire) { return wire.send(bytes), true; });
    test_remote remote(peer.url(), quick());
    EXPECT_TRUE(remote.open()) << remote.why().detail;
    return remote.acquire("a", "alice");
  }
  static std::string granted(std::string_view ttl, std::string_view more = {}) {
    return R"({"acquired":true,"lockName":"a","lockId":"d86a7acc159db9af1c05b9b24611c149",)"
           R"("renewalToken":"c42703737c774711ea927ff161e3fa31","fencingToken":7,"mode":"exclusive",)"
           R"("clientId":"alice","expiresAt":"2026-11-21T02:00:30.000Z","elapsed":0,"waitTime":0,"holdCount":1,"ttl":)" +
           std::string(ttl) + std::string(more) + "}";
  }
};

TEST_F(Strange, AProperAnswerIsTakenAndUnknownFieldsDoNotMatter) {
  EXPECT_TRUE(answered(test_reply(200, granted("30"))));
  EXPECT_TRUE(answered(test_reply(200, granted("29.5", R"(,"later":{"x":[1]})"))));
  EXPECT_TRUE(answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + [] {
    const auto body = granted("30");
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", body.size());
    return size + body + "\r\n0\r\n\r\n";
  }()));
}

TEST_F(Strange, NonsenseIsNoGrantAndNoOutcomeEither) {
  const std::string huge(1024 * 1024 + 1, ' ');
  for (const auto& bytes : {
           std::string("hello\r\n\r\n"),
           std::string("SSH-2.0-OpenSSH\r\n"),
           std::string("HTTP/1.1 100 Continue\r\n\r\n"),
           test_reply(200, "{}"),
           test_reply(200, "not json"),
           test_reply(200, ""),
           test_reply(200, "[1,2,3]"),
           test_reply(200, granted("-1")),
           test_reply(200, granted("1e300")),
           test_reply(200, granted("\"30\"")),
           test_reply(200, granted("30", R"(,"lockName":"b")")),
           test_reply(302, "", "text/html", "Location: http://127.0.0.1:1/\r\n"),
           test_reply(404, "<html>not found</html>", "text/html"),
           test_reply(502, "<html>bad gateway</html>", "text/html"),
           test_reply(204, ""),
           test_reply(200, huge),
           std::string("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
           "HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n",
           std::string("HTTP/1.1 200 OK\r\n\r\n") + granted("30"),  // cut off would look complete
           test_reply(200, granted("30")) + test_reply(200, granted("30")),
           std::string("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
       }) {
    const auto got = answered(bytes);
    EXPECT_EQ(code_of(got), errc::outcome_unknown) << bytes.substr(0, 120);
  }
}

TEST_F(Strange, AnAnswerThatDripsIsNotWaitedForLongerThanARequestMayTake) {
  std::atomic<bool> ending{false};
  test_server peer([&](std::string_view, test_wire& wire) {
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    pollfd gone{wire.socket(), POLLIN | POLLRDHUP, 0};
    while (!ending && ::poll(&gone, 1, 20) == 0) wire.send(" ");
    return false;
  });
  test_remote remote(peer.url(), quick());
  const auto before = remote.on().now();
  EXPECT_EQ(code_of(remote.acquire("a", "alice")), errc::outcome_unknown);
  EXPECT_GE(remote.on().now() - before, 500ms);
  EXPECT_LT(remote.on().now() - before, 5s);
  ending = true;
}

TEST_F(Strange, AConnectionThatEndsWithoutAnAnswerIsADoubt) {
  test_server peer([](std::string_view, test_wire&) { return false; });
  test_remote remote(peer.url(), quick());
  EXPECT_EQ(code_of(remote.acquire("a", "alice")), errc::outcome_unknown);
}

TEST_F(Strange, AnOverloadedServiceIsAskedAgainLaterAndTheRefusalIsKeptToTheEnd) {
  std::atomic<int> asked{0};
  test_server peer([&](std::string_view, test_wire& wire) {
    wire.send(++asked < 4 ? problem(errc::overloaded) : test_reply(200, granted("30")));
    return true;
  });
  test_remote remote(peer.url(), quick());
  EXPECT_TRUE(remote.acquire("a", "alice", 20s));
  EXPECT_EQ(asked, 4);

  test_server never(
      [&](std::string_view, test_wire& wire) { return wire.send(problem(errc::overloaded)), true; });
  test_remote other(never.url(), quick());
  EXPECT_EQ(code_of(other.acquire("a", "alice", 100ms)), errc::overloaded);
  EXPECT_EQ(code_of(other.acquire("a", "alice")), errc::overloaded) << "a try is one attempt";
}

TEST_F(Strange, AServiceThatSendsItsWaitersAwayAtOnceIsNotAskedInALoop) {
  std::atomic<int> asked{0};
  test_server peer([&](std::string_view, test_wire& wire) {
    ++asked;
    return wire.send(test_reply(202, R"({"acquired":false})")), true;
  });
  test_remote remote(peer.url(), quick());
  EXPECT_EQ(code_of(remote.acquire("a", "alice", 300ms)), errc::outcome_unknown);
  EXPECT_LT(asked, 100);  // a loop would make thousands
}

TEST_F(Strange, RetryAfterIsHonoured) {
  std::atomic<int> asked{0};
  instant first{}, second{};
  test_strand time;
  test_server peer([&](std::string_view, test_wire& wire) {
    (++asked == 1 ? first : second) = time.now();
    wire.send(asked == 1 ? problem(errc::overloaded, "Retry-After: 1\r\n") : test_reply(200, granted("30")));
    return true;
  });
  test_remote remote(peer.url(), quick());
  EXPECT_TRUE(remote.acquire("a", "alice", 20s));
  EXPECT_GE(second - first, 1s);
}

TEST_F(Strange, ADoubtStaysADoubtWhateverIsSaidLater) {
  std::atomic<int> asked{0};
  test_server peer([&](std::string_view, test_wire& wire) {
    if (++asked == 1) return false;  // lost
    return wire.send(problem(errc::engine_unavailable)), true;
  });
  test_remote remote(peer.url(), quick());
  EXPECT_EQ(code_of(remote.acquire("a", "alice", 100ms)), errc::outcome_unknown);
  EXPECT_GT(asked, 1);
}

TEST_F(Strange, BeliefCountsFromBeforeTheRequestEvenIfTheAnswerIsSlow) {
  test_server peer([](std::string_view, test_wire& wire) {
    pollfd nothing{wire.socket(), POLLRDHUP, 0};
    ::poll(&nothing, 1, 200);
    return wire.send(test_reply(200, granted("1"))), true;
  });
  test_remote remote(peer.url(), quick());
  const auto before = remote.on().now();
  const auto got = remote.acquire("a", "alice");
  ASSERT_TRUE(got);
  EXPECT_GE(got->leases[0].valid_until, before + 988ms);
  EXPECT_LT(got->leases[0].valid_until, before + 1100ms);
}

TEST_F(Strange, EventsComeOverACutStreamByResuming) {
  std::atomic<int> opened{0};
  std::string resumed;
  const auto event = [](int id) {
    return "id: " + std::to_string(id) + "\nevent: acquired\ndata: {\"id\":\"" + std::to_string(id) +
           "\",\"at\":\"2026-11-21T02:00:30.000Z\",\"type\":\"acquired\",\"lockName\":\"a\",\"clientId\":"
           "\"c\"}\n\n";
  };
  const auto chunk = [](const std::string& s) {
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", s.size());
    return size + s + "\r\n";
  };
  test_server peer([&](std::string_view request, test_wire& wire) {
    wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (++opened == 1) {
      wire.send(chunk("retry: 1000\nid: 5\n\n") + chunk(event(6)) + chunk(event(7).substr(0, 20)));
      return false;  // in the middle of the second
    }
    resumed = request;
    wire.send(chunk("retry: 1000\nid: 6\n\n") + chunk(": still here\n\n") + chunk(event(7)));
    pollfd gone{wire.socket(), POLLIN | POLLRDHUP, 0};
    ::poll(&gone, 1, 20'000);
    return false;
  });
  test_remote remote(peer.url(), quick());
  const auto page = [&](std::uint64_t id) {
    auto p =
        remote.ask<event_page>([&](backend& b, auto done) { b.events_after(id, {}, 10s, std::move(done)); });
    EXPECT_TRUE(p);
    return p ? *p : event_page{};
  };
  const auto first = page(5);
  ASSERT_THAT(first.events, SizeIs(1));
  EXPECT_EQ(first.newest, 6U);
  const auto second = page(first.newest);
  ASSERT_THAT(second.events, SizeIs(1));
  EXPECT_EQ(second.events[0].id, 7U);
  EXPECT_THAT(resumed, HasSubstr("Last-Event-ID: 6\r\n"));
}

TEST_F(Strange, EventsOfNobodyAreAnErrorNotAnEmptyPage) {
  test_dislockd service;
  test_remote remote(service.url(), quick());
  service.kill();
  const auto page =
      remote.ask<event_page>([](backend& b, auto done) { b.events_after(7, {}, 100ms, std::move(done)); });
  EXPECT_EQ(code_of(page), errc::engine_unavailable);
}

}  // namespace
}  // namespace dislock::library
