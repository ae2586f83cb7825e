#include "engines/embedded/journal.hpp"

#include "base/assert.hpp"
#include "engines/embedded/journal_wal_check.hpp"
#include "engines/embedded/preallocated_logs.hpp"

#include <boost/endian/conversion.hpp>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/memtablerep.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <pthread.h>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace dislock::embedded {
namespace {

namespace fs = std::filesystem;
using boost::endian::store_little_u32;
using boost::endian::store_little_u64;
using reason = journal_error::reason;

// The store: <path>/format (one line, below), <path>/owner (who has it, for people), <path>/records/
// (RocksDB).
constexpr int format_version = 2;
// How often files with nothing but passed records are dropped.
constexpr std::chrono::seconds drop_every(5);
constexpr std::string_view format_prefix = "dislock journal format ";

journal_error error(reason why, std::string message) {
  return {why, std::move(message)};
}

journal_error os_error(const std::string& what, int code) {
  return error(reason::io, what + ": " + std::generic_category().message(code));
}

class file_descriptor {
 public:
  explicit file_descriptor(int fd = -1) noexcept : fd_(fd) {}
  file_descriptor(file_descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  file_descriptor& operator=(file_descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~file_descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

// 0 or errno.
int sync_directory(const std::string& path) {
  const file_descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return directory && ::fsync(directory.get()) == 0 ? 0 : errno;
}

// 0 or errno. With `durable`, the name is durable only once the directory is synced.
constexpr std::size_t room_to_open = 64 * 1024;

int write_file(const std::string& path, std::string_view text, bool durable) {
  const file_descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return errno;
  while (!text.empty()) {
    const auto written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno != EINTR) return errno;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return !durable || ::fsync(file.get()) == 0 ? 0 : errno;
}

// Reads small files of ours; empty when there is none.
std::string read_file(const std::string& path) {
  const file_descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(4096, '\0');
  const auto size = file ? ::read(file.get(), text.data(), text.size()) : 0;
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

// mkdir -p with mode 0700, each name durable in its parent before anything goes below it.
journal_result<void> make_directories(const std::string& path) {
  std::error_code ignored;
  if (path.empty() || fs::is_directory(path, ignored)) return {};
  auto parent = fs::path(path).parent_path().string();
  if (auto made = make_directories(parent); !made) return made;
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return os_error("cannot create " + path, errno);
  if (const int code = sync_directory(parent.empty() ? "." : parent))
    return os_error("cannot sync " + parent, code);
  return {};
}

std::string utc_now() {
  const auto now = ::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

// The lock is an flock on the directory itself: nothing has to be written to take it, the kernel drops it
// with the process however that ends, and it also excludes a second journal of this process. The owner file
// only says who.
journal_result<file_descriptor> take_lock(const std::string& path) {
  file_descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return os_error("cannot open the store " + path, errno);
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) return directory;
  if (errno != EWOULDBLOCK) return os_error("cannot lock the store " + path, errno);

  // A dead process in the owner file is the one before the present owner, who has not come to write it yet.
  const auto owner = read_file(path + "/owner");
  const auto pid = static_cast<pid_t>(std::strtol(owner.c_str(), nullptr, 10));
  std::string who = "another process";
  if (pid == ::getpid()) {
    who = "this process (" + std::to_string(pid) + ")";
  } else if (pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM)) {
    who = "process " + std::to_string(pid);
  }
  const auto since = owner.find(" since ");
  if (who.back() != 's' && since != std::string::npos) who += owner.substr(since, owner.find('\n') - since);
  return error(reason::in_use,
               "the store " + path + " is in use by " + who + "; two servers cannot share an embedded store");
}

// 0 or errno. Takes what nobody was told of out of the logs.
int cut_logs(const std::string& records, const wal_summary::cut& to) {
  std::error_code code;
  for (fs::directory_iterator it(records, code), end; !code && it != end; it.increment(code)) {
    const auto name = it->path().filename().string();
    const bool later = name.size() != to.log.size() ? name.size() > to.log.size() : name > to.log;
    if (name.ends_with(".log") && later && ::unlink(it->path().c_str()) != 0) return errno;
  }
  if (code) return code.value();
  const file_descriptor log(::open((records + "/" + to.log).c_str(), O_WRONLY | O_CLOEXEC));
  if (!log || ::ftruncate(log.get(), static_cast<off_t>(to.size)) != 0 || ::fsync(log.get()) != 0)
    return errno;
  return sync_directory(records);
}

enum class contents { nothing, unfinished, store };

// Decides what a directory is without changing it.
journal_result<contents> inspect(const std::string& path) {
  bool has_format = false;
  bool has_draft = false;
  bool has_records = false;
  std::string stranger;
  std::error_code code;
  for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code)) {
    const auto name = it->path().filename().string();
    if (name == "format")
      has_format = true;
    else if (name == "format.new")
      has_draft = true;
    else if (name == "records")
      has_records = true;
    else if (name != "owner" && name != "room" && name != "lost+found")
      stranger = name;
  }
  if (code) return error(reason::io, "cannot read the directory " + path + ": " + code.message());
  if (!has_format) {
    if (stranger.empty() && !has_records) return contents::nothing;
    // `format` gets its name last. Until then nobody was told of a commit, so an unfinished store can be
    // redone.
    if (stranger.empty() && has_draft) return contents::unfinished;
    return error(reason::foreign, path + " is not a dislock store and not empty (it holds " +
                                      (stranger.empty() ? "records without a format file" : stranger) +
                                      "); give an empty directory or one that dislock made");
  }
  const auto format = read_file(path + "/format");
  if (!format.starts_with(format_prefix)) {
    return error(reason::foreign, path + "/format is not the format file of a dislock store");
  }
  const int version = std::atoi(format.c_str() + format_prefix.size());
  if (version > format_version) {
    return error(reason::newer_format, "the store " + path + " has format " + std::to_string(version) +
                                           ", written by a newer dislock; this one knows formats up to " +
                                           std::to_string(format_version));
  }
  if (version < 1) return error(reason::damaged, path + "/format does not name a version");
  if (version < format_version) {
    return error(reason::foreign, "the store " + path + " has format " + std::to_string(version) +
                                      ", which no release of dislock wrote; this one reads format " +
                                      std::to_string(format_version) + "; move it away to start empty");
  }
  return contents::store;
}

// Tuning. Figures: docs/adr/0003-rocksdb-journal.md.
rocksdb::Options rocksdb_options(rocksdb::Env* env) {
  rocksdb::Options options;
  options.env = env;

  // Never read while running, so the memtable needs no order until it is flushed: against the skip list, the
  // vector halves the CPU of a commit of 128 records. It cannot take concurrent writers; there is one.
  options.memtable_factory = std::make_shared<rocksdb::VectorRepFactory>();
  options.allow_concurrent_memtable_write = false;
  options.enable_write_thread_adaptive_yield = false;  // one writer: nobody to spin for

  // One fills while the others are flushed. Bounds memory (28 MB resident; with 32 MiB 80 MB and a tenth
  // faster) and what a restart has to replay.
  options.write_buffer_size = 8u << 20u;
  options.max_write_buffer_number = 3;
  options.max_total_wal_size =
      64u << 20u;  // a part that is seldom written must not keep the logs of the other

  // Small tables and a small L1, so that the removes meet their puts soon and the directory follows the live
  // records.
  options.level0_file_num_compaction_trigger = 4;
  options.target_file_size_base = 16u << 20u;
  options.max_bytes_for_level_base = 64u << 20u;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_background_jobs = 2;
  options.compression =
      rocksdb::kNoCompression;         // records are mostly random ids: LZ4 costs CPU and saves little
  options.bytes_per_sync = 1u << 20u;  // tables reach the disk evenly, not in one burst before a WAL sync

  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;    // read once, in order
  table.block_size = 32u << 10u;  // a small index, for the same reason
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.max_open_files = 64;

  options.paranoid_checks = true;
  // Every mode of 7.8 that detects damage forbids recycle_log_file_num (it is reset silently), so the WAL is
  // only preallocated. Point in time stops at the first damage; `check_wal` has proved before that it may.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_manifest_file_size =
      4u << 20u;                         // rolled over; the default of 1 GiB is never reached and only grows
  options.max_bgerror_resume_count = 0;  // a failed store stays failed; no retry behind our back
  options.avoid_flush_during_shutdown = true;  // the WAL has it; stopping stays quick

  options.info_log_level = rocksdb::WARN_LEVEL;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 1u << 20u;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

// What lasts until it is removed, and what passes.
std::vector<rocksdb::ColumnFamilyDescriptor> parts_of(const rocksdb::Options& options) {
  rocksdb::ColumnFamilyOptions passing(options);
  // Keys rise, so that files do not overlap and are moved down, not merged.
  passing.max_bytes_for_level_base = 1u << 30u;
  return {{rocksdb::kDefaultColumnFamilyName, options}, {"passing", passing}};
}

// For checking: the store as its tables have it. Without the logs an open replays nothing and stays small.
class without_logs : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;
  [[nodiscard]] const char* Name() const override { return "without_logs"; }
  rocksdb::IOStatus GetChildren(const std::string& directory, const rocksdb::IOOptions& options,
                                std::vector<std::string>* children, rocksdb::IODebugContext* debug) override {
    auto status = FileSystemWrapper::GetChildren(directory, options, children, debug);
    std::erase_if(*children, [](const std::string& name) { return name.ends_with(".log"); });
    return status;
  }
};

// Reads all that a recovery will read and changes nothing. A plain open would write a MANIFEST, flush and
// delete logs before it finds the damage.
journal_result<wal_summary> verify(const std::string& path, rocksdb::Env& env) {
  const auto damaged = [&](const std::string& what) {
    return error(reason::damaged, "the store " + path + " is damaged and was left as it is: " + what +
                                      "; restore it from a backup, or move it away to start empty");
  };
  const auto records = path + "/records";
  std::uint64_t table_sequence = 0;
  {
    const auto file_system = std::make_shared<without_logs>(env.GetFileSystem());
    const auto no_logs = rocksdb::NewCompositeEnv(file_system);
    rocksdb::DB* opened = nullptr;
    std::vector<rocksdb::ColumnFamilyHandle*> parts;
    const auto read_only = rocksdb_options(no_logs.get());
    auto status = rocksdb::DB::OpenForReadOnly(read_only, records, parts_of(read_only), &parts, &opened);
    const std::unique_ptr<rocksdb::DB> db(opened);
    for (auto* part : parts) db->DestroyColumnFamilyHandle(part).PermitUncheckedError();
    if (status.ok()) {
      rocksdb::ReadOptions read;
      read.readahead_size = 2u << 20u;
      status = db->VerifyChecksum(read);
    }
    if (!status.ok()) return damaged(status.ToString());
    table_sequence = db->GetLatestSequenceNumber();
  }
  auto wal = check_wal(env, records, table_sequence);
  if (!wal) return damaged(wal.error());
  return *wal;
}

// A run of records in the form of rocksdb::WriteBatch (write_batch.cc, stable because WALs are replicated as
// bytes): sequence (8) | count (4) | our wal marker | records: 1 key value (put), 0 key (delete), 7 key
// (single delete), 5 column family key value (put), strings with a varint length before them. Built here so
// that the commit thread neither copies nor parses before it writes.
class batch_buffer {
 public:
  batch_buffer() { clear(); }

