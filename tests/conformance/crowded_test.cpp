// The crowded case (src/engines/redis/lua/crowded.lua) beside the rules: the same calls at the same instants,
// once so that the rules decide all of them, once so that it may. Answers, and everything that is kept, are
// the same.
#include "two_sides.hpp"

#include <algorithm>
#include <optional>

namespace dislock::redis {
namespace {

using std::chrono::milliseconds;

// Whether a crowded lock is listed by an end that it may have, and whether something that is over is still
// listed.
constexpr std::string_view listing = R"(
  local side, now, swept = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
  if swept and redis.call('ZCOUNT', side .. 'by_end', '-inf', now) > 0 then return 'over, and listed' end
  local record, at = redis.call('GET', side .. 'lock:a'), redis.call('ZSCORE', side .. 'by_end', 'a')
  if record and string.sub(record, 1, 1) == 'C' then
    local stop = tonumber(string.sub(record, 3, 18)) + tonumber(string.sub(record, 51, 62))
    if not at or tonumber(at) > stop then return 'listed by ' .. (at or 'nothing') .. ', but ends at ' .. stop end
  end
  return ''
)";

class Crowded : public TwoSides {
 protected:
  struct known_lease {
    lock_id id;
    std::string client;
  };

  // The second one is not always there.
  std::string_view some_replica() { return !silent_ && chance(3) ? "second" : "first"; }

  // How often the rules have numbered a waiter, and begun to give something back: what the crowded case does
  // without.
  std::int64_t rules_at_work() {
    const auto stats = line_->say({"INFO", "commandstats"}).text;
    std::int64_t out = 0;
    for (const std::string_view command : {"cmdstat_incr:calls=", "cmdstat_persist:calls="})
      if (const auto at = stats.find(command); at != std::string::npos)
        out += std::atoll(stats.c_str() + at + command.size());
    return out;
  }
  // Whether the lock is one that the plain case knows nothing of, so that words reach the crowded case or the
  // rules.
  bool is_crowded() { return line_->say({"EXISTS", b_.prefix + "queue:a"}).number == 1; }

  template <class Fill>
  void both_by_rules(std::string_view replica, std::string_view verb, Fill fill) {
    const auto one = ask_rules(a_, replica, verb, fill), other = ask_rules(b_, replica, verb, fill);
    compare(one, other);
  }
  template <class Fill, class Spell>
  void both(std::string_view replica, std::string_view verb, Fill fill, Spell spell) {
    const auto one = ask_rules(a_, replica, verb, fill);
    if (!is_crowded()) return compare(one, ask_rules(b_, replica, verb, fill));
    const auto before = rules_at_work();
    const auto other = unfolded(run(spell(b_.terms_of(replica))));
    decided_ += rules_at_work() == before;
    compare(one, other);
  }
  void compare(const reply& one, const reply& other) {
    ASSERT_EQ(text_of(one), text_of(other)) << doing_;
    ASSERT_EQ(kept(a_), kept(b_)) << doing_;
    for (const auto* s : {&a_, &b_})
      ASSERT_EQ(line_
                    ->say({"EVAL", listing, "0", s->prefix, std::to_string(time_.count()),
                           doing_ == "sweep" ? "1" : "0"})
                    .text,
                "")
          << doing_;
    last_ = one;
    if (one.at(1).at(0).text == "granted") note(one.at(1));
    for (const auto& told : one.at(3).items)
      if (told.at(2).at(0).text == "granted") {
        note(told.at(2));
        const auto& id = told.at(2).at(1).at(0).at(1).text;
        // Its replica takes the grant, or is not there any more.
        if (!chance(2))
          for (const auto* s : {&a_, &b_}) line_->say({"DEL", s->prefix + "sent:" + id});
      }
  }
  void note(const reply& granted) {
    const auto id = lock_id::parse(granted.at(1).at(0).at(1).text);
    ASSERT_TRUE(id);
    lease_ = known_lease{*id, clients_[id->bits[0]]};
  }

