#pragma once

#include "core/deadline_queue.hpp"
#include "library/backend.hpp"
#include "library/held_lease.hpp"
#include "library/strand.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace dislock::library {

/// What an end that the engine reports means for the holder.
[[nodiscard]] loss_cause cause_of(end_reason how) noexcept;

/// Told, in the strand, of what becomes of leases.
class lease_listener {
 public:
  virtual ~lease_listener() = default;
  virtual void stage_changed(held_lease& of) = 0;
  virtual void renewal_ended(held_lease& of, duration took, bool succeeded) = 0;
};

/// Looks at every lease of a client when it is time to: to renew it, or to tell its holder how far it is on
/// its way out. What is due together is renewed together, up to 32 in one call; leases with the same ttl come
/// due in the order in which they were added, so adding and taking out cost the same however many there are.
///
/// One strand. Does not own leases: whoever gives one up drops it first.
class renewer {
 public:
  renewer(backend& of, strand& on, lease_listener& told) : backend_(of), strand_(on), told_(told) {}
  renewer(const renewer&) = delete;
  renewer& operator=(const renewer&) = delete;

  void add(held_lease& l);
  void drop(held_lease& l) noexcept { due_.cancel(l); }
  /// By the holder's wish, once.
  void renew(std::shared_ptr<held_lease> l, duration ttl, completion<void> done);
  /// Publishes what `l.life` has come to, tells of a new stage, and knows when to look again.
  void changed(held_lease& l, instant now);
  /// Before its time: it may have come to its end while nobody of ours ran.
  void look_at(held_lease& l) { changed(l, strand_.now()); }
  /// The next lease that is looked after; null: there is none.
  [[nodiscard]] held_lease* any() noexcept;
  [[nodiscard]] lease_key key_of(const held_lease& l) const;

 private:
  static constexpr std::size_t batch = 32;

  void look();
  void arm();
  void send(std::vector<std::shared_ptr<held_lease>> leases, instant now);
  void answered(held_lease& l, const result<renewed_lease>& answer, instant now, bool ours);

  backend& backend_;
  strand& strand_;
  lease_listener& told_;
  dislock::core::deadline_queue due_;
  instant armed_for_ = never;
};

}  // namespace dislock::library