  void clear() {
    if (text_.capacity() > 2u << 20u) text_ = {};  // one burst must not keep its memory for ever
    text_.assign(head_size, '\0');
    text_[12] = 3;
    text_[13] = char{wal_marker_size};
    text_.replace(14, wal_marker_magic.size(), wal_marker_magic);
    count_ = 0;
    passed_.clear();
  }

  void put(std::string_view key, std::string_view value) {
    text_.push_back(1);
    add(key);
    add(value);
    ++count_;
  }

  void put_passing(std::uint32_t part, std::string_view key, std::string_view value) {
    text_.push_back(5);
    add_size(part);
    add(key);
    add(value);
    ++count_;
  }

  void remove(std::string_view key, bool put_once) {
    text_.push_back(put_once ? 7 : 0);
    add(key);
    ++count_;
  }

  void pass(std::string_view key) { passed_ = key; }
  [[nodiscard]] const std::string& passed() const noexcept { return passed_; }

  void add_all_of(const batch_buffer& other) {
    text_.append(other.text_, head_size);
    count_ += other.count_;
    if (!other.passed_.empty()) passed_ = other.passed_;
  }

  void seal(std::uint64_t synced_through) {
    store_little_u32(bytes(8), count_);
    store_little_u64(bytes(14 + wal_marker_magic.size()), synced_through);
  }

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t size() const noexcept { return text_.size() - head_size; }

