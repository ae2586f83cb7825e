// A job that every machine starts and only one has to do: who finds it taken leaves it to the other.
//
//     try_and_skip [URL]
#include <dislock/client.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  auto locks = dislock::client::connect(argc > 1 ? argv[1] : "memory:");
  if (!locks) {
    std::fprintf(stderr, "%s\n", locks.error().message().c_str());
    return 1;
  }

  const auto clean_up = [&locks](dislock::lease& mine) {
    std::printf("cleaning up, under the fencing token %llu\n",
                static_cast<unsigned long long>(dislock::to_number(mine.fencing_token())));
    // Whoever comes meanwhile does not wait.
    const auto second =
        locks->try_with_lock("examples/clean-up", [](dislock::lease&) { std::puts("twice at once?"); });
    if (second && !*second) std::puts("somebody else is at it: skipped");
  };

  // An error is not the same as "somebody else has it": then nobody knows whether the job is being done.
  const auto did_it = locks->try_with_lock("examples/clean-up", clean_up);
  if (!did_it) {
    std::fprintf(stderr, "%s\n", did_it.error().message().c_str());
    return 1;
  }
  std::puts(*did_it ? "done" : "somebody else is at it: skipped");
  return 0;
}
