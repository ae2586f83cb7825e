#include "http/host_policy.hpp"

#include "http/trace_id.hpp"

#include <gtest/gtest.h>

namespace dislock::http {
namespace {

std::optional<errc> check(const host_policy& policy, std::string_view host, std::string_view origin = {}) {
  request r;
  r.host = host;
  r.origin = origin;
  return policy.check(r, true);
}

TEST(HostPolicy, AlwaysAllowsLoopbackWithAnyPort) {
  const host_policy policy({}, {});
  for (const auto* host : {"localhost", "LocalHost:5000", "localhost.", "app.localhost:1", "127.0.0.1",
                           "127.0.0.1:80", "127.255.1.2", "[::1]", "[::1]:5000"}) {
    EXPECT_EQ(check(policy, host), std::nullopt) << host;
  }
}

TEST(HostPolicy, RefusesNamesThatOnlyLookLikeLoopback) {
  const host_policy policy({}, {});
  for (const auto* host :
       {"example.com", "127.0.0.1.evil.com", "127.evil.com", "127.0.0", "127.0.0.256", "127.0.0.1.1",
        "localhost.evil.com", "evillocalhost", "[::2]", "0.0.0.0", "10.0.0.1"}) {
    EXPECT_EQ(check(policy, host), errc::unknown_host) << host;
  }
}

TEST(HostPolicy, CallsAHostThatIsNoHostMalformed) {
  const host_policy policy({"*"}, {});
  for (const auto* host : {"", "a b", "user@localhost", "localhost:", "localhost:99999999", "localhost:x",
                           "[::1", "a/b", "localhost,localhost", "[zz]", ":80"}) {
    const auto expected =
        std::string_view(host) == "localhost:" ? std::nullopt : std::optional(errc::malformed_http);
    EXPECT_EQ(check(policy, host), expected) << host;
  }
}

TEST(HostPolicy, AllowsConfiguredNamesAndTheirPorts) {
  const host_policy policy({"locks.example.com", "Other.example:8443"}, {});
  EXPECT_EQ(check(policy, "locks.example.com"), std::nullopt);
  EXPECT_EQ(check(policy, "LOCKS.example.com:81"), std::nullopt);
  EXPECT_EQ(check(policy, "other.example:8443"), std::nullopt);
  EXPECT_EQ(check(policy, "other.example"), errc::unknown_host);
  EXPECT_EQ(check(policy, "other.example:84430"), errc::unknown_host);
}

TEST(HostPolicy, NeedsNoHostFromHttp10) {
  EXPECT_EQ(host_policy({}, {}).check(request{}, false), std::nullopt);
  EXPECT_EQ(host_policy({}, {}).check(request{}, true), errc::malformed_http);
}

TEST(OriginPolicy, AllowsTheServersOwnPagesAndConfiguredOrigins) {
  const host_policy policy({"locks.example"}, {"https://console.example"});
  EXPECT_EQ(check(policy, "localhost:5000", "http://localhost:5000"), std::nullopt);
  EXPECT_EQ(check(policy, "locks.example", "http://locks.example:80"), std::nullopt);
  EXPECT_EQ(check(policy, "locks.example", "https://locks.example"), std::nullopt);
  EXPECT_EQ(check(policy, "locks.example", "https://Console.example"), std::nullopt);
}

TEST(OriginPolicy, RefusesEverythingElse) {
  const host_policy policy({}, {"https://console.example"});
  for (const auto* origin : {"null", "http://evil.example", "http://localhost:5001", "http://localhost",
                             "http://console.example", "file://localhost:5000", "localhost:5000",
                             "http://localhost:5000.evil.example", "http://localhost:5000/x"}) {
    EXPECT_EQ(check(policy, "localhost:5000", origin), errc::forbidden_origin) << origin;
  }
}

TEST(TraceId, IsTakenFromAValidTraceparentOnly) {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_EQ(trace_id_of(good), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(trace_id_of("01" + good.substr(2) + "-later"), "0af7651916cd43dd8448eb211c80319c");
  for (const auto& bad :
       {std::string(), good + "-x", "ff" + good.substr(2), "00-" + std::string(32, '0') + good.substr(35),
        good.substr(0, 36) + std::string(16, '0') + "-01",
        "00-0AF7651916CD43DD8448EB211C80319C" + good.substr(35), good.substr(0, 54)}) {
    EXPECT_EQ(trace_id_of(bad), "") << bad;
  }
}

TEST(TraceId, IsMadeUpWhereNoneWasSentAndDiffersEachTime) {
  trace_id_source source;
  std::array<char, 32> first{};
  std::array<char, 32> second{};
  source.make("", first);
  source.make("nonsense", second);
  EXPECT_NE(first, second);
  for (const char c : first) EXPECT_TRUE((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
}

}  // namespace
}  // namespace dislock::http
