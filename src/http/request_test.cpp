#include "http/request.hpp"

#include <gtest/gtest.h>

namespace dislock::http {
namespace {

TEST(PercentDecode, DecodesOnceAndLeavesPlusAlone) {
  EXPECT_EQ(percent_decode("orders%2F42+a"), "orders/42+a");
  EXPECT_EQ(percent_decode("%2541"), "%41");
  EXPECT_EQ(percent_decode(""), "");
}

TEST(PercentDecode, RefusesWhatIsNotAnEscape) {
  for (const auto* text : {"%", "a%4", "%4g", "%g4", "%%41", "%-1", "%00"}) {
    EXPECT_EQ(percent_decode(text), std::nullopt) << text;
  }
}

TEST(ParseQuery, SplitsAndDecodesBothSides) {
  const auto parameters = parse_query("prefix=a%2Fb&limit=10&flag&x=1=2&reason=no+good");
  const query_parameters expected = {
      {"prefix", "a/b"}, {"limit", "10"}, {"flag", ""}, {"x", "1=2"}, {"reason", "no good"}};
  EXPECT_EQ(parameters, expected);
}

TEST(ParseQuery, SkipsEmptyPiecesAndRefusesBadEscapes) {
  EXPECT_EQ(parse_query(""), query_parameters{});
  EXPECT_EQ(parse_query("&&a=1&"), (query_parameters{{"a", "1"}}));
  EXPECT_EQ(parse_query("a=%zz"), std::nullopt);
  EXPECT_EQ(parse_query("%=1"), std::nullopt);
}

}  // namespace
}  // namespace dislock::http