  rocksdb::Status write_to(rocksdb::DB& db, const rocksdb::WriteOptions& options) {
    // WriteBatch takes the bytes over but has no way to give them back; `rep_` is protected for such cases.
    struct lent final : rocksdb::WriteBatch {
      using WriteBatch::WriteBatch;
      std::string give_back() { return std::move(rep_); }
    };
    lent batch(std::move(text_));
    auto status = db.Write(options, &batch);
    text_ = batch.give_back();
    return status;
  }

 private:
  static constexpr std::size_t head_size = 12 + 2 + wal_marker_size;

  void add_size(std::uint32_t rest) {
    for (; rest >= 0x80; rest >>= 7u) text_.push_back(static_cast<char>(rest | 0x80u));
    text_.push_back(static_cast<char>(rest));
  }
  void add(std::string_view part) {
    add_size(static_cast<std::uint32_t>(part.size()));
    text_.append(part);
  }

  unsigned char* bytes(std::size_t at) { return reinterpret_cast<unsigned char*>(text_.data() + at); }

  std::string text_;
  std::uint32_t count_ = 0;
  std::string passed_;
};

}  // namespace

void throw_exception_from_error(const journal_error& error, const boost::source_location&) {
  throw std::runtime_error(error.message);
}

struct journal::state {
  journal_options options;
  file_descriptor lock;                 // declared before the store: outlives it
  std::unique_ptr<rocksdb::Env> files;  // outlives the store too
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> parts;  // [lasting, passing]; gone before the store
  bool closed = false;
  bool loaded = false;

