// Arbitrary records into a lock table: recovery may refuse them, but never crashes, and a table that starts
// keeps its promises.
//
// Input: records one after the other, each as one byte for the size of its key, two (little endian) for the
// size of its value, key, value. The seeds are what a real table wrote.
#include "base/assert.hpp"
#include "core/lock_table.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::core {
namespace {

using namespace std::chrono_literals;

class silent_observer final : public table_observer {
 public:
  void on_resolved(ticket, std::uint32_t, acquire_answer&&) override {}
  void on_event(const event&) override {}
  void on_deadlock(const deadlock&) override {}
};

class map_journal final : public table_journal {
 public:
  void put(std::string_view key, std::string_view value) override { records[std::string(key)] = value; }
  void remove(std::string_view key) override { records.erase(std::string(key)); }
  void put_passing(std::string_view key, std::string_view value) override { put(key, value); }
  void pass(std::string_view key) override {
    records.erase(records.lower_bound("O"), records.lower_bound(std::string(key)));
  }
  std::map<std::string, std::string> records;
};

// Other secrets than the seeds': real ones never come twice.
class other_secrets final : public secret_source {
 private:
  std::array<std::uint64_t, 2> next() override { return {0xf022, (std::uint64_t{1} << 32) + ++count_}; }
  std::uint64_t count_ = 0;
};

std::map<std::string, std::string> split(std::string_view in) {
  std::map<std::string, std::string> out;
  const auto byte = [&](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(in[i]));
  };
  while (in.size() >= 3) {
    const auto key = byte(0);
    const auto value = byte(1) | byte(2) << 8;
    in.remove_prefix(3);
    out[std::string(in.substr(0, key))] = in.substr(std::min(key, in.size()), value);
    in.remove_prefix(std::min(key + value, in.size()));
  }
  return out;
}

