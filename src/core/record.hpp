// The table's records as bytes: what a journal keeps and recovery reads. docs/spec/durability.md is the
// format.
#pragma once

#include "core/decision.hpp"
#include "core/entities.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::core {

/// First byte of a key.
enum class record_kind : char {
  table = 'T',
  session = 'S',
  lease = 'L',
  over = 'O',
  waiter = 'W',
  memo = 'M',
  lock_delay = 'D'
};

/// Appends the fields of one record. Integers are LEB128, signed ones zigzag; strings carry their length.
class record_writer {
 public:
  explicit record_writer(std::string& out) noexcept : out_(out) {}

  void number(std::uint64_t v) {
    while (v >= 0x80) {
      out_ += static_cast<char>(v | 0x80);
      v >>= 7;
    }
    out_ += static_cast<char>(v);
  }
  void signed_number(std::int64_t v) {
    number((static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63));
  }
  void time(instant t) { signed_number(microseconds_since_1970(t)); }
  void span(duration d) { signed_number(d.count()); }
  void string(std::string_view s) {
    number(s.size());
    out_ += s;
  }
  template <class Tag>
  void bits(const secret<Tag>& s) {
    for (auto word : s.bits)
      for (int i = 0; i < 8; ++i) out_ += static_cast<char>(word >> (8 * i));
  }

 private:
  std::string& out_;
};

/// Reads what `record_writer` wrote. After anything impossible every read gives a zero and `good()` is false:
/// a damaged record is noticed once, at its end.
class record_reader {
 public:
  explicit record_reader(std::string_view bytes) noexcept : left_(bytes) {}

  [[nodiscard]] std::uint64_t number() noexcept {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left_.empty()) break;
      const auto byte = static_cast<unsigned char>(left_.front());
      left_.remove_prefix(1);
      if (shift == 63 && byte > 1) break;
      v |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return v;
    }
    return fail(), 0;
  }
  [[nodiscard]] std::int64_t signed_number() noexcept {
    const auto v = number();
    return static_cast<std::int64_t>(v >> 1) ^ -static_cast<std::int64_t>(v & 1);
  }
  /// A number that has to be at most `most`.
  template <class T>
  [[nodiscard]] T upto(T most) noexcept {
    const auto v = number();
    if (v > static_cast<std::uint64_t>(most)) return fail(), T{};
    return static_cast<T>(v);
  }
  /// Not before 1970.
  [[nodiscard]] instant time() noexcept { return from_microseconds(not_negative()); }
  [[nodiscard]] duration span() noexcept { return duration(not_negative()); }
  [[nodiscard]] std::string_view string(std::size_t most = 65'535) noexcept {
    const auto size = number();
    if (size > most || size > left_.size()) return fail(), std::string_view{};
    const auto out = left_.substr(0, size);
    left_.remove_prefix(size);
    return out;
  }
  template <class Secret>
  [[nodiscard]] Secret bits() noexcept {
    Secret out;
    if (left_.size() < 16) return fail(), out;
    for (auto& word : out.bits) {
      for (int i = 0; i < 8; ++i)
        word |= std::uint64_t{static_cast<unsigned char>(left_[static_cast<std::size_t>(i)])} << (8 * i);
      left_.remove_prefix(8);
    }
    return out;
  }

  /// For what only the caller can see to be impossible.
  void refuse() noexcept { fail(); }
  /// Everything was there, and nothing is left over.
  [[nodiscard]] bool good() const noexcept { return !failed_ && left_.empty(); }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  std::int64_t not_negative() noexcept {
    const auto v = signed_number();
    if (v < 0) return fail(), 0;
    return v;
  }
  void fail() noexcept {
    failed_ = true;
    left_ = {};
  }

  std::string_view left_;
  bool failed_ = false;
};

[[nodiscard]] inline std::string record_key(record_kind kind, std::uint64_t number) {
  std::string key(9, static_cast<char>(kind));
  for (int i = 0; i < 8; ++i)
    key[static_cast<std::size_t>(1 + i)] = static_cast<char>(number >> (56 - 8 * i));
  return key;
}
/// Of what is over: in the order in which it is forgotten.
[[nodiscard]] inline std::string over_key(instant forgotten, std::uint64_t number) {
  auto key = record_key(record_kind::over, static_cast<std::uint64_t>(microseconds_since_1970(forgotten)));
  key += record_key(record_kind::over, number).substr(1);
  return key;
}
[[nodiscard]] inline std::string record_key(record_kind kind, std::string_view name) {
  return std::string(1, static_cast<char>(kind)).append(name);
}

