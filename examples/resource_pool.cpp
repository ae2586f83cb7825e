// Two licences for six workers, on as many machines as there are: a semaphore says who may use one.
//
//     resource_pool [URL]
#include <dislock/semaphore.hpp>

#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto locks = dislock::client::connect(argc > 1 ? argv[1] : "memory:");
  if (!locks) {
    std::fprintf(stderr, "%s\n", locks.error().message().c_str());
    return 1;
  }
  dislock::semaphore licences(*locks, "examples/licences", 2, {.wait = 30s});

  std::atomic<int> in_use{0}, failed{0};
  std::vector<std::jthread> workers;
  for (int number = 1; number <= 6; ++number) {
    workers.emplace_back([&, number] {
      auto licence = licences.acquire();  // given back at the end of the function
      if (!licence) {
        std::fprintf(stderr, "%s\n", licence.error().message().c_str());
        ++failed;
        return;
      }
      const int now = ++in_use;
      std::printf("worker %d has a licence, %d in use here\n", number, now);
      if (now > 2) ++failed;
      std::this_thread::sleep_for(20ms);
      --in_use;
    });
  }
  workers.clear();  // waits for all
  return failed == 0 ? 0 : 1;
}
