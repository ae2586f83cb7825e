#include "engines/embedded/journal.hpp"

#include "engines/embedded/journal_faulty_env.hpp"
#include "engines/embedded/journal_wal_check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <spawn.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

extern char** environ;  // NOLINT: the name that POSIX gives it

namespace dislock::embedded {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using reason = journal_error::reason;
using records = std::map<std::string, std::string>;
constexpr auto put = journal::kind::put;
constexpr auto remove = journal::kind::remove;

std::string read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_all(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
}

std::string key(std::uint64_t n) {
  char text[16];
  std::snprintf(text, sizeof text, "k%08llu", static_cast<unsigned long long>(n));
  return text;
}

// What the engine's io thread does with the journal.
class opened {
 public:
  explicit opened(const std::string& path, std::shared_ptr<rocksdb::Env> env = nullptr,
                  durability mode = durability::sync,
                  std::chrono::milliseconds sync_every = std::chrono::minutes(10),
                  std::size_t backlog_limit = 8u << 20u) {
    journal_options options;
    options.path = path;
    options.mode = mode;
    options.sync_every = sync_every;
    options.backlog_limit = backlog_limit;
    options.env = std::move(env);
    options.notify = [this] {
      const std::lock_guard guard(mutex_);
      ++notified_;
      changed_.notify_all();
    };
    auto result = journal::open(std::move(options));
    if (result) {
      journal_ = std::move(*result);
    } else {
      error = result.error();
    }
  }

  journal* operator->() { return journal_.get(); }
  explicit operator bool() const { return journal_ != nullptr; }
  void drop() { journal_.reset(); }

  records load() {
    records all;
    EXPECT_TRUE(journal_->load([&](std::string_view k, std::string_view v) { all.emplace(k, v); }));
    return all;
  }

  journal::progress settle() {
    for (;;) {
      const auto now = journal_->poll();
      if (now.failed || now.committed >= journal_->pending_sequence()) return now;
      wait_for_notify();
    }
  }

  journal::progress commit(std::string_view k, std::string_view v) {
    journal_->append(put, k, v);
    journal_->submit();
    return settle();
  }

  void wait_for_notify() {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [&] { return notified_ > seen_; });
    seen_ = notified_;
  }

  int notified() {
    const std::lock_guard guard(mutex_);
    return notified_;
  }

  journal_error error;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int notified_ = 0;
  int seen_ = 0;
  std::unique_ptr<journal> journal_;  // last: its thread uses the others
};

// Another process that has the store `path`: it either holds it, or commits key(0), key(1), ... and writes a
// byte to us after every acknowledgement.
class child {
 public:
  child(const std::string& what, const std::string& path) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
    const std::string filter = "--gtest_filter=JournalChild.DISABLED_" + what;
    const char* arguments[] = {"journal_test", filter.c_str(), "--gtest_also_run_disabled_tests", nullptr};
    ::setenv("DISLOCK_JOURNAL_CHILD", path.c_str(), 1);
    EXPECT_EQ(
        ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, const_cast<char**>(arguments), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    from_child_ = ends[0];
  }
  ~child() {
    kill();
    ::close(from_child_);
  }

  // Waits for `n` signs of life; how many came before the child ended.
  std::uint64_t hear(std::uint64_t n) {
    std::uint64_t heard = 0;
    char byte = 0;
    while (heard < n && ::read(from_child_, &byte, 1) == 1) ++heard;
    return heard;
  }

