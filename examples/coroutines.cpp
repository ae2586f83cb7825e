// The same calls as coroutines: twenty workers take turns, and no thread waits for any of them.
//
//     coroutines [URL]
#include <dislock/async_client.hpp>

#include <cstdio>
#include <vector>

using namespace std::chrono_literals;

namespace {

// Parameters are copied into a coroutine; what a reference refers to has to outlive it.
dislock::task<bool> work(dislock::async_client locks, int number, int& turns) {
  const auto turn = [&locks, &turns](dislock::lease&) -> dislock::task<int> {
    const int before = turns;
    auto slept = co_await locks.sleep(1ms);  // other coroutines run meanwhile, but none that needs this lock
    if (slept) turns = before + 1;
    co_return turns;
  };
  auto count = co_await locks.with_lock("examples/turn", turn);
  if (!count) {
    std::fprintf(stderr, "%s\n", count.error().message().c_str());
    co_return false;
  }
  std::printf("worker %2d had turn %2d\n", number, *count);
  co_return true;
}

dislock::task<bool> all_work(dislock::async_client locks) {
  int turns = 0;
  std::vector<dislock::running_task<bool>> workers;  // destroying one ends it
  for (int number = 1; number <= 20; ++number) workers.push_back(dislock::start(work(locks, number, turns)));
  bool all = true;
  for (auto& each : workers) {
    const bool well = co_await std::move(each);
    all = all && well;
  }
  co_return all&& turns == 20;
}

}  // namespace

int main(int argc, char** argv) {
  auto locks = dislock::client::connect(argc > 1 ? argv[1] : "memory:");
  if (!locks) {
    std::fprintf(stderr, "%s\n", locks.error().message().c_str());
    return 1;
  }
  return dislock::sync_wait(all_work(locks->async())) ? 0 : 1;
}
