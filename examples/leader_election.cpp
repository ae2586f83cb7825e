// One leader among all candidates; the others wait in line and take over when it resigns, dies, or cannot be
// heard of.
//
//     leader_election [URL] [NAME]
#include <dislock/election.hpp>

#include <cstdio>
#include <string>
#include <thread>

using namespace std::chrono_literals;

namespace {

// What only a leader may do. Returns when it no longer is one, or after a few rounds.
void lead(const std::string& name, const dislock::lease& leadership) {
  const auto lost = leadership.lost();
  for (int round = 1; round <= 3; ++round) {
    if (lost.stop_requested()) {
      std::printf("%s: no longer the leader\n", name.c_str());
      return;
    }
    std::printf("%s: leads, round %d\n", name.c_str(), round);
    std::this_thread::sleep_for(20ms);
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto locks = dislock::client::connect(argc > 1 ? argv[1] : "memory:");
  if (!locks) {
    std::fprintf(stderr, "%s\n", locks.error().message().c_str());
    return 1;
  }
  const std::string name = argc > 2 ? argv[2] : "north";

  // A leader that dies is followed after 5 s.
  dislock::election election(*locks, "examples/leader", name, {.ttl = 5s});

  // Everybody can see who leads, candidates and others.
  const auto watching = election.observe([&name](const std::optional<dislock::leader>& who) {
    std::printf("%s: sees that %s leads\n", name.c_str(), who ? who->value.c_str() : "nobody");
  });

  auto leadership = election.campaign();  // waits for its turn
  if (!leadership) {
    std::fprintf(stderr, "%s\n", leadership.error().message().c_str());
    return 1;
  }
  lead(name, *leadership);
  const auto resigned = election.resign(*leadership);
  std::printf("%s: %s\n", name.c_str(), resigned ? "resigned" : resigned.error().message().c_str());
  return resigned ? 0 : 1;
}
