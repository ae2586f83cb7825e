// A holder that slept through the end of its lease must not overwrite what came after it. No lock can prevent
// that by itself: the resource compares fencing tokens, and refuses the old one.
//
//     fenced_write [URL] [FILE]
#include <dislock/client.hpp>

#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

namespace {

/// A file that remembers the highest token that ever wrote to it, in its first line. A database does this in
/// one statement: `UPDATE report SET text = $2, token = $1 WHERE token <= $1`.
class fenced_file {
 public:
  explicit fenced_file(std::string path) : path_(std::move(path)) {}

  /// False: somebody with a later token was here, and nothing was written.
  [[nodiscard]] bool write(dislock::fencing_token token, const std::string& text) const {
    std::uint64_t highest = 0;
    std::ifstream(path_) >> highest;
    if (dislock::to_number(token) < highest) return false;
    std::ofstream(path_) << dislock::to_number(token) << '\n' << text << '\n';
    return true;
  }

 private:
  std::string path_;
};

}  // namespace

int main(int argc, char** argv) {
  auto locks = dislock::client::connect(argc > 1 ? argv[1] : "memory:");
  if (!locks) {
    std::fprintf(stderr, "%s\n", locks.error().message().c_str());
    return 1;
  }
  const fenced_file report(argc > 2 ? argv[2] : "fenced_write.report");

  // The first holder gets stuck: nobody renews its lease, and it does not look at it.
  auto stuck = locks->acquire("examples/report", {.ttl = 500ms, .renew = false});
  if (!stuck) {
    std::fprintf(stderr, "%s\n", stuck.error().message().c_str());
    return 1;
  }
  // So the lock goes on to the next one, which writes.
  auto next = locks->acquire("examples/report", {.wait = 10s});
  if (!next) {
    std::fprintf(stderr, "%s\n", next.error().message().c_str());
    return 1;
  }
  const bool wrote = report.write(next->fencing_token(), "by the second holder");
  std::printf("the second holder %s\n", wrote ? "wrote" : "was refused");

  // The first one wakes up. Had it asked `held()`, it would know; the file is safe even so.
  std::printf("the first holder %s\n", stuck->held() ? "still believes in its lease" : "has lost its lease");
  const bool wrote_late = report.write(stuck->fencing_token(), "by the first holder, too late");
  std::printf("the first holder %s\n", wrote_late ? "wrote" : "was refused");
  return wrote && !wrote_late ? 0 : 1;
}
