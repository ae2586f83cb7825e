// A program that does fenced work under leases, and says what it does, for paused_holder_test.py.
//
//     paused_holder URL FOLDER NAME [--locks N] [--ttl SECONDS] [--plant BUG]
//
// N threads, each with a lock and a fenced file of its own. Each waits for its lock and then works until it
// has to stop: it asks the lease whether it is still held, and appends a line with the lease's token. Every
// step is a line on standard output, with the time of CLOCK_BOOTTIME. When standard input ends it gives its
// locks back.
//
// Who has lost its lease tries one more write, on purpose: the file has to refuse it.
//
// Planted bugs, which the test has to find:
//   no-lost-signal   the lease is taken for held as long as the object exists. Neither `held()`, which looks
//   at the
//                    local deadline, nor the token of `lost()` is asked, as if the library had neither.
//   no-fence-check   the file takes whatever is written
#include "dislock/client.hpp"
#include "fenced_file.hpp"

#include <CLI/CLI.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using dislock::test::fenced_file;
using namespace std::chrono_literals;

double boot_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

class diary {
 public:
  // What happened at `at`. Written at once, so that nobody who is stopped has something left to say.
  void note(std::size_t lock, const char* event, double at, const std::string& more = {}) {
    char line[512];
    const int size =
        std::snprintf(line, sizeof line, "{\"lock\": %zu, \"event\": \"%s\", \"at\": %.6f%s%s}\n", lock,
                      event, at, more.empty() ? "" : ", ", more.c_str());
    const std::lock_guard one(mutex_);
    if (::write(STDOUT_FILENO, line, static_cast<std::size_t>(size)) != size) ::_exit(3);
  }

 private:
  std::mutex mutex_;
};

struct settings {
  std::string url, folder, name;
  std::size_t locks = 8;
  double ttl = 2;
  bool asks = true;    // off: planted
  bool fenced = true;  // off: planted
};

std::string quoted(std::string_view key, std::string_view value) {
  return std::string("\"").append(key).append("\": \"").append(value).append("\"");
}

void work(dislock::client locks, const settings& how, std::size_t number, diary& says,
          const std::atomic<bool>& ending) {
  const fenced_file file(how.folder + "/" + std::to_string(number));
  if (!file.usable()) return says.note(number, "failed", boot_seconds(), quoted("why", "no file"));
  const auto ttl = std::chrono::duration_cast<dislock::duration>(std::chrono::duration<double>(how.ttl));
  dislock::acquire_options wants;
  wants.wait = 60s;
  wants.ttl = ttl;
  auto held = locks.acquire("paused/" + std::to_string(number), wants);
  if (!held) return says.note(number, "failed", boot_seconds(), quoted("why", held.error().message()));
  const auto token = to_number(held->fencing_token());
  says.note(number, "acquired", boot_seconds(), "\"token\": " + std::to_string(token));
  const auto lost = held->lost();
  const auto still_held = [&] { return !how.asks || (held->held() && !lost.stop_requested()); };

  while (!ending) {
    const auto asked = boot_seconds();
    if (!still_held()) {
      says.note(
          number, "lost", boot_seconds(),
          quoted("stage", to_string(held->stage())) + ", " + quoted("cause", to_string(held->why_lost())));
      const bool taken = file.append(token, how.name, how.fenced);
      says.note(number, taken ? "late write taken" : "late write refused", boot_seconds());
      const auto given_back = held->release();
      says.note(number, "released", boot_seconds(),
                quoted("result", given_back ? "done" : to_string(given_back.error().code)));
      return;
    }
    // Told to be held, it acts. What comes between the question and the act is what the fence is for.
    says.note(number, "acts", asked);
    const bool taken = file.append(token, how.name, how.fenced);
    says.note(number, taken ? "wrote" : "refused", boot_seconds());
    if (!taken && how.asks) {  // the file knows better
      while (still_held()) std::this_thread::sleep_for(1ms);
      continue;
    }
    std::this_thread::sleep_for(2ms);
  }
  const auto given_back = held->release();
  says.note(number, "released", boot_seconds(),
            quoted("result", given_back ? "done" : to_string(given_back.error().code)));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Does fenced work under leases, and says what it does.");
  settings how;
  std::string plant;
  app.add_option("url", how.url)->required();
  app.add_option("folder", how.folder)->required();
  app.add_option("name", how.name)->required();
  app.add_option("--locks", how.locks)->capture_default_str();
  app.add_option("--ttl", how.ttl)->capture_default_str();
  app.add_option("--plant", plant)->check(CLI::IsMember({"no-lost-signal", "no-fence-check"}));
  CLI11_PARSE(app, argc, argv);
  how.asks = plant != "no-lost-signal";
  how.fenced = plant != "no-fence-check";

  auto locks = dislock::client::connect(how.url);
  if (!locks) return std::fprintf(stderr, "%s\n", locks.error().message().c_str()), 1;
  diary says;
  std::atomic<bool> ending{false};
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < how.locks; ++i)
    workers.emplace_back([&, i] { work(*locks, how, i, says, ending); });
  char end = 0;
  while (::read(STDIN_FILENO, &end, 1) > 0) {
  }
  ending = true;
  for (auto& each : workers) each.join();
  return 0;
}