  void kill() {
    if (pid <= 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    pid = -1;
  }

  pid_t pid = -1;

 private:
  int from_child_ = -1;
};

void tell_parent() {
  if (::write(3, ".", 1) != 1) std::_Exit(1);
}

TEST(JournalChild, DISABLED_Holds) {
  opened mine(std::getenv("DISLOCK_JOURNAL_CHILD"));
  ASSERT_TRUE(mine) << mine.error.message;
  tell_parent();
  for (;;) ::pause();
}

void commit_until_killed(durability mode) {
  opened mine(std::getenv("DISLOCK_JOURNAL_CHILD"), nullptr, mode, std::chrono::milliseconds(5));
  if (!mine) std::_Exit(1);
  std::uint64_t next = mine.load().size();
  std::mt19937 random(static_cast<unsigned>(next));
  std::uint64_t told = next;
  const auto start = next;
  for (;;) {
    // Up to 6 records a batch, some longer than a WAL block, several batches under way.
    for (auto n = random() % 6 + 1; n > 0; --n) {
      mine->append(put, key(next++), std::string(random() % 16 == 0 ? 40000 : 100, 'v'));
    }
    mine->submit();
    const auto committed = start + mine->poll().committed;
    for (; told < committed; ++told) tell_parent();
    if (next - committed > 50) mine.wait_for_notify();
  }
}

TEST(JournalChild, DISABLED_Commits) {
  commit_until_killed(durability::sync);
}
TEST(JournalChild, DISABLED_CommitsAsync) {
  commit_until_killed(durability::async);
}

class Journal : public ::testing::Test {
 protected:
  Journal() {
    char name[] = "/tmp/dislock-journal-XXXXXX";
    base_ = ::mkdtemp(name);
    path_ = (base_ / "store").string();
  }
  ~Journal() override { fs::remove_all(base_); }

  static std::shared_ptr<rocksdb::Env> on(const std::shared_ptr<faulty_disk>& disk) {
    return std::shared_ptr<rocksdb::Env>(rocksdb::NewCompositeEnv(disk));
  }

  [[nodiscard]] std::vector<fs::path> files(const std::string& extension) const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(path_ + "/records")) {
      if (entry.path().extension() == extension) found.push_back(entry.path());
    }
    std::ranges::sort(found);
    return found;
  }

  [[nodiscard]] records snapshot() const {
    records all;
    for (const auto& entry : fs::recursive_directory_iterator(path_)) {
      all[entry.path().string()] = entry.is_regular_file() ? read_all(entry.path()) : "";
    }
    return all;
  }

  // `count` commits of one record each, in the WAL only, in a store that was closed.
  void fill(std::uint64_t count, std::size_t value_size = 100) {
    opened store(path_);
    ASSERT_TRUE(store) << store.error.message;
    for (std::uint64_t n = 0; n < count; ++n)
      ASSERT_FALSE(store.commit(key(n), std::string(value_size, 'v')).failed);
    ASSERT_TRUE(store->close());
  }

  // Opening says `why` and `words`, and leaves every byte of the directory as it was.
  void expect_refused(reason why, const std::string& words) {
    const auto before = snapshot();
    opened store(path_);
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error.why, why) << store.error.message;
    EXPECT_THAT(store.error.message, AllOf(HasSubstr(words), HasSubstr(path_)));
    EXPECT_TRUE(snapshot() == before) << "the refused store was changed";
  }

  records reopen(std::shared_ptr<rocksdb::Env> env = nullptr) {
    opened store(path_, std::move(env));
    EXPECT_TRUE(store) << store.error.message;
    return store ? store.load() : records{};
  }

  fs::path base_;
  std::string path_;
};

TEST_F(Journal, CreatesItsDirectoryAndTheParentsForTheOwnerOnly) {
  path_ = (base_ / "a/b/c").string();
  opened store(path_ + "/");
  ASSERT_TRUE(store) << store.error.message;
  for (const auto* name : {"a", "a/b", "a/b/c", "a/b/c/records"}) {
    EXPECT_EQ(fs::status(base_ / name).permissions(), fs::perms::owner_all) << name;
  }
}

