// Everything at once, from many threads: never two owners, and nothing stays locked. The seed is printed;
// DISLOCK_SEED=n plays the same choices again, though not the same interleaving.
#pragma once

#include "library/core.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace dislock::library {

using namespace std::chrono_literals;

inline unsigned seed() {
  const char* given = std::getenv("DISLOCK_SEED");
  const unsigned out = given ? static_cast<unsigned>(std::atoi(given)) : std::random_device()();
  std::cout << "DISLOCK_SEED=" << out << '\n';
  return out;
}

// Who is inside of each lock, as the holders themselves see it.
class onlooker {
 public:
  static constexpr std::uint32_t limit = 3;

  explicit onlooker(client& locks) : locks_of_(locks) {}

  void enter(const lease& l) {
    auto& one = of(l.lock());
    if (l.mode() == lock_mode::exclusive) {
      const auto writers = one.writers.fetch_add(1);
      const auto readers = one.readers.load();
      const auto before = one.token.exchange(to_number(l.fencing_token()));
      check(writers == 0 && readers == 0, "two owners", l, before);
      check(to_number(l.fencing_token()) > before, "a token that does not rise", l, before);
    } else if (l.mode() == lock_mode::shared) {
      one.readers.fetch_add(1);
      check(one.writers == 0, "a reader beside a writer", l, one.token);
    } else {
      check(one.permits.fetch_add(1) < limit, "more permits than there are", l, 0);
    }
    ++grants;
  }
  void leave(const lease& l) {
    auto& one = of(l.lock());
    (l.mode() == lock_mode::exclusive ? one.writers
     : l.mode() == lock_mode::shared  ? one.readers
                                      : one.permits)
        .fetch_sub(1);
  }
  std::atomic<int> grants{0}, wrong{0};

 private:
  struct lock {
    std::atomic<std::uint32_t> writers{0}, readers{0}, permits{0};
    std::atomic<std::uint64_t> token{0};
  };
  lock& of(std::string_view name) { return locks_[static_cast<std::size_t>(name.back() - '0')]; }
  void check(bool right, const char* what, const lease& l, std::uint64_t before) {
    if (right) return;
    ++wrong;
    std::ostringstream out;
    out << what << ": " << l.lock() << " by " << l.client_id() << ", token " << to_number(l.fencing_token())
        << ", before " << before << ", " << of(l.lock()).writers << " writers, " << of(l.lock()).readers
        << " readers\n";
    // What the engine knows of it, and of its last 20 ms.
    const auto state = locks_of_.inspect(l.lock()).value();
    for (const auto& h : state.holders)
      out << "  held by " << h.client << ' ' << to_string(h.mode) << ' ' << to_number(h.token) << '\n';
    const auto newest = locks_of_.events_after(0)->newest;
    const auto page = locks_of_.events_after(newest - 20'000, l.lock()).value();
    for (const auto& e : page.events)
      out << "  " << e.type << ' ' << e.client << ' ' << e.reason << ' '
          << (e.token ? to_number(*e.token) : 0) << '\n';
    std::cout << out.str() << std::flush;
  }
  client& locks_of_;
  std::array<lock, 10> locks_;
};

class worker {
 public:
  worker(client locks, onlooker& seen, unsigned number)
      : locks_(std::move(locks)), seen_(seen), random_(number) {}

  void work(int times) {
    for (int i = 0; i < times; ++i) step();
  }

 private:
  unsigned pick(unsigned most) { return std::uniform_int_distribution<unsigned>(0, most - 1)(random_); }
  // 0 to 4: readers and writers; 5 and 6: semaphores.
  std::string some_lock() { return "lock/" + std::to_string(pick(5)); }
  acquire_options some_options() {
    acquire_options how{.wait = std::chrono::milliseconds(pick(20))};
    if (pick(3) == 0) how.mode = lock_mode::shared;
    return how;
  }
  void inside(lease& mine) {
    seen_.enter(mine);
    if (pick(4) == 0) std::this_thread::yield();
    if (pick(8) == 0) (void)mine.renew();
    if (pick(8) == 0) (void)mine.lost();
    if (!mine.held()) ++seen_.wrong;
    seen_.leave(mine);
  }
  void step() {
    switch (pick(9)) {
      case 0: {
        auto mine = locks_.acquire(some_lock(), some_options());
        if (mine) inside(*mine);
        if (mine && pick(2) == 0 && !mine->release()) ++seen_.wrong;
        break;
      }
      case 1:
        if (auto mine = locks_.try_acquire(some_lock(), some_options()); mine && *mine) inside(**mine);
        break;
      case 2: {
        const auto first = pick(4);
        auto all = locks_.acquire_all({"lock/" + std::to_string(first + 1), "lock/" + std::to_string(first)},
                                      some_options());
        if (all)
          for (auto& each : all->leases()) inside(each);
        break;
      }
      case 3:
        (void)locks_.with_lock(some_lock(), some_options(), [&](lease& mine) { inside(mine); });
        break;
      case 4: {  // somebody else ends the wait
        std::stop_source stop;
        auto how = some_options();
        how.stop = stop.get_token();
        std::thread other([&] { stop.request_stop(); });
        if (auto mine = locks_.acquire(some_lock(), std::move(how))) inside(*mine);
        other.join();
        break;
      }
      case 5: {
        auto how = some_options();
        how.mode = lock_mode::semaphore;
        how.limit = onlooker::limit;
        if (auto mine = locks_.acquire("pool/" + std::to_string(5 + pick(2)), std::move(how))) inside(*mine);
        break;
      }
      case 6: {  // nested: may be refused as a deadlock
        auto outer = locks_.acquire(some_lock(), some_options());
        if (!outer) break;
        auto how = some_options();
        how.within = &*outer;
        if (auto inner = locks_.acquire(some_lock(), std::move(how))) inside(*inner);
        break;
      }
      case 7: {
        auto mine = locks_.acquire(some_lock(), some_options());
        if (!mine) break;
        inside(*mine);
        const auto ticket = std::move(*mine).detach();
        if (!locks_.release(ticket)) ++seen_.wrong;
        break;
      }
      default:
        (void)locks_.inspect(some_lock());
        (void)locks_.list("lock/");
        (void)locks_.events_after(0);
    }
  }

  client locks_;
  onlooker& seen_;
  std::mt19937 random_;
};

inline void everything_at_once(client locks, int threads, int times) {
  onlooker seen(locks);
  std::vector<std::thread> all;
  const auto base = seed();
  for (int i = 0; i < threads; ++i)
    all.emplace_back([&, i] { worker(locks, seen, base + static_cast<unsigned>(i)).work(times); });
  for (auto& each : all) each.join();
  EXPECT_EQ(seen.wrong, 0);
  EXPECT_GT(seen.grants, threads * times / 10);
  // What was granted to somebody who had left is given back when its commit is known, or what the store made
  // of it.
  auto left = locks.list().value();
  for (int i = 0; i < 1'000 && !left.empty(); ++i) {
    std::this_thread::sleep_for(10ms);
    left = locks.list().value();
  }
  EXPECT_TRUE(left.empty()) << left.size() << " locks are left, among them " << left.front().name;
  EXPECT_TRUE(locks.close());
}

}  // namespace dislock::library
