// The same random operations on the reference and on the engine under test.
#include "twin.hpp"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <random>

namespace dislock::testing_engines {
namespace {

constexpr std::uint64_t default_seed = 20'260'101;

std::uint64_t chosen_seed() {
  const char* text = std::getenv("DISLOCK_SEED");
  return text ? std::strtoull(text, nullptr, 10) : default_seed;
}

// Time goes in whole seconds and everything that ends does so some odd milliseconds later, each kind others,
// so that the microseconds by which a restart moves ends never decide what comes first.
constexpr duration grace = 5s + 19ms;
constexpr duration memory = 30s + 23ms;
constexpr duration repeatable =
    25s;  // a restart prolongs what is remembered; only ask for what both still know

class Differential : public testing::TestWithParam<engine_under_test> {
 protected:
  // One lease, call or session, by the secrets that the two engines gave it.
  struct lease_pair {
    std::string lock, client;
    grant a, b;
  };
  struct call {
    instant at{};
    bool multi = false;
    std::string client, request;
    std::vector<wish> wishes;
    session_id session_b;
    lock_id reentry_b;
    duration wait{};
  };
  struct wait_pair {
    std::vector<std::string> locks;
    std::string client;
    queued a, b;
    bool over = false;
  };
  struct session_pair {
    session_opened a, b;
  };

  void start(std::uint64_t seed) {
    std::cout << "seed " << seed << " (DISLOCK_SEED repeats it)\n";
    random_.seed(seed);
    const host_settings settings{.waiter_grace = grace, .request_memory = memory};
    a_.host = make_memory_host(settings, a_.time, a_.told);
    b_.host = GetParam().make(settings, b_.time, b_.told);
    meet();
  }

  void play(int steps, bool restarts) {
    for (int i = 0; i < steps; ++i) {
      one_step(restarts);
      compare_all();
      ASSERT_EQ(compared_.difference(), "") << "at step " << i << ": " << doing_;
    }
  }

  std::uint64_t upto(std::uint64_t n) { return random_() % (n + 1); }
  bool chance(std::uint64_t one_in) { return upto(one_in - 1) == 0; }
  template <class Container>
  auto& any(Container& all) {
    return all[upto(all.size() - 1)];
  }
  std::string_view some_lock() { return std::array<std::string_view, 4>{"a", "b", "c", "d"}[upto(3)]; }
  std::string some_client() { return "c" + std::to_string(upto(4)); }
  // Where a restart moves no ends, no two of them come at one instant, at which either may be first.
  duration seconds_and(std::uint64_t from, std::uint64_t to, duration odd) {
    if (b_.host->store_runs_on() || !b_.host->outlives_its_process()) odd += duration(++ends_ % 997);
    return std::chrono::seconds(from + upto(to - from)) + odd;
  }

  void one_step(bool restarts) {
    if (restarts && chance(15)) return start_again();
    const auto n = upto(25);
    if (n < 7) return ask(single());
    if (n < 9) return ask(several());
    if (n < 12) return give_back();
    if (n < 13) return extend();
    if (n < 14) return call_off();
    if (n < 15) return chance(2) ? end_by_force() : lose_reply();
    if (n < 17) return session();
    if (n < 18) return go_away();
    if (n < 21) return let_time_pass();
    if (n < 23) return ask_again();
    if (n < 24) return hold_once_more();
    look_at_places();
  }

  // --- asking
  // ------------------------------------------------------------------------------------------------

  wish any_wish() {
    wish w{.lock = some_lock(), .ttl = seconds_and(1, 20, 3ms)};
    const auto& can = b_.host->engine().about();
    const auto mode = w.lock == "d" && can.semaphore ? 2 : upto(5) < 3 || !can.shared ? 0 : 1;
    if (mode == 1) w = shared(w);
    if (mode == 2) w = permits(1 + static_cast<std::uint32_t>(upto(2)), chance(20) ? 4 : 3, w);
    // Two leases of one lock may end at one instant; whether one's delay comes before the other's hand-over
    // is nobody's business.
    if (mode == 0 && chance(5) && can.lock_delay) w.lock_delay = std::chrono::seconds(1 + upto(2)) + 11ms;
    if (chance(6)) w.max_hold = seconds_and(5, 25, 13ms);
    if (w.max_hold && chance(2)) w.auto_renew = true;
    return w;
  }