TEST_F(Journal, LoadsWhatWasCommittedInTheOrderOfTheKeysAndTheLastRecordOfAKeyWins) {
  {
    opened store(path_);
    store->append(put, "b", "1");
    store->append(put, "c", "1");
    store->append(put, "a", std::string("\0\xff", 2));
    store->append(put, "b", "2");
    store->append(remove, "c", "");
    store->append(remove, "never there", "");
    EXPECT_EQ(store->pending_sequence(), 6u);
    store->submit();
    EXPECT_EQ(store.settle().committed, 6u);
    ASSERT_TRUE(store->close());
  }
  opened store(path_);
  std::vector<std::pair<std::string, std::string>> seen;
  ASSERT_TRUE(store->load([&](std::string_view k, std::string_view v) { seen.emplace_back(k, v); }));
  EXPECT_THAT(seen, ElementsAre(Pair("a", std::string("\0\xff", 2)), Pair("b", "2")));
  EXPECT_EQ(store->pending_sequence(), 0u);
}

TEST_F(Journal, AcknowledgesNothingBeforeItsSyncHasReturned) {
  const auto disk = std::make_shared<faulty_disk>();
  opened store(path_, on(disk));
  disk->hold_syncs();
  store->append(put, "a", "1");
  store->submit();
  disk->wait_until_a_sync_is_held();

  EXPECT_EQ(store->poll().committed, 0u);
  EXPECT_EQ(store.notified(), 0);

  disk->let_syncs_pass();
  EXPECT_EQ(store.settle().committed, 1u);
}

TEST_F(Journal, CommitsAllThatCameDuringASyncWithTheNextOne) {
  const auto disk = std::make_shared<faulty_disk>();
  opened store(path_, on(disk));
  disk->hold_syncs();
  store->append(put, "first", "");
  store->submit();
  disk->wait_until_a_sync_is_held();
  const int before = disk->log_syncs();
  for (int n = 0; n < 100; ++n) {
    store->append(put, key(static_cast<unsigned>(n)), "");
    store->submit();
  }

  disk->let_syncs_pass();

  EXPECT_EQ(store.settle().committed, 101u);
  EXPECT_EQ(disk->log_syncs(), before + 1);
}

TEST_F(Journal, NotifiesOnceUntilItIsPolled) {
  const auto disk = std::make_shared<faulty_disk>();
  opened store(path_, on(disk));
  store->append(put, "a", "");
  store->submit();
  store.wait_for_notify();
  const int syncs = disk->log_syncs();
  store->append(put, "b", "");
  store->submit();
  disk->wait_for_log_syncs(syncs + 1);
  while (store->committed_sequence() < 2) std::this_thread::yield();
  EXPECT_EQ(store.notified(), 1);

  EXPECT_EQ(store->poll().committed, 2u);
  store->append(put, "c", "");
  store->submit();
  store.wait_for_notify();
  EXPECT_EQ(store.notified(), 2);
}

TEST_F(Journal, SaysThatItIsBackloggedUntilTheCommitsHaveCaughtUp) {
  const auto disk = std::make_shared<faulty_disk>();
  opened store(path_, on(disk), durability::sync, std::chrono::minutes(1), 1000);
  disk->hold_syncs();
  store->append(put, "a", std::string(600, 'x'));
  store->submit();
  disk->wait_until_a_sync_is_held();
  EXPECT_FALSE(store->backlogged());
  store->append(put, "b", std::string(600, 'x'));
  EXPECT_TRUE(store->backlogged());

  store->submit();
  disk->let_syncs_pass();
  store.settle();
  EXPECT_FALSE(store->backlogged());
}

TEST_F(Journal, CommitsOnCloseWhatWasOnlyAppended) {
  {
    opened store(path_);
    store->append(put, "a", "1");
    ASSERT_TRUE(store->close());
  }
  EXPECT_THAT(reopen(), ElementsAre(Pair("a", "1")));
}

TEST_F(Journal, KeepsEveryAcknowledgedCommitWhenItsProcessIsKilledAtAnyMoment) {
  const auto seed = std::random_device{}();
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  for (const auto* mode : {"Commits", "CommitsAsync"}) {
    std::uint64_t acknowledged = 0;
    for (int round = 0; round < 8; ++round) {  // in one store, so that recoveries pile up
      child writer(mode, path_);
      acknowledged += writer.hear(random() % 300);
      writer.kill();
      acknowledged += writer.hear(~0ull);  // what it had written to us before it died

      const auto found = reopen();
      ASSERT_GE(found.size(), acknowledged) << "seed " << seed << " round " << round;
      std::uint64_t n = 0;
      for (const auto& [k, v] : found) ASSERT_EQ(k, key(n++)) << "not a prefix; seed " << seed;
      acknowledged = found.size();
    }
    fs::remove_all(path_);
  }
}

