#pragma once

#include "base/secrets.hpp"
#include "library/core.hpp"
#include "library/held_lease.hpp"
#include "library/reaper.hpp"
#include "library/renewer.hpp"
#include "library/sleepers.hpp"
#include "library/thread_strand.hpp"

#include <boost/intrusive/list.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace dislock::library {

class client_core;

/// One acquire, from the call to the moment in which the caller is told.
class acquiring : public boost::intrusive::list_base_hook<> {
 public:
  virtual ~acquiring() = default;
  /// Outside of the strand, last: this may be gone afterwards.
  virtual void finished() = 0;

  // What the caller asked for.
  acquire_call call;
  bool renews = true;
  std::function<void(lease_stage, loss_cause)> on_stage;
  std::stop_token stop;

  // The strand's.
  call_number number{};
  bool asked = false;   // the backend
  bool inside = false;  // the backend is being asked right now
  bool over = false;
  bool stopped = false;  // by the caller's token

  // What it came to.
  boost::container::small_vector<lease, 1> leases;
  std::optional<error> why;

  struct stopper {
    client_core* with;
    acquiring* which;
    void operator()() const;
  };
  std::optional<std::stop_callback<stopper>> on_stop;
};

/// The client over one backend, on a strand of its own.
///
/// It ends in this order: it refuses new calls; sends those who wait away; tells the holders of leases that
/// they are lost, and gives them back; waits for what is still unsettled, within its patience; stops the
/// backend.
class client_core final : public core, private lease_listener {
 public:
  using backend_factory = unique_function<result<std::unique_ptr<backend>>(thread_strand& on, clock& time)>;

  /// `options` are checked already. The core closes itself, with 1 s, when the last copy of what this returns
  /// ends.
  [[nodiscard]] static result<std::shared_ptr<core>> start(client_options options, backend_factory make);
  ~client_core() override;

  void acquire(std::vector<lock_request> locks, bool multi, bool only_try, acquire_options options,
               done<std::vector<lease>> then) override;
  result<lease> acquire_here(std::string_view lock, bool only_try, acquire_options& options) override;
  void release(std::shared_ptr<held_lease> which, done<void> then) override;
  void renew(std::shared_ptr<held_lease> which, std::optional<duration> ttl, done<void> then) override;
  void let_go(std::shared_ptr<held_lease> which) override;
  void ask_to_stop(std::shared_ptr<held_lease> which, loss_cause why) override;
  void renew(const lease_ticket& which, std::optional<duration> ttl, done<duration> then) override;
  void release(const lease_ticket& which, done<void> then) override;
  void force_release(std::string_view lock, std::optional<fencing_token> token, std::string_view reason,
                     done<std::vector<fencing_token>> then) override;
  instant now() const noexcept override { return strand_.now(); }
  void sleep(duration how_long, done<void> then) override;
  void inside(unique_function<void(backend*, strand&)> work) override;
  void close(duration patience, done<void> then) override;
  void advance(duration by) override;
  bool on_own_thread() const noexcept override {
    return strand_.on_own_thread() || backend_->on_own_thread();
  }
  void help() override;
  void ring() override;

 private:
  friend class acquiring;  // its stopper
  class door;

  explicit client_core(client_options options);

  [[nodiscard]] std::optional<error> prepare(acquiring& a, bool multi, bool only_try,
                                             acquire_options& options);
  void begin(acquiring& a);
  void ask(acquiring& a);
  void decided(acquiring& a, result<granted_leases>&& outcome);
  void refuse(acquiring& a, error why);
  void end(acquiring& a);
  void stop_waiting(acquiring& a);
  void release_inside(std::shared_ptr<held_lease> which);
  void released(std::shared_ptr<held_lease> which, result<void> outcome);
  void answer_release(std::shared_ptr<held_lease> which, result<void> outcome);
  void close_inside(duration patience, done<void> then);
  void stop_if_settled();
  void stop_backend();
  [[nodiscard]] std::string new_request();
  [[nodiscard]] instant call_deadline() const noexcept;
  void measure(const measurement& m) const;
  void measure_afterwards(std::shared_ptr<held_lease> of, const measurement& m);

  void stage_changed(held_lease& of) override;
  void renewal_ended(held_lease& of, duration took, bool succeeded) override;

  const client_options options_;
  const std::string instance_;
  boottime_clock own_time_;
  clock& time_;
  thread_strand strand_;
  std::unique_ptr<backend> backend_;  // after the strand, which it lives on
  std::unique_ptr<renewer> renewer_;
  std::unique_ptr<reaper> reaper_;
  std::atomic<std::uint64_t> flows_{0};

  // The strand's.
  sleepers sleepers_{strand_};
  system_secrets secrets_;
  boost::intrusive::list<acquiring> acquires_;  // that are not over
  std::size_t releases_ = 0;                    // under way
  bool closed_ = false, stopping_ = false, stopped_ = false;
  std::vector<done<void>> closing_;
};

}  // namespace dislock::library