  // io thread
  batch_buffer collecting;
  std::uint64_t appended = 0;
  std::uint64_t appended_bytes = 0;

  // both, under `mutex`
  std::mutex mutex;
  std::condition_variable work;
  batch_buffer waiting;
  bool idle = false;
  bool closing = false;

  // commit thread
  batch_buffer in_flight;
  std::uint64_t synced_through = 0;  // in RocksDB's sequences
  bool unsynced = false;
  std::chrono::steady_clock::time_point sync_at;
  std::chrono::steady_clock::time_point dropped_at;  // when passing records were dropped last

  // from the commit thread to the io thread
  std::atomic<std::uint64_t> committed{0};
  std::atomic<std::uint64_t> committed_bytes{0};
  std::atomic<bool> notified{false};
  std::atomic<bool> failed{false};
  std::string failure;  // written once, before `failed`

  std::thread thread;

  void run();
  bool commit();
  bool sync();
  void drop_passed();
  void fail(const rocksdb::Status& status);
  void tell() {
    if (!notified.exchange(true) && options.notify) options.notify();
  }
};

void journal::state::fail(const rocksdb::Status& status) {
  failure = "the journal in " + options.path + " stopped, because a write failed (" + status.ToString() +
            "); nothing more is acknowledged until the server is restarted";
  failed.store(true, std::memory_order_release);
  tell();
}

// False: failed, and the thread has nothing more to do.
bool journal::state::commit() {
  in_flight.seal(synced_through);
  rocksdb::WriteOptions write;
  write.sync = options.mode == durability::sync;
  const auto status = in_flight.write_to(*db, write);
  if (!status.ok()) {
    fail(status);
    return false;
  }
  if (write.sync) {
    synced_through = db->GetLatestSequenceNumber();
  } else if (!unsynced) {
    unsynced = true;
    sync_at = std::chrono::steady_clock::now() + options.sync_every;
  }
  committed_bytes.fetch_add(in_flight.size(), std::memory_order_relaxed);
  committed.fetch_add(in_flight.count(), std::memory_order_release);
  tell();
  drop_passed();
  in_flight.clear();
  return true;
}

// Whole files at a time, which costs an entry in the manifest. What fails here is tried again, and only costs
// room.
void journal::state::drop_passed() {
  const auto now = std::chrono::steady_clock::now();
  if (in_flight.passed().empty() || now < dropped_at + drop_every) return;
  dropped_at = now;
  const rocksdb::Slice end(in_flight.passed());
  rocksdb::DeleteFilesInRange(db.get(), parts[1], nullptr, &end, false).PermitUncheckedError();
}

bool journal::state::sync() {
  unsynced = false;
  const auto through = db->GetLatestSequenceNumber();
  if (const auto status = db->SyncWAL(); !status.ok()) {
    fail(status);
    return false;
  }
  synced_through = through;
  return true;
}

void journal::state::run() {
  ::pthread_setname_np(::pthread_self(), "journal");
  std::unique_lock guard(mutex);
  for (;;) {
    if (!waiting.empty()) {
      std::swap(waiting, in_flight);
      guard.unlock();
      if (!commit()) return;
      if (unsynced && std::chrono::steady_clock::now() >= sync_at && !sync()) return;
      guard.lock();
      continue;
    }
    if (closing) break;
    idle = true;
    if (unsynced) {
      if (work.wait_until(guard, sync_at) == std::cv_status::timeout) {
        guard.unlock();
        if (!sync()) return;
        guard.lock();
      }
    } else {
      work.wait(guard);
    }
    idle = false;
  }
  guard.unlock();
  if (unsynced) sync();
}

journal::journal(std::unique_ptr<state> with) : state_(std::move(with)) {}

journal::~journal() {
  if (!state_->closed) static_cast<void>(close());
}

journal_result<std::unique_ptr<journal>> journal::open(journal_options options) {
  // Without a trailing slash, so that parents and messages come out right.
  while (options.path.size() > 1 && options.path.ends_with('/')) options.path.pop_back();
  const std::string path = options.path;
  if (path.empty()) return error(reason::io, "the embedded store needs a directory");
  std::error_code code;
  if (fs::exists(path, code) && !fs::is_directory(path, code)) {
    return error(reason::foreign, path + " is a file; the embedded store needs a directory");
  }
  if (auto done = make_directories(path); !done) return done.error();
  auto lock = take_lock(path);
  if (!lock) return lock.error();

  rocksdb::Env& env = options.env ? *options.env : *rocksdb::Env::Default();
  const auto records = path + "/records";
  const auto found = inspect(path);
  if (!found) return found.error();
  wal_summary recoverable;
  if (*found == contents::store) {
    auto verified = verify(path, env);
    if (!verified) return verified.error();
    recoverable = *verified;
  } else {
    const auto draft = std::string(format_prefix) + std::to_string(format_version) + "\n";
    if (const int failed = write_file(path + "/format.new", draft, true))
      return os_error("cannot write in " + path, failed);
    if (const int failed = sync_directory(path)) return os_error("cannot sync " + path, failed);
    fs::remove_all(records, code);
    if (::mkdir(records.c_str(), 0700) != 0) return os_error("cannot create " + records, errno);
  }

  if (recoverable.torn) {
    if (const int failed = cut_logs(records, *recoverable.torn))
      return os_error("cannot cut off the unfinished commits in " + path, failed);
  }

  // RocksDB aborts when the first thing that it writes does not fit (its build has assertions on). So the
  // disk is asked first, for about what opening a store writes.
  const auto probe = path + "/room";
  const int no_room = write_file(probe, std::string(room_to_open, '\0'), true);
  ::unlink(probe.c_str());
  if (no_room) return os_error("there is no room to open the store in " + path, no_room);

  auto made = std::make_unique<state>();
  made->options = std::move(options);
  made->lock = std::move(*lock);
  made->files = rocksdb::NewCompositeEnv(std::make_shared<preallocated_logs>(env.GetFileSystem()));
  // Flushes and compactions can wait: the thread that answers, and the one that commits, cannot.
  for (const auto pool : {rocksdb::Env::Priority::HIGH, rocksdb::Env::Priority::LOW})
    made->files->LowerThreadPoolCPUPriority(pool);
  auto store_options = rocksdb_options(made->files.get());
  store_options.create_if_missing = *found != contents::store;
  store_options.create_missing_column_families = *found != contents::store;
  rocksdb::DB* db = nullptr;
  const auto status = rocksdb::DB::Open(store_options, records, parts_of(store_options), &made->parts, &db);
  made->db.reset(db);
  if (!status.ok()) return error(reason::io, "cannot open the store " + path + ": " + status.ToString());
  if (db->GetLatestSequenceNumber() < recoverable.last_sequence) {
    return error(reason::damaged, "the store " + path + " recovered to commit " +
                                      std::to_string(db->GetLatestSequenceNumber()) + " although it has " +
                                      std::to_string(recoverable.last_sequence) +
                                      "; this is a bug in dislock");
  }
  if (*found != contents::store) {
    if (::rename((path + "/format.new").c_str(), (path + "/format").c_str()) != 0) {
      return os_error("cannot write in " + path, errno);
    }
    if (const int failed = sync_directory(path)) return os_error("cannot sync " + path, failed);
  }
  // For people only; that it may fail on a full disk must not keep the locks away.
  static_cast<void>(
      write_file(path + "/owner", std::to_string(::getpid()) + " since " + utc_now() + "\n", false));

  // Recovery has flushed what the logs held into a synced table.
  made->synced_through = db->GetLatestSequenceNumber();
  auto* running = made.get();
  std::unique_ptr<journal> opened(new journal(std::move(made)));
  running->thread = std::thread([running] { running->run(); });
  return opened;
}

journal_result<void> journal::load(const std::function<void(std::string_view, std::string_view)>& visit) {
  DISLOCK_ASSERT(!state_->loaded && state_->appended == 0, "a journal is read once, before the first append");
  state_->loaded = true;
  rocksdb::ReadOptions read;
  read.verify_checksums = true;
  read.fill_cache = false;
  read.readahead_size = 2u << 20u;
  for (auto* part : {state_->parts[1], state_->parts[0]}) {
    const std::unique_ptr<rocksdb::Iterator> it(state_->db->NewIterator(read, part));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      visit({it->key().data(), it->key().size()}, {it->value().data(), it->value().size()});
    }
    if (!it->status().ok())
      return error(reason::io,
                   "cannot read the store " + state_->options.path + ": " + it->status().ToString());
  }
  return {};
}

