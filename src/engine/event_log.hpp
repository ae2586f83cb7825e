// The last things that happened, for those who watch.
#pragma once

#include "base/unique_function.hpp"
#include "core/decision.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace dislock {

/// An event as the log keeps it.
struct logged_event {
  std::uint64_t id = 0;
  event_type type{};
  instant at{};
  std::string lock, client, reason;
  std::optional<fencing_token> token;
  std::optional<lock_mode> mode;
  duration took{};
};

/// A bounded log of events. Ids rise for ever, also over a restart (they start at the time), so that a reader
/// who comes back with an id that the log no longer reaches is told so instead of missing something.
///
/// An event is appended when it is decided and becomes visible when the decision is durable.
/// One strand. Invariant: the visible events have consecutive places and rising ids.
class event_log {
 public:
  explicit event_log(std::size_t capacity) : ring_(capacity) {}

  void append(const event& e);
  /// With an id that its store gave it. REQUIRES: larger than all before.
  void append(const event& e, std::uint64_t id);
  /// Gives out no id up to this one. Before the first event, where the last ones before a restart may have
  /// run ahead of the time.
  void start_after(std::uint64_t id) noexcept { last_id_ = std::max(last_id_, id); }
  /// Events up to this count are decided; pass it to `publish` once they are durable.
  [[nodiscard]] std::uint64_t appended() const noexcept { return appended_; }
  void publish(std::uint64_t upto);

  /// Calls `visit` for the visible events after `id`, oldest first, until it returns false.
  /// False if the log no longer (or never) reaches back to `id`: then nothing was visited.
  template <class Visit>
  [[nodiscard]] bool after(std::uint64_t id, Visit visit) const {
    auto at = first_visible();
    if (!reaches(id)) return false;
    for (; at < published_; ++at) {
      const auto& e = ring_[at % ring_.size()];
      if (e.id > id && !visit(e)) break;
    }
    return true;
  }
  /// The id of the newest visible event; 0 if there is none.
  [[nodiscard]] std::uint64_t newest() const noexcept {
    return published_ == 0 ? 0 : ring_[(published_ - 1) % ring_.size()].id;
  }

  /// Called when more events have become visible. One listener.
  void on_published(unique_function<void()> listener) { listener_ = std::move(listener); }

 private:
  // Places that are being written over are gone, even though what replaces them is not visible yet.
  [[nodiscard]] std::uint64_t first_visible() const noexcept {
    return appended_ > ring_.size() ? appended_ - ring_.size() : 0;
  }
  [[nodiscard]] bool reaches(std::uint64_t id) const noexcept;

  std::vector<logged_event> ring_;
  std::uint64_t appended_ = 0;   // how many events ever
  std::uint64_t published_ = 0;  // how many of them are visible
  std::uint64_t last_id_ = 0;
  unique_function<void()> listener_;
};

}  // namespace dislock
