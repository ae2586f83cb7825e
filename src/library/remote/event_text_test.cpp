#include "library/remote/event_text.hpp"

#include <gtest/gtest.h>

namespace dislock::library::remote {
namespace {

std::string read_all(event_text& t) {
  std::string out;
  while (auto b = t.next()) out += "[" + b->id.value_or("-") + "|" + b->event + "|" + b->data + "]";
  return out;
}

TEST(EventText, CutsBlocksWhereverTheBytesAreCut) {
  const std::string stream =
      "retry: 1000\nid: 5\n\n: still here\n\nid: 6\nevent: acquired\ndata: {\"a\":1}\n\nevent: reset\ndata: "
      "{}\n\n";
  for (std::size_t size = 1; size <= stream.size(); ++size) {
    event_text t;
    std::string out;
    for (std::size_t at = 0; at < stream.size(); at += size) {
      t.feed(std::string_view(stream).substr(at, size));
      out += read_all(t);
    }
    EXPECT_EQ(out, R"([5||][6|acquired|{"a":1}][-|reset|{}])") << size;
    EXPECT_EQ(t.unread(), 0U);
  }
}

TEST(EventText, JoinsLinesOfDataAndTakesEitherLineEnd) {
  event_text t;
  t.feed("id:7\r\nevent:x\r\ndata:a\r\ndata: b\r\nother: c\r\n\r\n");
  EXPECT_EQ(read_all(t), "[7|x|a\nb]");
}

TEST(EventText, ShowsNoBlockBeforeItsEnd) {
  event_text t;
  t.feed("id: 7\nevent: x\ndata: a\n");
  EXPECT_EQ(read_all(t), "");
  t.feed("\n");
  EXPECT_EQ(read_all(t), "[7|x|a]");
}

}  // namespace
}  // namespace dislock::library::remote