void journal::append(kind what, std::string_view key, std::string_view value) {
  DISLOCK_ASSERT(!state_->closed, "nothing is appended to a closed journal");
  ++state_->appended;
  if (state_->failed.load(std::memory_order_relaxed)) return;  // unknown for ever; must not pile up
  const auto before = state_->collecting.size();
  auto& batch = state_->collecting;
  switch (what) {
    case kind::put:
      batch.put(key, value);
      break;
    case kind::put_passing:
      batch.put_passing(state_->parts[1]->GetID(), key, value);
      break;
    case kind::remove:
    case kind::remove_first:
      batch.remove(key, what == kind::remove_first);
      break;
  }
  state_->appended_bytes += state_->collecting.size() - before;
}

void journal::pass(std::string_view key) {
  state_->collecting.pass(key);
}

std::uint64_t journal::pending_sequence() const noexcept {
  return state_->appended;
}

std::uint64_t journal::committed_sequence() const noexcept {
  return state_->committed.load(std::memory_order_acquire);
}

void journal::submit() {
  auto& s = *state_;
  if (s.collecting.empty()) return;
  bool wake = false;
  {
    const std::lock_guard guard(s.mutex);
    if (s.failed.load(std::memory_order_relaxed)) {
      s.collecting.clear();
      return;
    }
    if (s.waiting.empty()) {
      std::swap(s.collecting, s.waiting);
    } else {
      s.waiting.add_all_of(s.collecting);
    }
    wake = s.idle;
  }
  s.collecting.clear();
  if (wake) s.work.notify_one();
}

