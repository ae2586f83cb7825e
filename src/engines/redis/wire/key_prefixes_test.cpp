#include "engines/redis/wire/key_prefixes.hpp"

#include <gtest/gtest.h>

namespace dislock::redis {
namespace {

result<key_prefixes> prefixes(const std::string& url) {
  const auto parsed = parse_store_url(url);
  return parsed ? key_prefixes::of(*parsed) : result<key_prefixes>(parsed.error());
}
std::string of(const std::string& url) {
  const auto p = prefixes(url);
  return p ? p->canonical + "|" + p->own : p.error().detail;
}

TEST(KeyPrefixes, AreWhatTheUrlSays) {
  EXPECT_EQ(of("redis://h"), "lock:|dislock:");
  EXPECT_EQ(of("redis://h?prefix="), "|dislock:");
  EXPECT_EQ(of("redis://h?prefix=mutex/&own-prefix=d%3A"), "mutex/|d:");
  EXPECT_EQ(of("redlock://a,b,c?prefix=locks:"), "locks:|dislock:");
}

TEST(KeyPrefixes, KeepAServiceInOneSlotOfACluster) {
  EXPECT_EQ(of("redis+cluster://h"), "{dislock}:key:|{dislock}:");
  EXPECT_EQ(of("redis+cluster://h?own-prefix={billing}:"), "{billing}:key:|{billing}:");
  EXPECT_EQ(of("redis+cluster://h?own-prefix=billing:"),
            "url: own-prefix needs a hash tag on a Cluster, such as {billing}:");
  EXPECT_EQ(of("redis+cluster://h?own-prefix={}billing:"),
            "url: own-prefix needs a hash tag on a Cluster, such as {billing}:");
  EXPECT_EQ(of("redis+cluster://h?prefix=x"),
            "url: prefix means nothing on a Cluster: all keys begin with own-prefix there");
}

TEST(KeyPrefixes, DoNotMeet) {
  EXPECT_EQ(of("redis://h?prefix=dislock:"), "url: prefix must not begin with own-prefix");
  EXPECT_EQ(of("redis://h?prefix=dislock:lock:"), "url: prefix must not begin with own-prefix");
  EXPECT_EQ(of("redis://h?own-prefix="), "url: own-prefix is 1 to 100 bytes without control characters");
  EXPECT_EQ(of("redis://h?own-prefix=a%0Ab"), "url: own-prefix is 1 to 100 bytes without control characters");
  EXPECT_EQ(of("redis://h?prefix=" + std::string(101, 'x')),
            "url: prefix is at most 100 bytes without control characters");

  const auto none = *prefixes("redis://h?prefix=");
  EXPECT_TRUE(none.reserve("dislock:fence"));
  EXPECT_FALSE(none.reserve("dislock"));
  EXPECT_FALSE(none.reserve("order-1"));
  const auto part = *prefixes("redis://h?prefix=dis");
  EXPECT_TRUE(part.reserve("lock:fence"));
  EXPECT_FALSE(part.reserve("dislock:fence"));
  EXPECT_FALSE(prefixes("redis://h")->reserve("dislock:fence"));
  EXPECT_FALSE(prefixes("redis+cluster://h")->reserve("{dislock}:fence"));
}

}  // namespace
}  // namespace dislock::redis
