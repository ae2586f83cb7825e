// Records as bytes: what is written can be read, and nothing else can.
#include "core/test_table.hpp"

#include <limits>

namespace dislock::core {
namespace {

using testing::IsEmpty;

std::string bytes(const std::function<void(record_writer&)>& write) {
  std::string out;
  record_writer writer(out);
  write(writer);
  return out;
}

TEST(Record, NumbersComeBackOverTheirWholeRange) {
  for (const std::uint64_t v :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{127}, std::uint64_t{128}, std::uint64_t{300},
        std::uint64_t{1} << 63, std::numeric_limits<std::uint64_t>::max()}) {
    const auto written = bytes([&](auto& w) { w.number(v); });
    record_reader in(written);
    EXPECT_EQ(in.number(), v);
    EXPECT_TRUE(in.good());
  }
}

TEST(Record, SignedNumbersComeBackOverTheirWholeRange) {
  for (const std::int64_t v :
       {std::int64_t{0}, std::int64_t{-1}, std::int64_t{64}, std::numeric_limits<std::int64_t>::min(),
        std::numeric_limits<std::int64_t>::max()}) {
    const auto written = bytes([&](auto& w) { w.signed_number(v); });
    record_reader in(written);
    EXPECT_EQ(in.signed_number(), v);
    EXPECT_TRUE(in.good());
  }
}

TEST(Record, SmallNumbersAreOneByte) {
  EXPECT_EQ(bytes([](auto& w) { w.number(127); }).size(), 1u);
}

TEST(Record, TimesSpansStringsAndSecretsComeBack) {
  const auto written = bytes([](auto& w) {
    w.time(never);
    w.span(std::chrono::microseconds(1'500));
    w.string("orders/1");
    w.bits(lock_id{{1, ~std::uint64_t{0}}});
  });
  record_reader in(written);

  EXPECT_EQ(in.time(), never);
  EXPECT_EQ(in.span(), std::chrono::microseconds(1'500));
  EXPECT_EQ(in.string(), "orders/1");
  EXPECT_EQ(in.bits<lock_id>(), (lock_id{{1, ~std::uint64_t{0}}}));
  EXPECT_TRUE(in.good());
}

TEST(Record, TooFewBytesAreNoticed) {
  for (const std::string_view damaged : {"", "\x80", "\xff\xff"}) {
    record_reader in(damaged);
    EXPECT_EQ(in.number(), 0u);
    EXPECT_FALSE(in.good());
  }
  record_reader text(
      std::string_view("\x05"
                       "abc"));
  EXPECT_EQ(text.string(), "");
  EXPECT_TRUE(text.failed());
}

TEST(Record, NumbersOfMoreThanSixtyFourBitsAreDamage) {
  record_reader in(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
  EXPECT_EQ(in.number(), 0u);
  EXPECT_TRUE(in.failed());
}

TEST(Record, BytesLeftOverAreDamage) {
  record_reader in(std::string_view("\x01\x02"));
  (void)in.number();
  EXPECT_FALSE(in.good());
  EXPECT_FALSE(in.failed());
}

TEST(Record, NumbersBeyondTheirBoundAreDamage) {
  record_reader in(std::string_view("\x05"));
  EXPECT_EQ(in.upto(4u), 0u);
  EXPECT_TRUE(in.failed());
}

TEST(Record, TimesBefore1970AndNegativeSpansAreDamage) {
  const auto early = bytes([](auto& w) { w.time(from_microseconds(-1)); });
  record_reader in(early);
  (void)in.time();
  EXPECT_TRUE(in.failed());
}

TEST(Record, KeysSortInTheOrderOfTheirNumbers) {
  EXPECT_LT(record_key(record_kind::lease, 255), record_key(record_kind::lease, 256));
  EXPECT_EQ(record_key(record_kind::lock_delay, "a"), "Da");
}

TEST(Record, ATableBeyondThePlausibleIsDamage) {
  const auto read = [](table_record r) {
    std::string out;
    append(out, r);
    return parse_table_record(out).has_value();
  };
  const auto now = from_microseconds(1'800'000'000'000'000);

  EXPECT_TRUE(read({now, 1, 1}));
  EXPECT_FALSE(read({now, fencing_token_limit - 1, 1})) << "the next grant would have no token";
  EXPECT_FALSE(read({never, 1, 1}));
  EXPECT_FALSE(read({now, 1, ~std::uint64_t{0}}));
}

class RecordsOfATable : public LockTable {
 protected:
  void fill() {
    const auto lease = hold("alice", {.metadata = "{}"}, "r1");
    (void)acquire("r2", "alice", {.reentry = lease.id, .metadata = "{}"});
    wait_for("r3", "bob", {.max_hold = 5s});
    (void)acquire("r4", "carol");
    (void)cancel("r5", "dave");
    (void)acquire_all("m1", "erin", {"x", "y"});
    const auto session = open("frank", 10s, "s1");
    (void)keep(session.id, "s2");
    hold("frank", {.lock = "b", .session = session.id});
    (void)release(hold("frank", permits(1, 2, {.lock = "c"})).id, "c", "out");
    (void)release(hold("hugo", {.lock = "e"}, "h1").id, "e", "h2", "hugo");
    (void)release(hold("hugo", {.lock = "f"}, "h3").id, "f", "", "hugo");
    hold("gina", {.lock = "d", .lock_delay = 5s});
    (void)force("d", {}, "f1");
    now_ += 1ms;
    table_->checkpoint(now_);
  }
};

TEST_F(RecordsOfATable, AreReadAgain) {
  fill();

  EXPECT_EQ(journal_.count(record_kind::table), 1u);
  EXPECT_EQ(journal_.count(record_kind::waiter), 1u);
  EXPECT_EQ(journal_.count(record_kind::session), 1u);
  EXPECT_EQ(journal_.count(record_kind::lock_delay), 1u);
  EXPECT_TRUE(come_back());
}

// The journal's budget: what two calls with request ids cost.
TEST_F(RecordsOfATable, OfAGrantAndItsReleaseAreTwo) {
  table_->checkpoint(now_);
  const auto lease = hold("alice", {}, "r1");
  EXPECT_EQ(journal_.records.size(), 2u) << "the table, and the lease with what its grant is remembered by";
  ASSERT_TRUE(release(lease.id, "a", "out", "alice"));
  EXPECT_EQ(journal_.records.size(), 2u) << "the table, and what both are remembered by";
  EXPECT_EQ(journal_.count(record_kind::over), 1u);
}

TEST_F(RecordsOfATable, AreWrittenAgainByteForByteAfterARestartWithoutDelay) {
  fill();
  auto before = journal_.records;
  ASSERT_TRUE(come_back());

  before.erase("T");  // numbers are counted on
  journal_.records.erase("T");
  EXPECT_EQ(journal_.records, before);
}

TEST_F(RecordsOfATable, AreRefusedWhenTheyAreCutShortOrLonger) {
  fill();
  for (const auto& [key, value] : journal_.records) {
    lock_table reader({}, secrets_, seen_, nullptr);
    for (std::size_t size = 0; size < value.size(); ++size)
      EXPECT_FALSE(reader.load(key, value.substr(0, size))) << key[0] << " of " << size;
    EXPECT_FALSE(reader.load(key, value + '\0')) << key[0];
    EXPECT_TRUE(reader.load(key, value)) << key[0];
  }
}

TEST_F(RecordsOfATable, UnderAnotherKeyAreRefused) {
  fill();
  for (const auto& [key, value] : journal_.records) {
    if (key[0] == static_cast<char>(record_kind::lock_delay)) continue;  // its key is the name
    EXPECT_FALSE(table_->load(key + "x", value)) << key[0];
    auto other = key;
    other.back() = static_cast<char>(other.back() ^ 1);
    EXPECT_FALSE(table_->load(other, value)) << key[0];
  }
}

TEST_F(RecordsOfATable, OfAnUnknownKindAreRefused) {
  EXPECT_FALSE(table_->load("", ""));
  EXPECT_FALSE(table_->load("Z1", "x"));
  EXPECT_FALSE(table_->load("D", std::string(1, '\x02'))) << "a lock-delay of no lock";
}

TEST_F(RecordsOfATable, ShowNoMoreThanTheyHaveToOnceEverythingHasEnded) {
  fill();
  let_everything_end();

  EXPECT_THAT(what_is_kept(), IsEmpty());
}

}  // namespace
}  // namespace dislock::core
