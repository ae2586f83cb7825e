// Any bytes, in any pieces: the reader neither crashes nor holds more than its bounds, sees the same replies
// however the bytes were cut, and what is made of them (slot maps, redirections, facts, sightings) takes
// everything.
#include "engines/redis/wire/opening.hpp"
#include "engines/redis/wire/reply.hpp"
#include "engines/redis/wire/retry.hpp"
#include "engines/redis/wire/sentinels.hpp"
#include "engines/redis/wire/slots.hpp"
#include "engines/redis/wire/url.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace dislock::redis;

constexpr reply_limits limits{.bytes = 4096, .items = 40, .depth = 5};

void require(bool condition) {
  if (!condition) std::abort();
}

struct measure {
  std::size_t bytes = 0, items = 0, depth = 0;
};

void describe(const reply& r, std::string& out, measure& m, std::size_t depth) {
  ++m.items;
  m.bytes += r.text.size();
  m.depth = std::max(m.depth, depth);
  out += std::to_string(static_cast<int>(r.is)) + ":" + std::to_string(r.number) + ":" + r.text + "(";
  for (const auto& item : r.items) describe(item, out, m, depth + (item.is == reply::kind::array ? 1 : 0));
  out += ")";
}

std::string read_all(std::string_view bytes, std::size_t piece) {
  reply_reader reader(limits);
  std::string out;
  reply got;
  while (!bytes.empty()) {
    reader.feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    auto how = reader.next(got);
    for (; how == reply_reader::progress::complete; how = reader.next(got)) {
      measure m;
      describe(got, out, m, got.is == reply::kind::array ? 1 : 0);
      require(m.bytes <= limits.bytes && m.items <= limits.items && m.depth <= limits.depth);
      (void)judge(got);
      (void)slot_map::from(got, {"asked", 1});
      (void)parse_redirection(got.text, {"asked", 1});
      (void)parse_sighting(got);
      (void)parse_switch(got.text, "master");
      (void)server_facts(got.text).incarnation();
      (void)key_slot(got.text);
    }
    if (how == reply_reader::progress::failed) return out;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + bytes[0] % 61;
  const std::string_view input(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  require(read_all(input, piece) == read_all(input, 1 + piece / 2));
  if (const auto url = parse_store_url(input)) require(!url->places.empty() && !url->display().empty());
  return 0;
}