TEST_F(Journal, KeepsEveryAcknowledgedCommitWhenThePowerFails) {
  std::mt19937 random(7);
  std::uint64_t next = 0;
  for (int round = 0; round < 12; ++round) {
    const auto disk = std::make_shared<faulty_disk>();
    std::uint64_t acknowledged = 0;
    {
      opened store(path_, on(disk));
      ASSERT_TRUE(store) << store.error.message;
      for (auto n = random() % 20; n > 0; --n) {
        store.commit(key(next++), std::string(random() % 8 == 0 ? 70000 : 50, 'v'));
      }
      acknowledged = next;
      disk->hold_syncs();
      store->append(put, key(next++), std::string(70000, 'w'));
      store->append(put, key(next++), "in one batch with it");
      store->submit();
      disk->wait_until_a_sync_is_held();
      disk->power_off();
      disk->let_syncs_pass();
      EXPECT_TRUE(store.settle().failed);
    }
    disk->forget_unsynced(
        random() % 3 == 0 ? 0 : random() % 75000);  // any part of the last batch may have made it

    const auto found = reopen();
    ASSERT_THAT(found.size(), ::testing::AnyOf(acknowledged, next)) << "half a batch";
    std::uint64_t n = 0;
    for (const auto& [k, v] : found) ASSERT_EQ(k, key(n++));
    next = found.size();
  }
}

TEST_F(Journal, AcknowledgesNothingAfterTheDiskWasFullAndReopensWithAllThatWas) {
  for (int at : {0, 1, 5}) {
    fs::remove_all(path_);
    const auto disk = std::make_shared<faulty_disk>();
    {
      opened store(path_, on(disk));
      disk->fill_up_at_log_append(at);
      std::uint64_t n = 0;
      while (!store.commit(key(n), "v").failed) ++n;
      EXPECT_EQ(store->poll().committed, n);
      EXPECT_THAT(std::string(store->failure()),
                  AllOf(HasSubstr(path_), HasSubstr("No space left"), HasSubstr("restart")));

      for (int later = 0; later < 3; ++later) {
        EXPECT_TRUE(store.commit("later", "").failed);
        EXPECT_EQ(store->poll().committed, n);
      }
      EXPECT_TRUE(store->backlogged());
      EXPECT_EQ(store->pending_sequence(), n + 4);
      EXPECT_FALSE(store->close());

      const auto found = reopen();
      EXPECT_THAT(found.size(), ::testing::AnyOf(n, n + 1));
      EXPECT_FALSE(found.contains("later"));
    }
  }
}

TEST_F(Journal, NeverRepeatsAFailedSync) {
  const auto disk = std::make_shared<faulty_disk>();
  {
    opened store(path_, on(disk));
    store.commit(key(0), "v");
    disk->fail_log_sync(0);  // the next one would succeed
    const int before = disk->log_syncs();
    EXPECT_TRUE(store.commit(key(1), "v").failed);
    EXPECT_TRUE(store.commit(key(2), "v").failed);
    EXPECT_EQ(store->poll().committed, 1u);
    EXPECT_THAT(std::string(store->failure()), HasSubstr("Input/output error"));
    EXPECT_FALSE(store->close());
    EXPECT_EQ(disk->log_syncs(), before + 1);
  }
  const auto found = reopen();
  EXPECT_TRUE(found.contains(key(0)));  // key(1) is unknown
  EXPECT_FALSE(found.contains(key(2)));
}

