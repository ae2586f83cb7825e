#include "engine/event_log.hpp"

#include <algorithm>

namespace dislock {
namespace {

// Into the capacity of the event that was here before: no allocation in the long run. Not `assign`, which
// expects to be given a part of itself, and costs three times as much.
void write(std::string& into, std::string_view what) {
  into.resize(what.size());
  what.copy(into.data(), what.size());
}

}  // namespace

void event_log::append(const event& e) {
  append(e, std::max(last_id_ + 1, static_cast<std::uint64_t>(microseconds_since_1970(e.at))));
}

void event_log::append(const event& e, std::uint64_t id) {
  auto& slot = ring_[appended_ % ring_.size()];
  last_id_ = id;
  slot.id = last_id_;
  slot.type = e.type;
  slot.at = e.at;
  write(slot.lock, e.lock);
  write(slot.client, e.client);
  write(slot.reason, e.reason);
  slot.token = e.token;
  slot.mode = e.mode;
  slot.took = e.took;
  ++appended_;
}

void event_log::publish(std::uint64_t upto) {
  if (upto <= published_) return;
  published_ = upto;
  if (listener_) listener_();
}

bool event_log::reaches(std::uint64_t id) const noexcept {
  if (id == 0) return appended_ <= ring_.size();  // the very beginning
  const auto first = first_visible();
  // The reader must have seen an event that is still here: ids are not consecutive, so that of any other one
  // does not tell whether something was lost in between.
  // An id above the newest was never given out: whoever waited after it would not hear of what comes before.
  return first < published_ && id >= ring_[first % ring_.size()].id && id <= newest();
}

}  // namespace dislock
