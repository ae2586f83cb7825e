// One at a time, among all processes: what is read, changed and written under a lock does not get lost.
//
//     critical_section [URL] [FILE]
//
// Run it twice at once with the same service and file: the file counts every round of both.
#include <dislock/client.hpp>

#include <cstdio>
#include <fstream>
#include <string>

using namespace std::chrono_literals;

namespace {

int count_one_more(const std::string& path) {
  int count = 0;
  std::ifstream(path) >> count;
  std::ofstream(path) << ++count;
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string url = argc > 1 ? argv[1] : "memory:";
  const std::string path = argc > 2 ? argv[2] : "critical_section.count";

  auto locks = dislock::client::connect(url);
  if (!locks) {
    std::fprintf(stderr, "%s\n", locks.error().message().c_str());
    return 1;
  }

  for (int round = 0; round < 50; ++round) {
    // The lock is given back when the function returns, and when it throws. Its result is passed on.
    const auto count = locks->with_lock("examples/counter", {.wait = 30s},
                                        [&path](dislock::lease&) { return count_one_more(path); });
    if (!count) {
      std::fprintf(stderr, "%s\n", count.error().message().c_str());
      return 1;
    }
    if (round % 10 == 9) std::printf("the file says %d\n", *count);
  }
  return 0;
}
