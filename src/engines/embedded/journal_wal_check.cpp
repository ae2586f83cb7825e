#include "engines/embedded/journal_wal_check.hpp"

#include <boost/crc.hpp>
#include <boost/endian/conversion.hpp>
#include <rocksdb/env.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace dislock::embedded {
namespace {

using boost::endian::load_little_u16;
using boost::endian::load_little_u32;
using boost::endian::load_little_u64;

// The log format of RocksDB (db/log_format.h): blocks of 32 KiB, filled with fragments
// `masked crc32c (4) | length (2) | type (1) | payload`; the crc covers the type and the payload.
// A batch is one FULL fragment or FIRST, MIDDLE..., LAST. Fewer than 7 bytes at the end of a block are
// padding.
constexpr std::size_t block_size = 32768;
constexpr std::size_t header_size = 7;
enum fragment_type : unsigned char { full = 1, first = 2, middle = 3, last = 4 };

const unsigned char* bytes(std::string_view text, std::size_t at) {
  return reinterpret_cast<const unsigned char*>(text.data()) + at;
}

bool intact_fragment_at(std::string_view log, std::size_t at, std::size_t block_end) {
  if (at + header_size > block_end || at + header_size > log.size()) return false;
  const std::size_t length = load_little_u16(bytes(log, at + 4));
  const auto type = *bytes(log, at + 6);
  const auto end = at + header_size + length;
  if (type < full || type > last || end > block_end || end > log.size()) return false;

  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes(log, at + 6), 1 + length);
  const std::uint32_t sum = crc.checksum();
  return ((sum >> 15u) | (sum << 17u)) + 0xa282ead8u == load_little_u32(bytes(log, at));
}

// Calls on_batch(payload, end) for every batch that can be read, whatever lies between.
template <class OnBatch>
void for_each_batch(std::string_view log, OnBatch on_batch) {
  std::string assembled;
  bool assembling = false;
  for (std::size_t at = 0; at < log.size();) {
    const auto block_end = (at / block_size + 1) * block_size;
    if (at + header_size > block_end) {
      at = block_end;
      continue;
    }
    if (!intact_fragment_at(log, at, block_end)) {
      assembling = false;
      // Damage. What comes after it decides what it is, so look for the next intact fragment: first in this
      // block, byte by byte (one candidate in 64 has a possible type; about 10 ms for a block at worst), then
      // at the next one.
      if (log.find_first_not_of('\0', at) == std::string_view::npos) return;  // preallocated, never written
      const auto limit = std::min(block_end, log.size());
      do ++at;
      while (at < limit && !intact_fragment_at(log, at, block_end));
      continue;
    }
    const std::size_t length = load_little_u16(bytes(log, at + 4));
    const auto payload = log.substr(at + header_size, length);
    switch (*bytes(log, at + 6)) {
      case full:
        assembling = false;
        on_batch(payload, at + header_size + length);
        break;
      case first:
        assembling = true;
        assembled.assign(payload);
        break;
      default:  // middle, last; without their beginning they say nothing
        if (!assembling) break;
        assembled.append(payload);
        if (*bytes(log, at + 6) == last) {
          assembling = false;
          on_batch(std::string_view(assembled), at + header_size + length);
        }
    }
    at += header_size + length;
  }
}

// A batch begins with `sequence of its first record (8) | number of records (4)`; our marker follows:
// `3 (log data) | length | magic | synced`.
struct batch_head {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::optional<std::uint64_t> synced_through;
};

std::optional<batch_head> parse(std::string_view batch) {
  if (batch.size() < 12) return std::nullopt;
  batch_head head{load_little_u64(bytes(batch, 0)), load_little_u32(bytes(batch, 8)), std::nullopt};
  if (batch.size() >= 14 + wal_marker_size && batch[12] == 3 && batch[13] == char{wal_marker_size} &&
      batch.substr(14, wal_marker_magic.size()) == wal_marker_magic) {
    head.synced_through = load_little_u64(bytes(batch, 14 + wal_marker_magic.size()));
  }
  return head;
}

}  // namespace

boost::system::result<wal_summary, std::string> check_wal(rocksdb::Env& env, const std::string& directory,
                                                          std::uint64_t table_sequence) {
  std::vector<std::string> children;
  if (const auto status = env.GetChildren(directory, &children); !status.ok()) return status.ToString();
  std::erase_if(children, [](const std::string& name) { return !name.ends_with(".log"); });
  // Numbers have at least six digits and no leading zeros beyond that.
  std::ranges::sort(children, [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });

  std::optional<std::uint64_t> next;  // the sequence that the next batch has to begin with
  bool torn = false;
  wal_summary::cut good;  // up to here
  std::string error;
  for (const auto& name : children) {
    std::string log;
    if (const auto status = rocksdb::ReadFileToString(&env, directory + "/" + name, &log); !status.ok()) {
      return status.ToString();
    }
    if (good.log.empty()) good.log = name;
    for_each_batch(log, [&](std::string_view payload, std::size_t end) {
      const auto batch = parse(payload);
      // Recovery itself writes an empty batch to mark where it stopped; it carries nothing that could be
      // lost.
      if (!error.empty() || !batch || batch->count == 0) return;
      // The first log may begin with what the tables have already, but not after it.
      if (!next) next = std::min(batch->first, table_sequence + 1);
      if (batch->first == *next) {
        // Also after damage: an abandoned tail that an earlier recovery cut off, and went on from in a new
        // file.
        next = batch->first + batch->count;
        torn = false;
        good = {name, end};
      } else if (batch->first < *next) {
        error = "the commits in " + name + " go back from " + std::to_string(*next) + " to " +
                std::to_string(batch->first);
      } else if (!batch->synced_through || *batch->synced_through >= *next) {
        error = "acknowledged commits from " + std::to_string(*next) + " on are missing, but later ones in " +
                name + " are there";
      } else {
        torn = true;  // durability::async: written after the hole, but before any sync of what is missing
      }
    });
    if (!error.empty()) return error;
  }
  wal_summary out{std::max(table_sequence, next ? *next - 1 : 0), {}};
  if (torn) out.torn = good;
  return out;
}

}  // namespace dislock::embedded