TEST_F(Journal, AsyncAcknowledgesBeforeTheSyncAndSyncsInTheBackground) {
  const auto disk = std::make_shared<faulty_disk>();
  opened store(path_, on(disk), durability::async, std::chrono::milliseconds(1));
  const int before = disk->log_syncs();
  disk->hold_syncs();
  EXPECT_EQ(store.commit("a", "1").committed, 1u);
  disk->wait_for_log_syncs(before + 1);  // nobody asked for it
  disk->let_syncs_pass();
  EXPECT_TRUE(store->close());
}

TEST_F(Journal, AsyncLosesOnlyTheEndOfTheCommitsWhenThePowerFails) {
  for (const std::uint64_t kept : {0u, 1u, 200u, 333u, 40000u, 1u << 30u}) {
    fs::remove_all(path_);
    const auto disk = std::make_shared<faulty_disk>();
    {
      opened store(path_, on(disk), durability::async);
      for (std::uint64_t n = 0; n < 20; ++n)
        EXPECT_FALSE(store.commit(key(n), std::string(5000, 'v')).failed);
      disk->power_off();
    }
    disk->forget_unsynced(kept);
    std::uint64_t n = 0;
    for (const auto& [k, v] : reopen()) ASSERT_EQ(k, key(n++));
    EXPECT_EQ(n, std::min<std::uint64_t>(kept / 5050, 20));
  }
}

TEST_F(Journal, AsyncLosesNothingOnClose) {
  const auto disk = std::make_shared<faulty_disk>();
  {
    opened store(path_, on(disk), durability::async);
    store.commit("a", "1");
    ASSERT_TRUE(store->close());
  }
  disk->forget_unsynced();
  EXPECT_THAT(reopen(), ElementsAre(Pair("a", "1")));
}

TEST_F(Journal, RefusesASecondJournalOfTheSameProcess) {
  opened store(path_);
  store.commit("a", "1");
  expect_refused(reason::in_use, "this process (" + std::to_string(::getpid()) + ") since 2");
}

TEST_F(Journal, RefusesAStoreOfAnotherProcessAndSaysWhoHasItButNotOfADeadOne) {
  child holder("Holds", path_);
  ASSERT_EQ(holder.hear(1), 1u);
  expect_refused(reason::in_use, "process " + std::to_string(holder.pid) + " since 2");

  holder.kill();
  ASSERT_TRUE(fs::exists(path_ + "/owner"));
  EXPECT_TRUE(opened(path_));
}

TEST_F(Journal, RefusesANewerFormat) {
  fill(1);
  write_all(path_ + "/format", "dislock journal format 3\n");
  expect_refused(reason::newer_format, "format 3");
  write_all(path_ + "/format", "dislock journal format 1\n");
  expect_refused(reason::foreign, "format 1, which no release");
}

TEST_F(Journal, RefusesADirectoryThatIsNotItsOwn) {
  fs::create_directories(path_);
  write_all(path_ + "/thesis.tex", "\\begin{document}");
  expect_refused(reason::foreign, "thesis.tex");
  write_all(path_ + "/format", "A4");
  expect_refused(reason::foreign, "format");
  fs::remove_all(path_);
  write_all(path_, "");
  opened store(path_);
  EXPECT_EQ(store.error.why, reason::foreign);
}

TEST_F(Journal, StartsAnUnfinishedCreationAgain) {
  fs::create_directories(path_ + "/records");
  write_all(path_ + "/format.new", "");
  write_all(path_ + "/records/CURRENT", "MANIFEST-0000");
  EXPECT_TRUE(reopen().empty());
  EXPECT_TRUE(fs::exists(path_ + "/format"));
}

TEST_F(Journal, RefusesAStoreWithoutItsManifestOrCurrentFile) {
  fill(10);
  for (const auto& entry : fs::directory_iterator(path_ + "/records")) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with("MANIFEST") && name != "CURRENT") continue;
    const auto text = read_all(entry.path());
    fs::remove(entry.path());
    expect_refused(reason::damaged, "damaged");
    write_all(entry.path(), text);
  }
  EXPECT_EQ(reopen().size(), 10u);
}

