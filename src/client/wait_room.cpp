#include "client/wait_room.hpp"

#include <utility>

namespace dislock {

wait_room::wait_room(engine& from, loop& slice_clock, duration slice)
    : engine_(from), loop_(slice_clock), slice_(slice) {
  loop_.on_wake([this] { end_slices(); });
}

void wait_room::wait(const queued& place, completion<outcome> done) {
  auto& here = calls_[static_cast<std::uint64_t>(place.id)];
  here.epoch = place.epoch;
  here.done = std::move(done);
  slices_.push_back({later(loop_.now(), slice_), place.id, place.epoch, place.grace});
  loop_.wake_at(slices_.front().at);
}

void wait_room::leave(ticket id, std::uint32_t epoch) {
  const auto it = calls_.find(static_cast<std::uint64_t>(id));
  if (it == calls_.end() || it->second.epoch != epoch) return;
  calls_.erase(it);
  engine_.detach(id, epoch);
}

void wait_room::resolved(ticket id, std::uint32_t epoch, acquire_answer&& decision) {
  const auto it = calls_.find(static_cast<std::uint64_t>(id));
  if (it == calls_.end() || it->second.epoch != epoch) {
    // Granted to a caller who left while the decision was on its way.
    if (const auto* won = std::get_if<granted>(&decision)) engine_.undelivered(*won);
    return;
  }
  auto done = std::move(it->second.done);
  calls_.erase(it);
  if (auto* won = std::get_if<granted>(&decision)) return done(std::move(*won));
  done(std::get<refusal_ptr>(std::move(decision)));
}

void wait_room::end_slices() {
  while (!slices_.empty() && slices_.front().at <= loop_.now()) {
    const auto over = slices_.front();
    slices_.pop_front();
    const auto it = calls_.find(static_cast<std::uint64_t>(over.id));
    if (it == calls_.end() || it->second.epoch != over.epoch) continue;
    // The place is looked up while it is still ours; the answer may come later, and by then it may be
    // granted.
    engine_.places(over.id, [this, over](answer<std::optional<std::vector<place>>> found) {
      const auto still = calls_.find(static_cast<std::uint64_t>(over.id));
      if (still == calls_.end() || still->second.epoch != over.epoch) return;
      if (found && !*found) return;  // decided: the decision is on its way
      if (found && !over.grace) {  // it waits in one piece, for as long as there is an engine that may decide
        slices_.push_back({later(loop_.now(), slice_), over.id, over.epoch, over.grace});
        loop_.wake_at(slices_.front().at);
        return;
      }
      auto done = std::move(still->second.done);
      calls_.erase(still);
      engine_.detach(over.id, over.epoch);
      if (!found) return done(found.error_ptr());  // nothing will ever be decided, or nobody knows what was
      done(still_queued{**found});
    });
  }
  if (!slices_.empty()) loop_.wake_at(slices_.front().at);
}

void wait_room::send_all_away(errc why) {
  for (auto& [id, one] : std::exchange(calls_, {})) {
    engine_.detach(ticket{id}, one.epoch);
    one.done(refuse(why));
  }
}

}  // namespace dislock
