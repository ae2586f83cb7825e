// A program of somebody else's: everything that it knows of dislock is in the public headers.
#include <dislock/client.hpp>
#include <dislock/election.hpp>

#include <cstdio>
#include <string>

using namespace std::chrono_literals;

namespace {

int failed(const char* what, const dislock::error& why) {
  std::fprintf(stderr, "%s: %s\n", what, why.message().c_str());
  return 1;
}

}  // namespace

// The lost signal, with time that the program moves itself: a lease that was taken away is noticed when it is
// renewed.
int told_of_a_loss() {
  dislock::manual_clock time;
  auto locks = dislock::client::connect("memory:", {.time = &time});
  if (!locks) return failed("connect", locks.error());
  auto held = locks->acquire("orders/42", {.wait = 1s});
  if (!held) return failed("acquire", held.error());
  if (!held->held() || held->lost().stop_requested()) return 2;
  auto busy = locks->try_acquire("orders/42");
  if (!busy) return failed("try_acquire", busy.error());
  if (busy->has_value()) return 3;
  bool told = false;
  const std::stop_callback on_lost(held->lost(), [&told] { told = true; });
  const auto taken = locks->force_release("orders/42", std::nullopt, "maintenance");
  if (!taken) return failed("force_release", taken.error());
  locks->advance(10s);
  if (!told || held->held()) return 6;
  return held->release() ? 7 : 0;  // it was not ours any more
}

int main() {
  if (const int wrong = told_of_a_loss()) return wrong;

  auto connected = dislock::client::connect("memory:");
  if (!connected) return failed("connect", connected.error());
  auto& locks = *connected;

  // with_lock: the result is the work's
  const auto sum = locks.with_lock("orders/43", [](dislock::lease& mine) {
    return std::to_string(dislock::to_number(mine.fencing_token()));
  });
  if (!sum) return failed("with_lock", sum.error());
  if (sum->empty()) return 4;

  // what is refused says why
  auto mine = locks.acquire("orders/44");
  const auto refused = locks.acquire("orders/44", {.wait = 10ms});
  if (refused || refused.error().code != dislock::errc::lock_not_acquired ||
      refused.error().holders.size() != 1)
    return 5;

  // one leader, whom everybody can see
  dislock::election election(locks, "leader", "host-1");
  auto leadership = election.campaign();
  if (!leadership) return failed("campaign", leadership.error());
  const auto leads = election.current();
  if (!leads || !*leads || (*leads)->value != "host-1") return 8;
  if (const auto resigned = election.resign(*leadership); !resigned)
    return failed("resign", resigned.error());

  std::puts("all is well");
  return 0;
}
