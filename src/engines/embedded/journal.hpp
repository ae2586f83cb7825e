// journal: the durable half of the embedded engine.
#pragma once

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace rocksdb {
class Env;
}

namespace dislock::embedded {

/// Why a journal cannot be opened or read. `message` is a whole sentence for the log and for the operator.
struct journal_error {
  enum class reason {
    in_use,        ///< another process, or another journal of this one, has the directory
    foreign,       ///< the directory holds something that is not a dislock store
    newer_format,  ///< written by a dislock that is newer than this one
    damaged,       ///< a checksum, a file or a stretch of acknowledged commits is missing
    io,            ///< the operating system refused: permissions, no space, a broken disk
  };
  reason why = reason::io;
  std::string message;
};

template <class T>
using journal_result = boost::system::result<T, journal_error>;

/// For `result::value()`; our own code asks `has_value()` first.
[[noreturn]] void throw_exception_from_error(const journal_error& error, const boost::source_location& where);

/// What an acknowledgement means.
enum class durability {
  /// The commit is on disk (fdatasync). Nothing that was acknowledged is lost by any crash.
  sync,
  /// The commit reached the kernel. A killed process loses nothing. A crash of the operating system or a
  /// power
  /// failure loses at most what was committed in the last `sync_every`, plus the time that one sync takes;
  /// what
  /// is left is a prefix of the commits, never a selection.
  async,
};

struct journal_options {
  std::string path;
  durability mode = durability::sync;

  /// Called on the commit thread when `poll()` has something new. Not called again before `poll()`: any
  /// number of commits cost one wake-up. Must not block, throw or call the journal.
  std::function<void()> notify;

  /// async only: the longest time a commit stays unsynced.
  std::chrono::milliseconds sync_every{100};

  /// `backlogged()` from here on: about 40,000 records, a tenth of a second of full-speed commits.
  std::size_t backlog_limit = 8u << 20u;

  /// For tests: file operations go through it. Null: the operating system's.
  std::shared_ptr<rocksdb::Env> env;
};

/// Durable key-value records with group commit.
///
/// Records that are appended between two `submit()`s are committed together or not at all. One batch is in
/// flight on the commit thread; all that is submitted meanwhile becomes the next one. The journal is read
/// once, by `load()` at start; while running it is only written.
///
/// It does not promise that an uncommitted record is absent after a restart: a batch whose commit failed may
/// be there. It does not retry: after a failed write or sync nobody knows what the disk holds, and a second
/// fsync that succeeds would prove nothing (the kernel drops the dirty pages that it could not write).
///
/// Owner: the embedded engine. All members from its io thread, except `failure()`, which is for any thread.
///
/// Invariants:
///  1. `committed <= pending_sequence()`, and `committed` never goes back.
///  2. A commit is only started when all before it have succeeded. So acknowledged commits are a prefix.
///  3. Once `failed`, `committed` stands still for ever. The cure is a restart.
///  4. In steady state neither `append` nor `submit` nor a commit allocates in our code: three buffers go
///  round.
class journal {
 public:
  enum class kind : std::uint8_t {
    put,
    remove,
    remove_first,  ///< of a key that was put exactly once: cheaper, and wrong for any other
    /// A record that passes by itself (see `pass`): its key is never put again nor removed, and keys are best
    /// in rising order. They are apart from the others, where they are written once and dropped by the file.
    put_passing,
  };

  struct progress {
    std::uint64_t committed = 0;  ///< every record up to this sequence is durable (as `durability` says)
    bool failed = false;          ///< nothing above `committed` will ever be acknowledged: outcome unknown
  };

  /// Opens or creates (0700, parents too) the store and takes it for this journal alone.
  ///
  /// All is checked before anything is written: on an error the directory is as it was. The check reads the
  /// WAL (bounded by the write buffers, tens of MB) and the checksums of all tables (bounded by the live
  /// records and the compaction slack; sequential, 0.1 s for a million records). A torn tail, the normal
  /// trace of a crash, is cut off; a hole that acknowledged commits have fallen into is an error.
  [[nodiscard]] static journal_result<std::unique_ptr<journal>> open(journal_options options);

  journal(const journal&) = delete;
  journal& operator=(const journal&) = delete;

  /// Closes if `close()` was not called, and then has to drop its result.
  ~journal();

  /// Calls `visit(key, value)` for every record: the passing ones first, then the others, in the order of the
  /// keys (bytes). Once, before the first append.
  [[nodiscard]] journal_result<void> load(
      const std::function<void(std::string_view key, std::string_view value)>& visit);

  /// Adds a record to the open batch. The order is kept; the last record of a key wins. `value` is ignored by
  /// `remove`.
  void append(kind what, std::string_view key, std::string_view value);

  /// Passing records with smaller keys are of no use any more once all that has been appended so far is
  /// committed. They go away some time after that; until then a load still visits them.
  void pass(std::string_view key);

  /// The sequence that is durable once all that has been appended so far is committed. 0: nothing yet.
  [[nodiscard]] std::uint64_t pending_sequence() const noexcept;

  /// The last `progress::committed` that `poll()` could return now.
  [[nodiscard]] std::uint64_t committed_sequence() const noexcept;

  /// Ends the open batch and gives it to the commit thread: now if it is idle, else together with what else
  /// is submitted before it is done. Cheap when there is nothing to submit.
  void submit();

  /// What has been committed since; allows the next `notify`.
  [[nodiscard]] progress poll() noexcept;

  /// More than `backlog_limit` bytes are not committed yet: shed new acquires, let renewals and releases
  /// through.
  [[nodiscard]] bool backlogged() const noexcept;

  /// A sentence for /health; empty while all is well. Any thread.
  [[nodiscard]] std::string_view failure() const noexcept;

  /// Commits and syncs what was submitted or appended, joins the commit thread, closes the store. Waits for
  /// the disk: for the end of a process, not for a running one. The error repeats `failure()`.
  [[nodiscard]] journal_result<void> close();

 private:
  struct state;
  explicit journal(std::unique_ptr<state> with);

  std::unique_ptr<state> state_;
};

}  // namespace dislock::embedded