TEST_F(Journal, RefusesADamagedOrMissingTable) {
  fill(1000);
  EXPECT_EQ(reopen().size(), 1000u);  // recovery wrote the table
  const auto table = files(".sst").at(0);
  const auto text = read_all(table);
  for (const auto at : {std::size_t{10}, text.size() / 2, text.size() - 60}) {
    auto changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    write_all(table, changed);
    expect_refused(reason::damaged, "damaged");
  }
  fs::remove(table);
  expect_refused(reason::damaged, "damaged");
}

TEST_F(Journal, RefusesALogWithAHoleInAcknowledgedCommits) {
  fill(100, 1000);
  const auto log = files(".log").back();
  const auto text = read_all(log);
  for (const auto at : {std::size_t{0}, std::size_t{3}, text.size() / 2, text.size() - 3000}) {
    auto changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    write_all(log, changed);
    expect_refused(reason::damaged, "acknowledged");
  }
}

TEST_F(Journal, CutsATornTailOfTheLogOff) {
  fill(20);
  const auto log = files(".log").back();
  write_all(log, read_all(log).substr(0, read_all(log).size() - 30));
  EXPECT_EQ(reopen().size(), 19u);
  fill(1);  // and goes on from there
  EXPECT_EQ(reopen().size(), 19u);
}

TEST_F(Journal, CutsALastCommitOffThatReachedTheDiskInPieces) {
  fill(20, 100000);  // over several blocks and pages
  const auto log = files(".log").back();
  auto text = read_all(log);
  text.replace(text.size() - 60000, 4096, 4096, '\0');
  write_all(log, text);
  EXPECT_EQ(reopen().size(), 19u);
}

// A page in the middle never reached the disk, and what was committed later did: without a sync in between
// nobody was told of either. What is left has to be a prefix.
TEST_F(Journal, CutsUnsyncedCommitsOffAtTheFirstThatIsMissing) {
  constexpr std::size_t block = 32768, one = 4096;
  const auto commit_all = [&](std::size_t value_size) {
    fs::remove_all(path_);
    opened j(path_, nullptr, durability::async);
    for (std::uint64_t n = 0; n < 64; ++n) j.commit(key(n), std::string(value_size, 'x'));
    j.drop();
    return read_all(files(".log").back());
  };
  const auto probe = commit_all(2000);
  commit_all(one - (probe.find(key(1)) - probe.find(key(0)) - 2000));  // what a commit takes beside its value
  const auto log = files(".log").back();
  auto text = read_all(log);
  ASSERT_EQ(text.size(), 64 * one);
  ASSERT_EQ(text[2 * block + 6], 1) << "a commit begins with a block";
  text.replace(block, block, block, '\0');
  write_all(log, text);

  EXPECT_EQ(reopen().size(), block / one);
  fill(1);  // and goes on from there
  EXPECT_EQ(reopen().size(), block / one);
}

