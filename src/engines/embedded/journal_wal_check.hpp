// Reads the write-ahead log of a store that is not open, and tells a torn tail from lost commits.
#pragma once

#include <boost/system/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rocksdb {
class Env;
}

namespace dislock::embedded {

/// The first record of every batch that the journal writes, as RocksDB log data (in the WAL only, never in a
/// table): four bytes of magic and, little endian, the RocksDB sequence up to which all was on disk when the
/// batch was written.
inline constexpr std::string_view wal_marker_magic = "dlk1";
inline constexpr std::size_t wal_marker_size = 12;

struct wal_summary {
  std::uint64_t last_sequence = 0;  ///< recovery has to arrive here
  /// Something unacknowledged comes after it, with a hole in between: the log has to be cut before recovery
  /// reads on behind the hole. Recovery takes zeros for the end of a block, not of the log.
  struct cut {
    std::string log;       ///< the name of the file; later ones go altogether
    std::size_t size = 0;  ///< what is left of it
  };
  std::optional<cut> torn;
};

/// Reads all `*.log` files in `directory`. RocksDB's own recovery modes cannot make the distinction:
/// point-in-time cuts at the first damage wherever it is, tolerate-corrupted-tail refuses ordinary power-loss
/// tails, and both judge one record at a time. We know more: a batch says how far the disk was synced when it
/// was written. Hence the rule:
///
///   commits that are missing from the log were acknowledged if a readable later batch was written after
///   their sync.
///
/// Then the result is an error (a sentence); otherwise the hole is a torn tail. `table_sequence` is the last
/// sequence of the MANIFEST: a log that starts after it has lost its beginning.
///
/// Not noticed, because nothing is left that could tell: damage to the very last batch, or the loss of the
/// newest log file as a whole.
[[nodiscard]] boost::system::result<wal_summary, std::string> check_wal(rocksdb::Env& env,
                                                                        const std::string& directory,
                                                                        std::uint64_t table_sequence);

}  // namespace dislock::embedded