/// No clock and no token of ours is beyond this (the year 2112): a record that is would use up what is left
/// of the tokens.
constexpr std::uint64_t latest_plausible = fencing_token_limit / 2;
/// Numbers of tickets, sessions and memos; they are counted up one by one.
constexpr std::uint64_t highest_number = std::uint64_t{1} << 62;

struct table_record {
  instant written{};  ///< when the table was last known to be alive
  std::uint64_t last_token = 0;
  std::uint64_t last_number = 0;  ///< of tickets, sessions and memos
  /// What was to be forgotten after `kept_from` is remembered until `kept_until`: a restart gives it more
  /// time.
  instant kept_from{}, kept_until{};
};

struct session_record {
  std::uint64_t public_id = 0;
  session_id id;
  std::string client;
  instant end{};
  duration ttl{};
  std::uint32_t moved_ms = 0;
};

/// What a lease's record remembers of its grant.
struct grant_record {
  std::uint64_t fingerprint = 0;
  bool table_wide = false;
  std::string request;
  instant since{};
};

struct lease_record {
  std::string lock, client, metadata;
  fencing_token token{};
  lock_id id;
  renewal_token renewal;
  lock_mode mode{};
  bool auto_renew = false, provisional = false, group = false;
  std::uint32_t limit = 0, permits = 1, hold_count = 1, lock_delay_ms = 0, moved_ms = 0;
  std::uint64_t session = 0;  ///< public id; 0 = none
  instant acquired_at{}, end{}, hold_limit{};
  duration ttl{};
  std::optional<grant_record> grant;
};

struct want_record {
  std::string lock;
  lock_mode mode{};
  std::uint32_t limit = 0, permits = 1;
};

/// A waiter that may come back: it has a request id.
struct waiter_record {
  std::uint64_t arrival = 0, memo = 0, fingerprint = 0, session = 0;
  std::string client, request, metadata;
  bool multi = false, auto_renew = false;
  std::vector<want_record> wants;
  instant since{}, deadline{};
  duration ttl{}, lock_delay{};
  std::optional<duration> max_hold;
};

struct slot_record {
  fencing_token token{};
  end_reason how = end_reason::none;  ///< none: the lease lives, and has a record
};

enum class memo_kind : std::uint8_t {
  cancelled,
  lease,
  leases,
  reentered,
  released,
  refused,
  releases,
  renewals,
  forced,
  session_opened,
  session_kept,
  session_closed,
};

struct outcome_record {
  std::uint64_t value = 0;  ///< hold count, token, or count; by kind
  bool flag = false;        ///< released: the lease ended
  refusal_ptr refused;
};

struct memo_record {
  std::uint64_t number = 0, fingerprint = 0;
  bool table_wide = false;
  bool in_lease = false;  ///< the grant of the lease with this number, or the release that ended it
  bool over = false;      ///< it was to be forgotten, at `forgotten`
  instant forgotten{};
  std::string lock, client, request;
  instant since{};
  memo_kind kind{};
  std::vector<slot_record> slots;        ///< lease, leases, reentered
  std::vector<outcome_record> outcomes;  ///< the other kinds, one per lock
  session_opened session;                ///< session_opened, session_kept
};

/// Records as a journal gave them back, until all are there and can be put together.
struct loaded_records {
  std::optional<table_record> table;
  std::vector<session_record> sessions;
  std::vector<lease_record> leases;
  std::vector<waiter_record> waiters;
  std::vector<memo_record> memos;
  std::vector<std::pair<std::string, instant>> delays;
};

void append(std::string& out, const table_record& r);
void append(std::string& out, const session& s);
void append(std::string& out, const lease& l);
void append(std::string& out, const waiter& w);
void append(std::string& out, const memo& m);
/// A memo of something that is over; of a lease's grant with that of the release, if there is one.
void append_over(std::string& out, const memo& m);

/// Nothing for bytes that no writer of this format wrote.
[[nodiscard]] std::optional<table_record> parse_table_record(std::string_view bytes);
[[nodiscard]] std::optional<session_record> parse_session_record(std::string_view bytes);
[[nodiscard]] std::optional<lease_record> parse_lease_record(std::string_view bytes);
[[nodiscard]] std::optional<waiter_record> parse_waiter_record(std::string_view bytes);
[[nodiscard]] std::optional<memo_record> parse_memo_record(std::string_view bytes);
[[nodiscard]] std::optional<std::vector<memo_record>> parse_over_record(std::string_view bytes);
[[nodiscard]] std::optional<instant> parse_lock_delay_record(std::string_view bytes);
void append_lock_delay(std::string& out, instant until);

}  // namespace dislock::core