  call single() {
    call c;
    c.client = some_client();
    c.wishes.push_back(any_wish());
    finish(c);
    return c;
  }

  call several() {
    if (!b_.host->engine().about().multi) return single();
    call c;
    c.multi = true;
    c.client = some_client();
    const auto count = 1 + upto(2);
    while (c.wishes.size() <= count) {
      const auto w = any_wish();
      const auto taken = [&](const wish& x) { return x.lock == w.lock; };
      if (std::none_of(c.wishes.begin(), c.wishes.end(), taken)) c.wishes.push_back(w);
    }
    finish(c);
    return c;
  }

  void finish(call& c) {
    if (!chance(4)) c.request = "r" + std::to_string(++requests_);
    if (!chance(3)) c.wait = seconds_and(1, 12, 7ms);
    if (!sessions_.empty() && chance(5)) {
      const auto& s = any(sessions_);
      c.wishes[0].session = s.a.id;
      c.session_b = s.b.id;
    }
  }

  void ask(const call& c) {
    doing_ = c.client + " asks for " + std::string(c.wishes[0].lock) + (c.multi ? " and others" : "") +
             ", request " + c.request;
    std::vector<lock_want> wants;
    for (const auto& w : c.wishes) wants.push_back({lock_name(w.lock), w.mode, w.limit, w.permits});
    auto w = waiting(c.wait, c.wishes[0]);
    const auto asked = [&](engine& e, auto done) {
      e.acquire(request_of(c.request, c.client, w, wants, c.multi), std::move(done));
    };
    const auto a = a_.await<acquire_answer>(asked);
    w.session = c.session_b;
    w.reentry = c.reentry_b;
    const auto b = b_.await<acquire_answer>(asked);
    compared_.same("the answer", a, b);
    if (a.index() != b.index()) return;
    if (is_granted(a)) note_leases(locks_of(c), c.client, a, b);
    if (is_queued(a)) waits_.push_back({locks_of(c), c.client, std::get<queued>(a), std::get<queued>(b)});
    if (c.request.empty()) return;
    const auto known = [&](const call& x) { return x.request == c.request; };
    if (std::any_of(calls_.begin(), calls_.end(), known)) return;
    calls_.push_back(c);
    calls_.back().at = a_.time.now();
  }

  static std::vector<std::string> locks_of(const call& c) {
    std::vector<std::string> out;
    for (const auto& w : c.wishes) out.emplace_back(w.lock);
    return out;
  }
  void note_leases(const std::vector<std::string>& locks, const std::string& client, const acquire_answer& a,
                   const acquire_answer& b) {
    const auto& here = std::get<granted>(a).leases;
    const auto& there = std::get<granted>(b).leases;
    for (std::size_t i = 0; i < std::min(here.size(), there.size()); ++i)
      leases_.push_back({locks[i], client, here[i], there[i]});
    while (leases_.size() > 12) leases_.pop_front();
  }

  void ask_again() {
    std::erase_if(calls_, [this](const call& c) { return c.at + repeatable < a_.time.now(); });
    if (calls_.empty()) return;
    auto again = any(calls_);
    if (chance(15)) again.wishes[0].ttl += 1s;  // another body
    ask(again);
  }

  void hold_once_more() {
    if (leases_.empty()) return;
    const auto lease = any(leases_);
    call c;
    c.client = lease.client;
    c.request = "r" + std::to_string(++requests_);
    // The name has to outlive the call that remembers it.
    const auto at =
        std::array<std::string_view, 4>{"a", "b", "c", "d"}[static_cast<std::size_t>(lease.lock[0] - 'a')];
    wish w{.lock = at,
           .mode = lease.a.mode,
           .limit = lease.a.limit,
           .permits = lease.a.permits,
           .ttl = seconds_and(1, 20, 3ms)};
    w.reentry = lease.a.id;
    c.reentry_b = lease.b.id;
    c.wishes.push_back(w);
    ask(c);
  }

