// What the scripts answer, as values (see lua/decide.lua).
#pragma once

#include "core/decision.hpp"
#include "core/wait_for_graph.hpp"
#include "engines/redis/wire/reply.hpp"

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dislock::redis {

/// Between the store's time and ours, as one answer saw it: what the store said happened no earlier than the
/// question was sent, so that no end is told later than it is.
struct time_relation {
  instant sent;      ///< on our clock
  std::int64_t now;  ///< on the store's, in microseconds
  [[nodiscard]] instant ours(std::int64_t at) const noexcept;
  /// The instant that `ours` made.
  [[nodiscard]] std::int64_t theirs(instant at) const noexcept {
    return at == never ? std::numeric_limits<std::int64_t>::max() : now + duration(at - sent).count();
  }
};

/// Something that happened, as a script tells it.
struct told_event {
  event_type type{};
  std::string lock, client, reason;
  std::optional<fencing_token> token;
  std::optional<lock_mode> mode;
  duration took{};
};

/// Events as the entries of the stream hold them (lua/events.lua), with the store's time.
void write_event(std::string& out, const told_event& e, std::int64_t at);
void read_events(const reply& entry, const std::function<void(const told_event&, std::int64_t at)>& visit);
[[nodiscard]] std::uint64_t number_at_start(std::string_view text) noexcept;

/// What lua/crowded.lua answers in one text, as the rules would have said it; all else as it is.
[[nodiscard]] reply unfolded(reply&& got);

/// An outcome for a waiter of this replica.
struct told_waiter {
  ticket id{};
  std::uint32_t epoch = 0;
  const reply* outcome = nullptr;
};

/// When somebody should look at a lock again.
struct told_look {
  std::string_view lock;
  instant at;
};

/// One answer of a script. Refers to the reply that it was read from.
class step {
 public:
  /// Nothing for a reply of another form.
  [[nodiscard]] static std::optional<step> read(const reply& got, instant sent);

  [[nodiscard]] const time_relation& time() const noexcept { return time_; }
  /// The first word of the answer: granted, queued, refused, shut, done, graph.
  [[nodiscard]] std::string_view verdict() const noexcept { return out_->at(0).text; }
  [[nodiscard]] const reply& out() const noexcept { return *out_; }
  [[nodiscard]] std::vector<told_event> events() const;
  [[nodiscard]] std::vector<told_waiter> waiters() const;
  [[nodiscard]] std::vector<told_look> looks() const;
  /// When something ends of the locks that have changed.
  [[nodiscard]] instant soonest() const noexcept;
  /// A waiter could not be served because tokens have reached their ceiling.
  [[nodiscard]] bool at_ceiling() const noexcept { return shut_->text == "ceiling"; }

 private:
  time_relation time_{};
  const reply* out_ = nullptr;
  const reply* events_ = nullptr;
  const reply* waiters_ = nullptr;
  const reply* looks_ = nullptr;
  const reply* shut_ = nullptr;
  const reply* soonest_ = nullptr;
};

[[nodiscard]] granted read_granted(const reply& out, const time_relation& time);
[[nodiscard]] refusal_ptr read_refusal(const reply& out, const time_relation& time);
[[nodiscard]] queued read_queued(const reply& out, const time_relation& time);
[[nodiscard]] lock_view read_view(const reply& row, const time_relation& time);
[[nodiscard]] std::vector<holder_view> read_holders(const reply& rows, const time_relation& time);
[[nodiscard]] errc read_code(const reply& r);
[[nodiscard]] std::optional<end_reason> read_end(const reply& r);

struct told_graph {
  std::string digest;
  std::vector<std::string> clients;
  std::vector<std::string> locks;
  core::wait_for_graph graph;
};
[[nodiscard]] told_graph read_graph(const reply& out);

}  // namespace dislock::redis