void check(const lock_table& table, instant now) {
  std::optional<std::uint64_t> cursor = 0;
  while (cursor) {
    const auto page = table.list(now, {}, *cursor, 100);
    for (const auto& v : page.items) {
      const auto full = table.status(now, lock_name(v.name), 10'000, 100);
      std::uint64_t permits = 0;
      for (const auto& h : full.holders) {
        permits += h.permits;
        DISLOCK_ASSERT(h.mode != lock_mode::exclusive || full.holders.size() == 1, "a writer is alone");
        DISLOCK_ASSERT(h.mode == full.holders[0].mode, "holders are of one mode");
        DISLOCK_ASSERT(h.end > now, "nobody sees a lease that is over");
      }
      DISLOCK_ASSERT(full.mode != lock_mode::semaphore || permits <= full.limit,
                     "no more permits than the limit");
    }
    cursor = page.next;
  }
  (void)table.sessions(0, 100);
  (void)table.edges(100);
}

void advance(lock_table& table, instant now) {
  for (int i = 0; i < 10'000 && table.advance(now); ++i) {
  }
}

// The calls that made the seeds, so that remembered outcomes are asked for, and others.
void use(lock_table& table, instant now, const std::vector<std::string>& names) {
  const auto acquire = [&](std::string_view request, std::string_view client, std::vector<lock_want> wants,
                           duration wait) {
    acquire_request r;
    r.client = client_id(client);
    r.request = request_id(request);
    r.wants = wants;
    r.multi = wants.size() > 1;
    r.ttl = 10s;
    r.wait = wait;
    return table.acquire(now, r);
  };
  const auto one = [](std::string_view name, lock_mode mode = lock_mode::exclusive) {
    return std::vector<lock_want>{{lock_name(name), mode, mode == lock_mode::semaphore ? 3u : 0u, 1}};
  };
  for (const auto* client : {"alice", "bob", "carol", "dave", "erin", "frank"}) {
    for (const auto* request : {"r1", "r2", "r3", "r4"}) {
      const auto got = acquire(request, client, one("a"), 60s);
      if (const auto* q = std::get_if<queued>(&got)) {
        (void)table.places(now, q->id);
        table.detach(now, q->id, q->epoch);
      }
      if (const auto* g = std::get_if<granted>(&got)) {
        const lease_proof proof{lock_name("a"), g->leases[0].id, {}};
        (void)table.renew(now, {client_id(client), {}, {&proof, 1}, false, 20s});
        if (*request == 'r') table.undelivered(now, g->leases[0].id);
      }
    }
    (void)acquire(
        "m1", client,
        {{lock_name("x"), lock_mode::exclusive, 0, 1}, {lock_name("y"), lock_mode::exclusive, 0, 1}}, 60s);
    (void)table.open_session(now, client_id(client), 10s, request_id("s1"));
    (void)table.cancel(now, {false, lock_name("a"), client_id(client), request_id("r2")});
  }
  // The secrets of the seeds are 0x5ec2e7 and a count.
  for (std::uint64_t i = 1; i < 24; ++i) {
    const lease_proof proof{lock_name(i % 2 ? "a" : "x"), lock_id{{0x5ec2e7, i}}, {}};
    (void)table.release(now, {client_id("alice"), request_id("out"), {&proof, 1}, false});
    (void)table.renew(now, {client_id("alice"), request_id("beat"), {&proof, 1}, false, {}});
    const std::vector<lease_proof> two{proof, {lock_name("y"), lock_id{{0x5ec2e7, i + 2}}, {}}};
    (void)table.renew(now, {client_id("erin"), request_id("m2"), two, true, {}});
    (void)table.release(now, {client_id("erin"), request_id("m3"), two, true});
    (void)table.keep_session(now, session_id{{0x5ec2e7, i}}, request_id("s2"));
    (void)table.close_session(now, session_id{{0x5ec2e7, i}}, request_id("s3"));
  }
  (void)table.force_release(now, lock_name("d"), {}, request_id("f1"), "fuzz");
  for (const auto& name : names) {
    (void)acquire("", "newcomer", one(name), 60s);
    (void)acquire("", "reader", one(name, lock_mode::shared), 60s);
    (void)acquire("", "taker", one(name, lock_mode::semaphore), 60s);
    (void)table.force_release(now, lock_name(name), {}, {}, "fuzz");
  }
}

void play(std::string_view input) {
  other_secrets secrets;
  silent_observer nobody;
  map_journal journal;
  journal.records = split(input);

  lock_table table({}, secrets, nobody, &journal);
  std::erase_if(journal.records, [&](const auto& r) { return !table.load(r.first, r.second); });
  auto now = std::max(from_microseconds(1'800'000'000'000'000), table.latest_known());
  if (!table.start(now)) return;
  check(table, now);
  // At the very edge of what can be read, what is written next cannot; no table gets there by counting.
  table.checkpoint(now);
  const auto edge = parse_table_record(journal.records["T"]);
  if (!edge || edge->last_token > latest_plausible / 2 || edge->last_number > highest_number / 2) return;
  advance(table, now);
  check(table, now);
  std::vector<std::string> names;
  for (const auto& v : table.list(now, {}, 0, 20).items) names.push_back(v.name);
  use(table, now, names);
  check(table, now);

  // What the table wrote since then can always be read.
  table.checkpoint(now);
  lock_table copy({}, secrets, nobody, nullptr);
  for (const auto& [key, value] : journal.records)
    DISLOCK_ASSERT(copy.load(key, value), "a table reads what another one wrote");
  DISLOCK_ASSERT(copy.start(std::max(now, copy.latest_known())),
                 "a table starts from what another one wrote");

  const auto latest = now + 24h;
  for (int i = 0; i < 1'000 && table.next_deadline() <= latest; ++i) {
    now = std::max(now, table.next_deadline());
    advance(table, now);
    check(table, now);
  }
}

}  // namespace
}  // namespace dislock::core

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dislock::core::play({reinterpret_cast<const char*>(data), size});
  return 0;
}