  // --- giving back
  // -------------------------------------------------------------------------------------------

  void give_back() {
    if (leases_.empty()) return;
    const auto lease = any(leases_);
    doing_ = lease.client + " releases " + lease.lock;
    const auto request = chance(2) ? "r" + std::to_string(++requests_) : std::string();
    const auto client = chance(3) ? (chance(4) ? some_client() : lease.client) : std::string();
    const auto run = [&](twin_side& side, const lock_id& id) {
      const lease_proof proof{lock_name(lease.lock), id, {}};
      return side.await<answer<release_answers>>([&](engine& e, auto done) {
        e.release({client_id(client), request_id(request), {&proof, 1}, false}, std::move(done));
      });
    };
    const auto a = run(a_, lease.a.id);
    const auto b = run(b_, lease.b.id);
    if (!compared_.both("the release", a, b)) return;
    compared_.same("released", a->at(0)->ended, b->at(0)->ended);
    compared_.same("hold count", a->at(0)->hold_count, b->at(0)->hold_count);
  }

  void extend() {
    if (leases_.empty()) return;
    const auto lease = any(leases_);
    doing_ = lease.client + " renews " + lease.lock;
    const bool by_token = chance(2);
    const auto ttl = chance(2) ? std::optional(seconds_and(1, 20, 3ms)) : std::nullopt;
    const auto run = [&](twin_side& side, const grant& g) {
      const lease_proof proof{lock_name(lease.lock), by_token ? lock_id{} : g.id,
                              by_token ? g.renewal : renewal_token{}};
      return side.await<answer<renew_answers>>([&](engine& e, auto done) {
        e.renew({{}, {}, {&proof, 1}, false, ttl}, std::move(done));
      });
    };
    const auto a = run(a_, lease.a);
    const auto b = run(b_, lease.b);
    if (!compared_.both("the renewal", a, b)) return;
    compared_.same("the new end", a->at(0)->end, b->at(0)->end);
    compared_.same("the same token", a->at(0)->token, b->at(0)->token);
  }

  void call_off() {
    std::erase_if(calls_, [this](const call& c) { return c.at + repeatable < a_.time.now(); });
    if (calls_.empty()) return;
    const auto c = any(calls_);
    doing_ = c.client + " cancels " + c.request;
    const auto run = [&](engine& e, auto done) {
      e.cancel({c.multi, c.multi ? lock_name() : lock_name(c.wishes[0].lock), client_id(c.client),
                request_id(c.request)},
               std::move(done));
    };
    const auto a = a_.await<answer<cancelled>>(run);
    const auto b = b_.await<answer<cancelled>>(run);
    if (compared_.both("the cancel", a, b)) compared_.same("cancelled", a->done, b->done);
  }

  void end_by_force() {
    const auto lock = some_lock();
    doing_ = "force on " + std::string(lock);
    const auto run = [&](engine& e, auto done) {
      e.force_release(lock_name(lock), {}, {}, "a test", std::move(done));
    };
    const auto a = a_.await<answer<forced>>(run);
    const auto b = b_.await<answer<forced>>(run);
    if (compared_.both("the force", a, b)) compared_.same_each("the ended leases", a->tokens, b->tokens);
  }