journal::progress journal::poll() noexcept {
  // First allow the next notification, then read: what comes in between notifies again. An exchange, not a
  // store: it has to see the commits of the notification that it takes back.
  state_->notified.exchange(false);
  const bool failed = state_->failed.load(std::memory_order_acquire);
  return {state_->committed.load(std::memory_order_acquire), failed};
}

bool journal::backlogged() const noexcept {
  const auto written = state_->committed_bytes.load(std::memory_order_relaxed);
  return state_->appended_bytes - written > state_->options.backlog_limit ||
         state_->failed.load(std::memory_order_relaxed);
}

std::string_view journal::failure() const noexcept {
  if (!state_->failed.load(std::memory_order_acquire)) return {};
  return state_->failure;
}

journal_result<void> journal::close() {
  auto& s = *state_;
  DISLOCK_ASSERT(!s.closed, "a journal is closed once");
  submit();
  s.closed = true;
  {
    const std::lock_guard guard(s.mutex);
    s.closing = true;
  }
  s.work.notify_one();
  s.thread.join();
  for (auto* part : s.parts) s.db->DestroyColumnFamilyHandle(part).PermitUncheckedError();
  s.parts.clear();
  const auto status = s.db->Close();
  s.db.reset();
  ::unlink((s.options.path + "/owner").c_str());
  s.lock = file_descriptor();
  if (s.failed.load()) return error(reason::io, s.failure);
  if (!status.ok())
    return error(reason::io, "cannot close the store " + s.options.path + ": " + status.ToString());
  return {};
}

}  // namespace dislock::embedded
