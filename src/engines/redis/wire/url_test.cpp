#include "engines/redis/wire/url.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

std::string problem(std::string_view url) {
  const auto parsed = parse_store_url(url);
  if (parsed) return "no problem";
  EXPECT_EQ(parsed.error().code, errc::invalid_field);
  EXPECT_THAT(parsed.error().detail, testing::StartsWith("url: "));
  return parsed.error().detail.substr(5);
}

store_url parsed(std::string_view url) {
  auto out = parse_store_url(url);
  EXPECT_TRUE(out) << url << ": " << out.error().detail;
  return out ? *out : store_url{};
}

TEST(RedisUrl, NamesOneServer) {
  const auto u = parsed("redis://localhost");
  EXPECT_EQ(u.what, store_url::kind::single);
  EXPECT_THAT(u.places, ElementsAre(address{"localhost", 6379}));
  EXPECT_FALSE(u.tls.on);
  EXPECT_FALSE(u.login.given);
  EXPECT_EQ(u.database, 0U);
  EXPECT_EQ(parsed("redis://10.1.2.3:7000/").places[0], (address{"10.1.2.3", 7000}));
  EXPECT_EQ(parsed("redis://[::1]:7000").places[0], (address{"::1", 7000}));
}

TEST(RedisUrl, HoldsWhoAsks) {
  auto u = parsed("redis://me:p%40ss%2Fword@host/3");
  EXPECT_EQ(u.login.user, "me");
  EXPECT_EQ(u.login.password, "p@ss/word");
  EXPECT_EQ(u.database, 3U);
  u = parsed("redis://:secret@host");
  EXPECT_TRUE(u.login.given);
  EXPECT_EQ(u.login.user, "");
  EXPECT_EQ(u.login.password, "secret");
}

TEST(RedisUrl, NamesTheDatabaseInThePathOrAfterIt) {
  EXPECT_EQ(parsed("redis://h/7").database, 7U);
  EXPECT_EQ(parsed("redis://h?db=7").database, 7U);
  EXPECT_EQ(parsed("redis://h/7?db=7").database, 7U);
  EXPECT_EQ(problem("redis://h/7?db=8"), "names two databases");
  EXPECT_EQ(problem("redis://h/x"), "the database 'x' is not a number");
  EXPECT_EQ(problem("redis://h/-1"), "the database '-1' is not a number");
}

TEST(RedisUrl, NamesSentinelsAndTheirMaster) {
  const auto u = parsed("redis+sentinel://:pw@a,b:5/prod/2?sentinel-user=s&sentinel-password=t");
  EXPECT_EQ(u.what, store_url::kind::sentinel);
  EXPECT_THAT(u.places, ElementsAre(address{"a", 26379}, address{"b", 5}));
  EXPECT_EQ(u.master, "prod");
  EXPECT_EQ(u.database, 2U);
  EXPECT_EQ(u.login.password, "pw");
  EXPECT_EQ(u.sentinel_login.user, "s");
  EXPECT_EQ(u.sentinel_login.password, "t");
  EXPECT_EQ(parsed("redis+sentinel://a").master, "mymaster");
  EXPECT_FALSE(parsed("redis+sentinel://:pw@a").sentinel_login.given);
}

TEST(RedisUrl, NamesSomeNodesOfACluster) {
  const auto u = parsed("rediss+cluster://a:1,[::2]:2");
  EXPECT_EQ(u.what, store_url::kind::cluster);
  EXPECT_TRUE(u.tls.on);
  EXPECT_THAT(u.places, ElementsAre(address{"a", 1}, address{"::2", 2}));
  EXPECT_EQ(problem("redis+cluster://a/1"), "a Cluster has database 0 only");
}

TEST(RedisUrl, NamesAnOddNumberOfIndependentServers) {
  EXPECT_EQ(parsed("redlock://a,b,c/1").places.size(), 3U);
  EXPECT_THAT(problem("redlock://a,b"), HasSubstr("odd number"));
}

TEST(RedisUrl, SaysHowTlsIsMeant) {
  const auto u = parsed("rediss://h?ca=%2Fetc%2Fca.pem&cert=c&key=k");
  EXPECT_TRUE(u.tls.on);
  EXPECT_TRUE(u.tls.verify);
  EXPECT_EQ(u.tls.ca_file, "/etc/ca.pem");
  EXPECT_EQ(u.tls.cert_file, "c");
  EXPECT_EQ(u.tls.key_file, "k");
  EXPECT_FALSE(parsed("rediss://h?insecure=true").tls.verify);
  EXPECT_THAT(problem("redis://h?ca=x"), HasSubstr("for TLS"));
  EXPECT_THAT(problem("rediss://h?cert=x"), HasSubstr("belong together"));
  EXPECT_THAT(problem("rediss://h?insecure=yes"), HasSubstr("true or false"));
  EXPECT_THAT(problem("rediss://h?insecure=true&ca=x"), HasSubstr("without effect"));
}