  void session() {
    if (!b_.host->engine().about().sessions) return;
    doing_ = "a session";
    if (sessions_.size() < 3) {
      const auto who = some_client();
      const auto ttl = seconds_and(5, 20, 17ms);
      const auto run = [&](engine& e, auto done) {
        e.open_session(client_id(who), ttl, {}, std::move(done));
      };
      const auto a = a_.await<answer<session_opened>>(run);
      const auto b = b_.await<answer<session_opened>>(run);
      if (!compared_.both("the opening", a, b)) return;
      compared_.same("the session's end", a->end, b->end);
      sessions_.push_back({*a, *b});
      return;
    }
    const auto at = static_cast<std::ptrdiff_t>(upto(sessions_.size() - 1));
    const auto s = sessions_[static_cast<std::size_t>(at)];
    if (chance(2)) {
      const auto run = [&](session_id id) {
        return [id](engine& e, auto done) { e.keep_session(id, {}, std::move(done)); };
      };
      const auto a = a_.await<answer<session_kept>>(run(s.a.id));
      const auto b = b_.await<answer<session_kept>>(run(s.b.id));
      if (compared_.both("the keepalive", a, b)) compared_.same("the session's end", a->end, b->end);
      if (!a) sessions_.erase(sessions_.begin() + at);
    } else {
      const auto run = [&](session_id id) {
        return [id](engine& e, auto done) { e.close_session(id, {}, std::move(done)); };
      };
      const auto a = a_.await<answer<session_closed>>(run(s.a.id));
      const auto b = b_.await<answer<session_closed>>(run(s.b.id));
      if (compared_.both("the close", a, b)) compared_.same("released", a->released, b->released);
      sessions_.erase(sessions_.begin() + at);
    }
  }

  void go_away() {
    if (waits_.empty()) return;
    const auto& w = any(waits_);
    doing_ = w.client + " goes away";
    a_.host->engine().detach(w.a.id, w.a.epoch);
    b_.host->engine().detach(w.b.id, w.b.epoch);
    provisional_until_ = a_.time.now() + grace;
  }

  void lose_reply() {
    if (leases_.empty()) return;
    const auto& lease = any(leases_);
    doing_ = lease.client + " does not get the reply for " + lease.lock;
    const auto lose = [&](engine& e, const grant& given) {
      granted all;
      all.leases.push_back(given);
      all.locks.push_back(lease.lock);
      e.undelivered(all);
    };
    lose(a_.host->engine(), lease.a);
    lose(b_.host->engine(), lease.b);
    provisional_until_ = a_.time.now() + grace;
  }

  void look_at_places() {
    if (waits_.empty()) return;
    const auto& w = any(waits_);
    doing_ = "places of " + w.client;
    using found = answer<std::optional<std::vector<place>>>;
    const auto a = a_.await<found>([&](engine& e, auto done) { e.places(w.a.id, std::move(done)); });
    const auto b = b_.await<found>([&](engine& e, auto done) { e.places(w.b.id, std::move(done)); });
    if (!compared_.both("the places", a, b)) return;
    compared_.same("still waits", a->has_value(), b->has_value());
    if (*a && *b) compared_.same_each("the places", **a, **b);
  }

  // --- time
  // --------------------------------------------------------------------------------------------------

  void let_time_pass() {
    const auto d = std::chrono::seconds(upto(4));
    doing_ = "time passes";
    a_.host->pass(d);
    b_.host->pass(d);
  }

  void meet() {
    const auto apart = b_.host->engine().now() - a_.host->engine().now();
    if (apart > duration::zero()) a_.host->pass(apart);
    if (apart < duration::zero()) b_.host->pass(-apart);
  }

  // The reference cannot restart: there, everybody's connection ends. That is the same, but for what only a
  // restart does: prolonging the grace of grants that nobody has claimed yet.
  void start_again() {
    if (a_.time.now() < provisional_until_) return let_time_pass();
    doing_ = "a restart";
    for (const auto& w : waits_) {
      a_.host->engine().detach(w.a.id, w.a.epoch);
      b_.host->engine().detach(w.b.id, w.b.epoch);
    }
    // Something that is written down, so that how long nobody was there is known exactly.
    const auto request = "stamp" + std::to_string(++requests_);
    const auto stamp = [&](engine& e, auto done) {
      e.cancel({true, {}, client_id("nobody"), request_id(request)}, std::move(done));
    };
    (void)a_.await<answer<cancelled>>(stamp);
    (void)b_.await<answer<cancelled>>(stamp);
    b_.host->settle();
    b_.host->restart(chance(2) ? engine_host::ending::stop : engine_host::ending::crash, 0s);
    meet();
    provisional_until_ = a_.time.now() + grace;
    a_.host->pass(1s);  // the microseconds between the two beginnings of the grace must not matter
    b_.host->pass(1s);
    compared_.allow_drift(20ms);
    ++restarts_;
  }

