// A strand that a test turns by hand, and a backend that answers when the test says so.
#pragma once

#include "library/backend.hpp"
#include "library/strand.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dislock::library {

/// The test's thread is the strand. Alarms ring in `advance`.
class turned_strand final : public strand {
 public:
  manual_clock time;

  [[nodiscard]] instant now() const noexcept override { return time.now(); }
  void run(unique_function<void()> work) override {
    work();
    settle();
  }
  void post(unique_function<void()> work) override { posted_.push_back(std::move(work)); }
  void afterwards(unique_function<void()> work) override { after_.push_back(std::move(work)); }
  void wake_at(alarm which, instant at, unique_function<void()> work) override {
    alarms_[static_cast<std::size_t>(which)] = {at, std::move(work)};
  }

  [[nodiscard]] instant next_alarm() const {
    auto out = never;
    for (const auto& one : alarms_) out = std::min(out, one.at);
    return out;
  }
  void advance(duration by) {
    const auto until = time.now() + by;
    while (next_alarm() <= until) {
      time.advance(std::max(duration::zero(), next_alarm() - time.now()));
      ring();
    }
    time.advance(until - time.now());
    settle();
  }
  /// What is due now, once.
  void ring() {
    for (auto& one : alarms_) {
      if (one.at > time.now()) continue;
      one.at = never;
      auto work = std::move(one.work);
      work();
    }
    settle();
  }
  void settle() {
    while (!posted_.empty() || !after_.empty()) {
      auto& from = posted_.empty() ? after_ : posted_;
      auto next = std::move(from.front());
      from.pop_front();
      next();
    }
  }

 private:
  struct set_alarm {
    instant at = never;
    unique_function<void()> work;
  };
  std::array<set_alarm, alarms> alarms_;
  std::deque<unique_function<void()>> posted_, after_;
};

/// Keeps what it is asked. Answers come from the test, inside the strand.
class scripted_backend final : public backend {
 public:
  explicit scripted_backend(const clock& time, bool far_away = true) : time_(time), remote_(far_away) {}

  struct asked_acquire {
    call_number number{};
    acquire_call call;
    completion<granted_leases> done;
  };
  struct asked_cancel {
    std::string lock, client, request;
    bool multi = false;
    instant at{};
    completion<void> done;
  };
  struct asked_release {
    lease_key which;
    std::string request;
    instant deadline{}, at{};
    completion<void> done;
  };
  struct asked_renewal {
    std::vector<lease_key> which;
    std::vector<duration> ttls;
    instant at{};
    completion<std::vector<result<renewed_lease>>> done;
  };

  std::deque<asked_acquire> acquires;
  std::deque<asked_cancel> cancels;
  std::deque<asked_release> releases;
  std::deque<asked_renewal> renewals;
  std::deque<completion<duration>> pings;
  std::vector<call_number> abandoned;
  bool stopped = false;
  int after_stop = 0;  ///< calls that came although it was stopped
  // What a call gets at once; nothing: the test answers.
  bool release_at_once = false, renew_at_once = false, cancel_at_once = false;

  /// A lease of `ttl` from now, believed as one from a service that took no time.
  [[nodiscard]] granted_leases grant(const acquire_call& call) {
    granted_leases out;
    for (const auto& l : call.locks) {
      ++tokens_;
      out.leases.push_back({l.name,
                            lock_id{{7, tokens_}},
                            {},
                            fencing_token{tokens_},
                            l.mode,
                            l.permits,
                            1,
                            call.ttl,
                            time_.now() + call.ttl - call.ttl / 100 - std::chrono::milliseconds(2)});
    }
    return out;
  }
  void answer_renewal(asked_renewal r) {
    std::vector<result<renewed_lease>> out;
    for (const auto ttl : r.ttls)
      out.emplace_back(renewed_lease{time_.now() + ttl - std::chrono::milliseconds(2)});
    r.done(std::move(out));
  }

  instant now() const noexcept override { return time_.now(); }
  bool remote() const noexcept override { return remote_; }
  call_number acquire(const acquire_call& call, completion<granted_leases> done) override {
    called();
    const auto number = call_number{++numbers_};
    acquires.push_back({number, call, std::move(done)});
    return number;
  }
  void abandon(call_number which) override {
    abandoned.push_back(which);
    const auto it =
        std::find_if(acquires.begin(), acquires.end(), [&](const auto& a) { return a.number == which; });
    if (it == acquires.end()) return;
    auto done = std::move(it->done);
    acquires.erase(it);
    done(failed(errc::outcome_unknown));
  }
  void cancel(std::string lock, bool multi, std::string client, std::string request,
              completion<void> done) override {
    called();
    cancels.push_back(
        {std::move(lock), std::move(client), std::move(request), multi, now(), std::move(done)});
    if (cancel_at_once) std::exchange(cancels.back().done, {})({});
  }
  void release(const lease_key& which, std::string_view request, instant deadline,
               completion<void> done) override {
    called();
    releases.push_back({which, std::string(request), deadline, now(), std::move(done)});
    if (release_at_once) std::exchange(releases.back().done, {})({});
  }
  void renew(std::vector<lease_key> which, std::vector<duration> ttls,
             completion<std::vector<result<renewed_lease>>> done) override {
    called();
    asked_renewal r{std::move(which), std::move(ttls), now(), std::move(done)};
    renewals.push_back({r.which, r.ttls, r.at, {}});
    if (renew_at_once) {
      answer_renewal(std::move(r));
    } else {
      renewals.back().done = std::move(r.done);
    }
  }
  void inspect(std::string, completion<lock_state> done) override { done(lock_state{}); }
  void list(std::string, std::string, std::size_t, completion<std::vector<lock_state>> done) override {
    done(std::vector<lock_state>{});
  }
  void validate(std::string, fencing_token, completion<bool> done) override { done(true); }
  void force_release(std::string, std::optional<fencing_token>, std::string, std::string,
                     completion<std::vector<fencing_token>> done) override {
    done(std::vector<fencing_token>{});
  }
  void graph(completion<std::vector<graph_edge>> done) override { done(std::vector<graph_edge>{}); }
  void deadlocks(completion<std::vector<deadlock_report>> done) override {
    done(std::vector<deadlock_report>{});
  }
  void events_after(std::uint64_t, std::string, duration, completion<event_page> done) override {
    done(event_page{});
  }
  void about(completion<engine_info> done) override { done(engine_info{}); }
  void ping(completion<duration> done) override { pings.push_back(std::move(done)); }
  void stop(unique_function<void()> done) override {
    stopped = true;
    while (!acquires.empty()) abandon(acquires.front().number);
    for (auto& each : std::exchange(releases, {}))
      if (each.done) each.done(failed(errc::outcome_unknown));
    for (auto& each : std::exchange(cancels, {}))
      if (each.done) each.done(failed(errc::outcome_unknown));
    for (auto& each : std::exchange(renewals, {}))
      if (each.done) each.done(failed(errc::outcome_unknown));
    done();
  }

  [[nodiscard]] static error failed(errc code) {
    error out;
    out.code = code;
    return out;
  }

 private:
  void called() { after_stop += stopped; }

  const clock& time_;
  const bool remote_;
  std::uint64_t numbers_ = 0, tokens_ = 0;
};

}  // namespace dislock::library