TEST(RedisUrl, LimitsTheTimeForConnecting) {
  EXPECT_EQ(parsed("redis://h").connect_timeout, 2s);
  EXPECT_EQ(parsed("redis://h?connect-timeout=0.25").connect_timeout, 250ms);
  for (const auto* bad : {"0", "-1", "61", "x", "nan", "1s"})
    EXPECT_THAT(problem(std::string("redis://h?connect-timeout=") + bad), HasSubstr("from 0.01 to 60"))
        << bad;
}

TEST(RedisUrl, SaysHowKeysBegin) {
  EXPECT_FALSE(parsed("redis://h").prefix);
  EXPECT_EQ(parsed("redis://h?prefix=").prefix, "");
  EXPECT_EQ(parsed("redis://h?prefix=a%3Ab").prefix, "a:b");
  EXPECT_EQ(parsed("redis+cluster://h?own-prefix={a}:").own_prefix, "{a}:") << "braces as they are";
  EXPECT_EQ(parsed("redis+cluster://h?own-prefix=%7Ba%7D:").own_prefix, "{a}:");
}

TEST(RedisUrl, LeavesParametersOfOthersToOthers) {
  EXPECT_THAT(parsed("redis://h?colour=a%3Ab&name=x").others, ElementsAre(Pair("colour", "a:b")));
  EXPECT_EQ(problem("redis://h?a=1&a=2"), "the parameter 'a' is given twice");
}

TEST(RedisUrl, NamesThePartThatIsWrong) {
  EXPECT_THAT(problem("http://h"), HasSubstr("must begin with redis://"));
  EXPECT_THAT(problem("redis:/h"), HasSubstr("must begin with redis://"));
  EXPECT_EQ(problem("redis://"), "'' is not host[:port]");
  EXPECT_EQ(problem("redis+cluster://a,,b"), "'' is not host[:port]");
  EXPECT_EQ(problem("redis://h:0"), "the port of 'h:0' is not a number from 1 to 65535");
  EXPECT_EQ(problem("redis://h:70000"), "the port of 'h:70000' is not a number from 1 to 65535");
  EXPECT_THAT(problem("redis://h:tcp"), HasSubstr("'h:tcp' is not host[:port]"));
  EXPECT_EQ(problem("redis://a b"), "'a b' is not host[:port]");
  EXPECT_EQ(problem("redis://a%20b"), "'a%20b' is not a host name");
  EXPECT_EQ(problem("redis+cluster://a,a:6379"), "'a:6379' is named twice");
  EXPECT_THAT(problem("redis://a,b"), HasSubstr("redis:// names one server"));
  EXPECT_THAT(problem("redis://me@h"), HasSubstr("a user needs a password"));
  EXPECT_THAT(problem("redis://h#x"), HasSubstr("fragment"));
  EXPECT_THAT(problem("redis://h?name=a%20b"), HasSubstr("without spaces"));
  EXPECT_THAT(problem("redis://h?sentinel-password=x"), HasSubstr("redis+sentinel:// only"));
}

TEST(RedisUrl, NeverRepeatsWhatMayBeAPassword) {
  for (const auto* url :
       {"redis://me:hush@h:bad", "redis://:hu/sh@h", "redis://:hush@h/hush", "redis://:hush@hush hush",
        "redis://:hush@h?hush=1&hush=2", "redis://:hush%zz@h", "redis://hush@h", "redis://:pa:hush@x@y:0",
        "redis+sentinel://:x@h?sentinel-password=hush&ca=1", "redis+cluster://:hush@a/hush",
        "redis://:hu#sh@h"})
    EXPECT_THAT(problem(url), testing::AllOf(Not(HasSubstr("hush")), Not(HasSubstr("hu")), Not("no problem")))
        << url;
}

TEST(RedisUrl, IsShownWithoutSecrets) {
  EXPECT_EQ(parsed("rediss://me:hush@h:1/2?prefix=x").display(), "rediss://h:1/2");
  EXPECT_EQ(parsed("redis+sentinel://:hush@a,[::1]/prod?sentinel-password=hush").display(),
            "redis+sentinel://a:26379,[::1]:26379/prod");
}

TEST(RedisUrl, EndsWhereItsViewEnds) {
  const std::string_view longer = "redis://h:1/2?name=someone-else";
  const auto url = parsed(longer.substr(0, longer.find('-')));
  EXPECT_EQ(url.client_name, "someone");
}

}  // namespace
}  // namespace dislock::redis