  void acquire() {
    // One that waits twice tangles the queue, and the rules have it until it is empty.
    const auto client =
        lease_ && chance(30) ? lease_->client : "c" + std::to_string(chance(40) ? upto(ids_) : ids_ + 1);
    const auto request =
        chance(2) ? std::string() : "r" + std::to_string(chance(6) ? upto(requests_) : ++requests_);
    const lock_want want{lock_name("a"), chance(12) ? lock_mode::shared : lock_mode::exclusive};
    const auto replica = some_replica();
    acquire_request r;
    r.client = client_id(client);
    r.request = request_id(request);
    r.wants = {&want, 1};
    r.ttl = milliseconds(500 + upto(20'000));
    r.wait = chance(8) ? 0s : chance(3) ? milliseconds(1 + upto(2000)) : 60s;
    if (chance(5)) r.metadata = chance(2) ? R"({"job":7})" : "{\n\"job\":\n7}\n";
    const auto number = ++ids_;
    clients_.resize(number + 1);
    clients_[number] = client;
    const lock_id id{{number, number}};
    const renewal_token renewal{{number, 1}};
    doing_ = client + " asks by " + std::string(replica) + ", request " + request;
    const auto fill = [&](ask& q) {
      const std::pair<lock_id, renewal_token> secret{id, renewal};
      q.put_call({false, lock_name("a"), r.client, r.request}, print_of(r))
          .put(r.wants)
          .put_secrets({&secret, 1});
      q.put("ttl", r.ttl).put("wait", r.wait).put("delay", duration());
      if (!r.metadata.empty()) q.put("metadata", r.metadata);
    };
    if (want.mode == lock_mode::shared) return both_by_rules(replica, "acquire", fill);
    both(replica, "acquire", fill,
         [&](const plain_terms& terms) { return plain_acquire(terms, r, id, renewal, print_of(r)); });
    if (last_.at(1).at(0).text != "queued") return;
    waiters_.push_back(last_.at(1).at(1).text);
    deadlines_.push_back(last_.at(1).at(3).number);
  }

  void release() {
    if (!lease_) return;
    const auto request =
        chance(2) ? std::string() : "q" + std::to_string(chance(6) ? upto(requests_) : ++requests_);
    const lease_proof proof{lock_name("a"), chance(12) ? lock_id{{77, 77}} : lease_->id, {}};
    const auto client = chance(3) ? std::string() : chance(12) ? "nobody" : lease_->client;
    const auto replica = some_replica();
    release_request r;
    r.client = client_id(client);
    r.request = request_id(request);
    r.leases = {&proof, 1};
    const auto print = print_of("release", r.leases, std::nullopt);
    doing_ = client + " gives back by " + std::string(replica) + ", request " + request;
    both(
        replica, "release",
        [&](ask& q) {
          q.put_call({false, lock_name("a"), r.client, r.request}, print).put(r.leases);
        },
        [&](const plain_terms& terms) { return plain_release(terms, r, print, time_.count()); });
  }

  void something_else() {
    const auto replica = some_replica();
    const auto waiter = waiters_.empty() ? std::string("1") : waiters_[upto(waiters_.size() - 1)];
    const auto fill_waiter = [&](ask& q) {
      q.put("waiter", std::string_view(waiter)).put("epoch", std::int64_t{0});
    };
    switch (upto(4)) {
      case 0:
        doing_ = "detach";
        return both_by_rules(replica, "detach", fill_waiter);
      case 1:
        doing_ = "collect";
        return both_by_rules(replica, "collect", fill_waiter);
      case 2:
        doing_ = "sweep";
        return both_by_rules(replica, "sweep", [](ask& q) { q.put("names", std::vector<std::string>{"a"}); });
      case 3: {
        doing_ = "renew";
        if (!lease_) return;
        const lease_proof proof{lock_name("a"), lease_->id, {}};
        return both_by_rules(replica, "renew", [&](ask& q) {
          q.put_call({false, lock_name("a"), {}, {}}, 8).put(std::span(&proof, 1));
        });
      }
      default: {
        doing_ = "hold once more";
        if (!lease_ || !chance(4)) return;
        const lock_want want{lock_name("a")};
        const auto number = ++ids_;
        clients_.resize(number + 1);
        const std::pair<lock_id, renewal_token> secret{{{number, number}}, {{number, 1}}};
        return both_by_rules(replica, "acquire", [&](ask& q) {
          q.put_call({false, lock_name("a"), client_id(lease_->client),
                      request_id("again" + std::to_string(number))},
                     9)
              .put(std::span(&want, 1))
              .put_secrets({&secret, 1})
              .put("ttl", duration(5s))
              .put("wait", duration())
              .put("delay", duration())
              .put("reentry", lease_->id);
        });
      }
    }
  }

  void let_time_pass() {
    // Now and then to the very instant at which somebody's patience ends.
    std::erase_if(deadlines_, [this](std::int64_t at) { return at <= time_.count(); });
    if (!deadlines_.empty() && chance(10)) {
      time_ = duration(*std::min_element(deadlines_.begin(), deadlines_.end()));
    } else {
      time_ += milliseconds(chance(10) ? upto(2500) : upto(30));
    }
    // The second replica dies, and comes back.
    if (silent_ ? chance(3) : chance(8)) silent_ = !silent_;
    for (int i = 0; i < (silent_ ? 4 : 1); ++i) {
      if (silent_) time_ += 900ms;
      clock_.set(instant(time_));
      beat();
    }
  }

  void beat() {
    for (const std::string_view replica : {"first", "second"}) {
      doing_ = "beat";
      if (!silent_ || replica == "first") both_by_rules(replica, "beat", [](ask&) {});
    }
  }

  std::string doing_;
  std::uint64_t ids_ = 0, requests_ = 0;
  std::vector<std::string> clients_{""}, waiters_;
  std::vector<std::int64_t> deadlines_;
  std::optional<known_lease> lease_;
  reply last_;
  bool silent_ = false;
  int decided_ = 0;
};

class CrowdedCase : public Crowded, public testing::WithParamInterface<bool> {};

TEST_P(CrowdedCase, DecidesAsTheRulesDo) {
  a_.callers_are_here = b_.callers_are_here = GetParam();
  const char* chosen = std::getenv("DISLOCK_SEED");
  const auto seed = chosen ? std::strtoull(chosen, nullptr, 10) : 20'260'101ULL;
  std::cout << "seed " << seed << " (DISLOCK_SEED repeats it)\n";
  random_.seed(seed);
  constexpr int steps = 1500;
  for (int i = 0; i < steps && !HasFatalFailure(); ++i) {
    const auto n = upto(19);
    if (n < 8) {
      acquire();
    } else if (n < 14) {
      release();
    } else if (n < 18) {
      let_time_pass();
    } else {
      something_else();
    }
  }
  EXPECT_GT(decided_, steps / 10) << "it has to have had something to decide";
}

// The rules prolong the life of a queue with each step; the crowded case only when it has to.
TEST_F(Crowded, AQueueThatOnlyTheCrowdedCaseMovesOnLasts) {
  b_.callers_are_here = true;
  std::vector<lock_id> ids;
  const auto wait = [&] {
    const lock_want want{lock_name("a")};
    const auto number = ids.size() + 1;
    const auto client = "c" + std::to_string(number);
    ids.push_back({{number, number}});
    acquire_request r;
    r.client = client_id(client);
    r.wants = {&want, 1};
    r.ttl = 20s;
    r.wait = 60s;
    return run(plain_acquire(b_.terms_of("first"), r, ids.back(), renewal_token{{number, 1}}, print_of(r)));
  };
  for (int i = 0; i < 4; ++i) wait();
  const auto before = rules_at_work();
  for (std::size_t at = 0; at < 400; ++at) {
    time_ += 900ms;
    clock_.set(instant(time_));
    const lease_proof proof{lock_name("a"), ids[at], {}};
    release_request r;
    r.leases = {&proof, 1};
    const auto print = print_of("release", r.leases, std::nullopt);
    ASSERT_EQ(run(plain_release(b_.terms_of("first"), r, print, time_.count())).text.substr(0, 1), "g");
    ASSERT_EQ(wait().text.substr(0, 1), "q");
    ASSERT_GT(line_->say({"PTTL", b_.prefix + "queue:a"}).number, 3'480'000) << at;
  }
  EXPECT_EQ(rules_at_work(), before) << "nothing was left to the rules";
}

INSTANTIATE_TEST_SUITE_P(Of, CrowdedCase, testing::Bool(), [](const auto& info) {
  return info.param ? "CallersInTheProcess" : "CallersElsewhere";
});

}  // namespace
}  // namespace dislock::redis
