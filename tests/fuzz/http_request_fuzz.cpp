// Any bytes, in any pieces: the reader neither crashes nor reads outside of its buffer, stays within its
// memory bound, and sees the same requests however the bytes were cut.
#include "http/host_policy.hpp"
#include "http/request_reader.hpp"
#include "http/trace_id.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace dislock::http;

constexpr reader_limits limits{.header = 1024, .body = 512, .chunk_extension = 16, .pipelined = 256};

void require(bool condition) {
  if (!condition) std::abort();
}

std::string describe(const request& r) {
  static const host_policy policy({"locks.example"}, {});
  std::string all;
  for (const auto part : {r.path, r.query, r.body, r.content_type, r.host, r.origin, r.last_event_id,
                          r.accept, r.traceparent, trace_id_of(r.traceparent)}) {
    all.append(part).append("\n--\n");
  }
  const auto decoded = percent_decode(r.path);
  const auto parameters = parse_query(r.query);
  all += decoded ? *decoded : "undecodable";
  all += std::to_string(parameters ? parameters->size() : 0);
  const auto refused = policy.check(r, true);
  all += refused ? dislock::to_string(*refused) : "welcome";
  return all;
}

// The requests in `bytes`, read in pieces of at most `piece`.
std::vector<std::string> read_all(std::string_view bytes, std::size_t piece) {
  std::vector<std::string> seen;
  request_reader reader(limits);
  auto outcome = request_reader::progress::need_more;
  while (!bytes.empty() && outcome != request_reader::progress::failed) {
    const auto room = reader.room();
    const auto count = std::min({room.size(), bytes.size(), piece});
    require(count > 0);
    std::copy_n(bytes.begin(), count, room.begin());
    reader.received(count);
    bytes.remove_prefix(count);
    while ((outcome = reader.advance()) == request_reader::progress::complete) {
      require(reader.current().body.size() <= limits.body);
      seen.push_back(describe(reader.current()));
      reader.next();
    }
    require(reader.capacity() <= 16 * 1024);
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + bytes[0] % 61;
  const std::string_view input(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  require(read_all(input, piece) == read_all(input, 1024));
  return 0;
}
