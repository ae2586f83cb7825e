#include "library/remote/endpoints.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dislock::library::remote {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

std::string places(std::string_view url) {
  const auto all = parse_endpoints(url);
  if (!all) return all.error().detail;
  std::string out;
  for (const auto& e : *all) out += (out.empty() ? "" : " ") + e.authority;
  return out;
}

TEST(EndpointUrl, NamesOnePlaceOrSeveral) {
  EXPECT_EQ(places("http://localhost"), "localhost:5000");
  EXPECT_EQ(places("http://a:1,b,10.0.0.7:65535/"), "a:1 b:5000 10.0.0.7:65535");
  EXPECT_EQ(places("http://[::1]:80,[2001:db8::1]"), "[::1]:80 [2001:db8::1]:5000");
}

TEST(EndpointUrl, KeepsBracketsOutOfTheHost) {
  const auto all = parse_endpoints("http://[::1]:80");
  ASSERT_TRUE(all);
  EXPECT_EQ(all->at(0).host, "::1");
}

TEST(EndpointUrl, RefusesWhatIsNoPlace) {
  for (const auto* url :
       {"http://", "http:///", "http://a,,b", "http://a,", "http://:5000", "http://a:0", "http://a:70000",
        "http://a:x", "http://a b", "http://a/b", "http://a?x=1", "http://a#x", "ftp://a", "a:5000",
        "http://[::1", "http://[v1.x]", "http://a%0d%0ab", "http://a%2Fb", "http://a,a:5000"}) {
    const auto all = parse_endpoints(url);
    ASSERT_FALSE(all) << url;
    EXPECT_EQ(all.error().code, errc::invalid_field) << url;
    EXPECT_THAT(all.error().detail, HasSubstr("url: ")) << url;
  }
}

TEST(EndpointUrl, DoesNotRepeatAPassword) {
  EXPECT_THAT(places("http://me:secret@a:5000"), Not(HasSubstr("secret")));
  EXPECT_THAT(places("http://a,me:secret@a:5000"), Not(HasSubstr("secret")));
}

TEST(EndpointUrl, SaysThatHttpsIsNotThereYet) {
  EXPECT_EQ(places("https://a"), "url: https is not supported yet");
}

class EndpointChoice : public testing::Test {
 protected:
  instant now_ = from_microseconds(1'000'000'000);
  endpoint_choice three_{3};
};

TEST_F(EndpointChoice, SticksToThePlaceThatWorks) {
  EXPECT_EQ(three_.pick(now_), 0U);
  three_.worked(2);
  EXPECT_EQ(three_.pick(now_), 2U);
  EXPECT_EQ(three_.pick(now_ + 1h), 2U);
}

TEST_F(EndpointChoice, GoesOnToTheNextOneThatIsNotAvoided) {
  three_.failed(0, now_);
  EXPECT_EQ(three_.pick(now_), 1U);
  three_.failed(1, now_);
  EXPECT_EQ(three_.pick(now_), 2U);
}

TEST_F(EndpointChoice, DoesNotComeBackToThePlaceThatFailedWhileAnotherOneWorks) {
  three_.failed(0, now_);
  three_.worked(1);
  EXPECT_EQ(three_.pick(now_ + 1h), 1U);
}

TEST_F(EndpointChoice, TriesTheOneThatComesFreeFirstWhenAllAreAvoided) {
  three_.failed(1, now_);
  three_.failed(2, now_ + 10ms);
  three_.failed(0, now_ + 20ms);
  EXPECT_EQ(three_.pick(now_ + 30ms), 1U);
}

TEST_F(EndpointChoice, AvoidsAPlaceForLongerWithEachFailureInARow) {
  EXPECT_FALSE(three_.avoided(0, now_));
  three_.failed(0, now_);
  EXPECT_TRUE(three_.avoided(0, now_ + 99ms));
  EXPECT_FALSE(three_.avoided(0, now_ + 100ms));
  now_ += 100ms;
  three_.failed(0, now_);
  EXPECT_TRUE(three_.avoided(0, now_ + 199ms));
  EXPECT_FALSE(three_.avoided(0, now_ + 200ms));
  for (int i = 0; i < 20; ++i) three_.failed(0, now_ += 10s);
  EXPECT_TRUE(three_.avoided(0, now_ + 4999ms));
  EXPECT_FALSE(three_.avoided(0, now_ + 5s));
  three_.worked(0);
  EXPECT_FALSE(three_.avoided(0, now_));
  three_.failed(0, now_);
  EXPECT_FALSE(three_.avoided(0, now_ + 100ms));
}

TEST_F(EndpointChoice, CountsWhatFailedTogetherOnce) {
  for (int i = 0; i < 50; ++i) three_.failed(0, now_);
  EXPECT_FALSE(three_.avoided(0, now_ + 100ms));
}

}  // namespace
}  // namespace dislock::library::remote