  // --- comparing
  // ---------------------------------------------------------------------------------------------

  void compare_all() {
    a_.host->settle();
    b_.host->settle();
    compare_resolutions();
    for (const std::string_view lock : {"a", "b", "c", "d"}) {
      const auto look = [&](engine& e, auto done) { e.status(lock_name(lock), 100, 100, std::move(done)); };
      compared_.same("the status", *a_.await<answer<lock_view>>(look), *b_.await<answer<lock_view>>(look));
    }
    const auto here = a_.host->engine().counts();
    const auto there = b_.host->engine().counts();
    compared_.same("active locks", here.active_locks, there.active_locks);
    compared_.same("leases", here.leases, there.leases);
    compared_.same("waiters", here.waiters, there.waiters);
    compared_.same("sessions", here.sessions, there.sessions);
    compared_.same("deadlocks", a_.told.deadlocks.size(), b_.told.deadlocks.size());
    compared_.same("events", words(a_.told.events), words(b_.told.events));
    a_.told.events.clear();
    b_.told.events.clear();
  }

  static std::string words(std::vector<event_type> events) {
    std::sort(events.begin(), events.end());
    std::string out;
    for (const auto e : events) out.append(to_string(e)).append(" ");
    return out;
  }

  // Who was told what, call by call.
  void compare_resolutions() {
    compared_.same("how many were told", a_.told.resolved.size(), b_.told.resolved.size());
    for (const auto& r : std::exchange(a_.told.resolved, {})) {
      const auto w = std::find_if(waits_.rbegin(), waits_.rend(),
                                  [&](const wait_pair& x) { return x.a.id == r.id && x.a.epoch == r.epoch; });
      if (w == waits_.rend()) return compared_.same("known to the test", true, false);
      const auto other = std::find_if(b_.told.resolved.begin(), b_.told.resolved.end(), [&](const auto& x) {
        return x.id == w->b.id && x.epoch == w->b.epoch;
      });
      if (other == b_.told.resolved.end()) return compared_.same("told to a waiter there too", true, false);
      compared_.same("what a waiter was told", r.outcome, other->outcome);
      if (is_granted(r.outcome) && is_granted(other->outcome))
        note_leases(w->locks, w->client, r.outcome, other->outcome);
      w->over = true;
    }
    b_.told.resolved.clear();
    std::erase_if(waits_, [](const wait_pair& w) { return w.over; });
    while (waits_.size() > 40) waits_.pop_front();
  }

  std::mt19937_64 random_;
  twin_side a_, b_;
  comparison compared_;
  std::deque<lease_pair> leases_;
  std::deque<call> calls_;
  std::deque<wait_pair> waits_;
  std::vector<session_pair> sessions_;
  instant provisional_until_{};
  std::uint64_t requests_ = 0;
  int restarts_ = 0;
  std::uint64_t ends_ = 0;
  std::string doing_;
};
DISLOCK_CONFORMANCE_SUITE(Differential);

TEST_P(Differential, AnswersLikeTheReference) {
  start(chosen_seed());
  play(4'000, false);
}

TEST_P(Differential, AnswersLikeTheReferenceAlsoWithRestartsInBetween) {
  start(chosen_seed() + 1);
  if (!b_.host->outlives_its_process()) {
    EXPECT_FALSE(b_.host->engine().about().durable);
    return;
  }
  play(2'000, true);
  EXPECT_GT(restarts_, 5);
}

}  // namespace
}  // namespace dislock::testing_engines
