// Plain calls that come together (src/engines/redis/lua/plain.lua) beside the same calls alone.
#include "two_sides.hpp"

#include <functional>
#include <memory>

namespace dislock::redis {
namespace {

using std::chrono::milliseconds;

class Together : public TwoSides {
 protected:
  // As it is asked under a side's prefixes.
  using call = std::function<script_words(const plain_terms&)>;
  struct known_lease {
    std::string lock, client;
    lock_id id;
  };

  std::string some_lock() { return std::string(1, static_cast<char>('a' + upto(23))); }
  std::string some_client() { return "c" + std::to_string(upto(3)); }
  std::string some_request() {
    return chance(2) ? std::string() : "r" + std::to_string(chance(8) ? upto(requests_) : ++requests_);
  }

  call an_acquire() {
    const auto number = ++ids_;
    known_lease lease{some_lock(), some_client(), {{number, number}}};
    const auto request = some_request();
    const auto ttl = milliseconds(500 + upto(5000));
    const duration wait = chance(40) ? 60s : 0s;
    const std::string metadata = chance(5) ? "{\n\"job\":\n7}\n" : "";
    leases_.push_back(lease);
    return [=](const plain_terms& terms) {
      const lock_want want{lock_name(lease.lock)};
      acquire_request r;
      r.client = client_id(lease.client);
      r.request = request_id(request);
      r.wants = {&want, 1};
      r.ttl = ttl;
      r.wait = wait;
      r.metadata = metadata;
      return plain_acquire(terms, r, lease.id, renewal_token{{number, 1}}, print_of(r));
    };
  }
  call a_release() {
    const auto back = std::min<std::size_t>(leases_.size(), chance(4) ? 40 : 12);
    auto lease = leases_[leases_.size() - 1 - upto(back - 1)];
    if (chance(12)) lease.id = lock_id{{77, 77}};
    if (chance(3)) lease.client.clear();
    const auto request = some_request();
    return [=, at = time_.count()](const plain_terms& terms) {
      const lease_proof proof{lock_name(lease.lock), lease.id, {}};
      release_request r;
      r.client = client_id(lease.client);
      r.request = request_id(request);
      r.leases = {&proof, 1};
      return plain_release(terms, r, print_of("release", r.leases, std::nullopt), at);
    };
  }

  void ask_some() {
    const bool take = leases_.empty() || chance(2);
    auto& earlier = take ? acquires_ : releases_;
    std::vector<call> calls;
    for (auto left = 2 + upto(6); left > 0; --left) {
      // Some are repeated, also within what comes together.
      calls.push_back(!earlier.empty() && chance(8)
                          ? earlier[earlier.size() - 1 - upto(std::min<std::size_t>(earlier.size(), 12) - 1)]
                      : take ? an_acquire()
                             : a_release());
      earlier.push_back(calls.back());
    }
    const auto alone = a_.terms_of("first"), beside = b_.terms_of("first");
    std::vector<std::shared_ptr<const script_words>> words;
    for (const auto& c : calls) words.push_back(std::make_shared<script_words>(c(beside)));
    const auto said = run(together(words));
    ASSERT_EQ(said.is, reply::kind::bulk) << said.text;
    const auto answers = read_together(said, calls.size());
    std::size_t decided = 0;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      if (!answers[i]) continue;
      ++decided;
      const auto one = read_plain(run(calls[i](alone)));
      ASSERT_TRUE(one) << "alone it is not plain";
      ASSERT_EQ(one->at, answers[i]->at);
      ASSERT_EQ(one->token, answers[i]->token);
      ASSERT_EQ(one->client, answers[i]->client);
    }
    for (std::size_t i = 0; i < calls.size(); ++i)
      if (!answers[i]) ASSERT_EQ(text_of(unfolded(run(calls[i](alone)))), text_of(unfolded(run(*words[i]))));
    ASSERT_EQ(kept(a_), kept(b_));
    all_ += decided == calls.size();
    some_ += decided > 0 && decided < calls.size();
    none_ += decided == 0;
  }

  void something_else() {
    time_ += milliseconds(chance(5) ? upto(3000) : upto(30));
    clock_.set(instant(time_));
    const auto lock = some_lock();
    const bool foreign = chance(10);
    // Tokens that are about to reach their ceiling; far away again the next time.
    const auto ceiling =
        std::to_string(chance(12) ? time_.count() + static_cast<std::int64_t>(upto(5)) : far);
    for (const auto* s : {&a_, &b_}) {
      ask_rules(*s, "first", "beat", [](ask&) {});
      if (foreign) line_->say({"SET", s->shown + lock, "somebody else", "NX", "PX", "500"});
      line_->say({"SETRANGE", s->prefix + "fence", "48", ceiling});
      ask_rules(*s, "first", "sweep", [&](ask& q) { q.put("names", std::vector<std::string>{lock}); });
    }
  }

  std::uint64_t ids_ = 0, requests_ = 0;
  std::vector<known_lease> leases_;
  std::vector<call> acquires_, releases_;
  int all_ = 0, some_ = 0, none_ = 0;
};

TEST_F(Together, EachIsDecidedAsAlone) {
  const char* chosen = std::getenv("DISLOCK_SEED");
  const auto seed = chosen ? std::strtoull(chosen, nullptr, 10) : 20'260'202ULL;
  std::cout << "seed " << seed << " (DISLOCK_SEED repeats it)\n";
  random_.seed(seed);
  for (int i = 0; i < 700 && !HasFatalFailure(); ++i) {
    if (chance(3)) {
      something_else();
    } else {
      ask_some();
    }
  }
  EXPECT_GT(all_, 2);
  EXPECT_GT(some_, 100);
  EXPECT_GT(none_, 10);
}

}  // namespace
}  // namespace dislock::redis
