// At most four calls in any half second, among all processes that call.
//
//     rate_limit [URL]
#include <dislock/rate_limiter.hpp>

#include <chrono>
#include <cstdio>

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto locks = dislock::client::connect(argc > 1 ? argv[1] : "memory:");
  if (!locks) {
    std::fprintf(stderr, "%s\n", locks.error().message().c_str());
    return 1;
  }
  dislock::rate_limiter calls(*locks, "examples/calls", 4, 500ms);

  const auto began = std::chrono::steady_clock::now();
  for (int call = 1; call <= 10; ++call) {
    const auto waited = calls.pass(30s);  // in order of arrival
    if (!waited) {
      std::fprintf(stderr, "%s\n", waited.error().message().c_str());
      return 1;
    }
    const std::chrono::duration<double, std::milli> at = std::chrono::steady_clock::now() - began;
    std::printf("call %2d at %4.0f ms\n", call, at.count());
  }

  // Who would rather not wait asks first.
  const auto now = calls.try_pass();
  if (now) std::puts(*now ? "one more was let through" : "one more would have had to wait");
  return now ? 0 : 1;
}