TEST_F(Journal, WritesItsLogOverZerosAndCutsThemOffWhenItCloses) {
  {
    opened j(path_);
    j.commit("a", "1");
    const auto log = read_all(files(".log").back());
    EXPECT_EQ(log.size(), 256u << 10u) << "room for the next commits, so that they change no metadata";
    EXPECT_EQ(log.find_first_not_of('\0', 200), std::string::npos);
    j.commit("b", std::string(300'000, 'x'));
    EXPECT_EQ(read_all(files(".log").back()).size(), 512u << 10u);
  }
  EXPECT_LT(read_all(files(".log").back()).size(), 301'000u);
}

TEST_F(Journal, KeepsPassingRecordsUntilTheyPass) {
  {
    opened j(path_);
    j->append(journal::kind::put_passing, "O1", "one");
    j->append(journal::kind::put_passing, "O2", "two");
    j->append(put, "L", "lease");
    j->pass("O2");
    j->submit();
    ASSERT_FALSE(j.settle().failed);
  }
  const auto left = reopen();  // what has passed may be there still
  EXPECT_EQ(left.at("O2"), "two");
  EXPECT_EQ(left.at("L"), "lease");
}

TEST_F(Journal, DropsPassedRecordsByTheFile) {
  const auto size_of_tables = [&] {
    std::uintmax_t sum = 0;
    for (const auto& f : files(".sst")) sum += fs::file_size(f);
    return sum;
  };
  for (int round = 0; round < 12; ++round) {  // each recovery makes a table of its own
    opened j(path_);
    for (int n = 0; n < 100; ++n)
      j->append(journal::kind::put_passing, key(static_cast<std::uint64_t>(round * 100 + n)),
                std::string(1000, 'x'));
    if (round == 11) j->pass(key(1100));
    j->submit();
    ASSERT_FALSE(j.settle().failed);
  }
  EXPECT_LT(size_of_tables(), 700'000u) << "of 1,100,000 that were written before";
  EXPECT_TRUE(reopen().contains(key(1150)));
}

TEST_F(Journal, ForgetsARecordThatWasPutOnceAndRemoved) {
  {
    opened j(path_);
    j.commit("stays", "1");
    j.commit("goes", "1");
    j->append(journal::kind::remove_first, "goes", {});
    j->submit();
    ASSERT_FALSE(j.settle().failed);
  }
  EXPECT_THAT(reopen(), ElementsAre(Pair("stays", "1")));
  {
    opened j(path_);  // also when the put is in a table already
    j->append(journal::kind::remove_first, "stays", {});
    j->submit();
    ASSERT_FALSE(j.settle().failed);
  }
  EXPECT_TRUE(reopen().empty());
}

// The check by itself, on a file system in memory, so that every byte can have its turn.
class WalCheck : public Journal {
 protected:
  void SetUp() override {
    fill(12, 60);
    auto made = files(".log");
    text_ = read_all(made.back());
    memory_->CreateDir("/records").PermitUncheckedError();
  }

  boost::system::result<wal_summary, std::string> check(std::string_view text,
                                                        const std::string& name = "000009.log") {
    EXPECT_TRUE(
        rocksdb::WriteStringToFile(memory_.get(), {text.data(), text.size()}, "/records/" + name).ok());
    return check_wal(*memory_, "/records", 0);
  }

  std::string text_;
  std::unique_ptr<rocksdb::Env> memory_{rocksdb::NewMemEnv(rocksdb::Env::Default())};
};

TEST_F(WalCheck, FindsTheLastCompleteCommitWhereverTheLogIsCut) {
  ASSERT_EQ(check(text_)->last_sequence, 12u);
  const auto one = text_.size() / 12;
  ASSERT_EQ(one * 12, text_.size());
  for (std::size_t size = 0; size < text_.size(); ++size) {
    const auto cut = check(std::string_view(text_).substr(0, size));
    ASSERT_TRUE(cut) << cut.error();
    ASSERT_EQ(cut->last_sequence, size / one) << size;
  }
}

TEST_F(WalCheck, TellsAFlippedByteInEveryPlaceButTheLastCommit) {
  const auto one = text_.size() / 12;
  for (std::size_t at = 0; at < text_.size(); ++at) {
    auto changed = text_;
    changed[at] = static_cast<char>(changed[at] ^ 0x41);
    const auto checked = check(changed);
    if (at < 11 * one) {
      ASSERT_FALSE(checked) << at;
    } else {
      ASSERT_TRUE(checked) << at;  // could be the normal end of a crash
      ASSERT_EQ(checked->last_sequence, 11u);
    }
  }
}

TEST_F(WalCheck, TellsThatALogIsMissing) {
  const auto half = text_.size() / 2;
  EXPECT_THAT(check(std::string_view(text_).substr(half)).error(), HasSubstr("from 1 on are missing"));
}

TEST_F(WalCheck, AcceptsATailThatAnEarlierRecoveryHasCutOffAndGoneOnFrom) {
  const auto half = text_.size() / 2;
  check(std::string_view(text_).substr(0, half + 10));
  EXPECT_EQ(check(std::string_view(text_).substr(half), "000010.log")->last_sequence, 12u);
}

}  // namespace
}  // namespace dislock::embedded
