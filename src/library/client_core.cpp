#include "library/client_core.hpp"

#include "base/log.hpp"
#include "library/local_backend.hpp"
#include "library/one_shot.hpp"
#include "library/remote/remote_backend.hpp"
#include "library/requests.hpp"
#include "library/store/store_backend.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <mutex>
#include <utility>

namespace dislock::library {
namespace {

constexpr duration last_patience = std::chrono::seconds(1);

error because(errc code, std::string_view lock = {}, std::string detail = {}) {
  error out;
  out.code = code;
  out.lock = lock;
  out.detail = std::move(detail);
  return out;
}

duration margin_of(const client_options& o, duration ttl) {
  return o.stop_margin.value_or(std::min<duration>(ttl / 10, std::chrono::seconds(2)));
}

class acquiring_here final : public acquiring {
 public:
  explicit acquiring_here(core& of) : answered(of) {}
  void finished() override { answered.set(); }
  one_shot answered;
};

class acquiring_elsewhere final : public acquiring {
 public:
  explicit acquiring_elsewhere(core::done<std::vector<lease>> whom) : then(std::move(whom)) {}
  void finished() override {
    const std::unique_ptr<acquiring_elsewhere> mine(this);
    if (why) return then(std::move(*why));
    std::vector<lease> out;
    out.reserve(leases.size());
    for (auto& l : leases) out.push_back(std::move(l));
    then(std::move(out));
  }
  core::done<std::vector<lease>> then;
};

// That all is well is for the log of a service, not for somebody else's program.
void tell_only_what_is_wrong() {
  if (!log::enabled(log::level::debug)) log::configure({.threshold = log::level::warn});
}

}  // namespace

error core::is_closed() {
  return because(errc::engine_unavailable, {}, "the client is closed");
}

// What clients share. Leases know their core too, but do not keep it open.
class client_core::door {
 public:
  explicit door(std::shared_ptr<client_core> to) : core_(std::move(to)) {}
  door(const door&) = delete;
  door& operator=(const door&) = delete;
  ~door() {
    (void)wait_for<void>(*core_, [this](done<void> then) { core_->close(last_patience, std::move(then)); });
  }

 private:
  std::shared_ptr<client_core> core_;
};

client_core::client_core(client_options options)
    : options_(std::move(options)),
      instance_(options_.instance.empty() ? make_instance() : options_.instance),
      time_(options_.time ? static_cast<clock&>(*options_.time) : own_time_),
      strand_(time_, options_.time) {}

client_core::~client_core() {
  strand_.stop();
  reaper_.reset();
  renewer_.reset();
  backend_.reset();
}

result<std::shared_ptr<core>> core::open(std::string_view url, client_options options) {
  static std::once_flag once;
  std::call_once(once, tell_only_what_is_wrong);
  if (auto wrong = wrong_options(options)) return std::move(*wrong);
  const auto where = parse_url(url);
  if (!where) return where.error();
  if (options.time && where->what == engine_url::kind::http)
    return because(errc::invalid_field, {}, "time: a service has a clock of its own");
  if (options.time && where->what == engine_url::kind::store)
    return because(errc::invalid_field, {}, "time: a store has a clock of its own");
  const client_options settings = options;
  return client_core::start(std::move(options), [&](thread_strand& on, clock& time) {
    switch (where->what) {
      case engine_url::kind::embedded:
        return open_embedded_backend(where->path, settings, on, time);
      case engine_url::kind::http:
        return open_remote_backend(where->path, settings, on);
      case engine_url::kind::store:
        return open_store_backend(where->path, settings, on, time);
      default:
        return result<std::unique_ptr<backend>>(open_memory_backend(on));
    }
  });
}

result<std::shared_ptr<core>> client_core::start(client_options options, backend_factory make) {
  // Whoever drops the last reference may be on a thread that the core would have to join.
  std::shared_ptr<client_core> made(new client_core(std::move(options)), [](client_core* c) {
    if (c->backend_ && c->on_own_thread()) {
      c->strand_.end_here([c] { delete c; });
    } else {
      delete c;
    }
  });
  auto opened = make(made->strand_, made->time_);
  if (!opened) return opened.error();
  made->backend_ = std::move(*opened);
  thread_strand::prepare_end();
  made->renewer_ =
      std::make_unique<renewer>(*made->backend_, made->strand_, static_cast<lease_listener&>(*made));
  made->reaper_ = std::make_unique<reaper>(*made->backend_, made->strand_);
  made->reaper_->on_idle([c = made.get()] { c->stop_if_settled(); });
  auto* const inner = made.get();
  return std::shared_ptr<core>(std::make_shared<door>(std::move(made)), inner);
}

void client_core::help() {
  if (strand_.on_own_thread()) return strand_.help();
  backend_->help();
}

void client_core::ring() {
  strand_.ring();
  backend_->ring();
}

void client_core::advance(duration by) {
  if (options_.time) strand_.advance(by);
}

void client_core::inside(unique_function<void(backend*, strand&)> work) {
  strand_.run([&] { work(closed_ ? nullptr : backend_.get(), strand_); });
}

void client_core::sleep(duration how_long, done<void> then) {
  strand_.run([&] {
    completion<void> awake([this, then = std::move(then)](result<void> out) mutable {
      strand_.afterwards([then = std::move(then), out = std::move(out)]() mutable { then(std::move(out)); });
    });
    if (closed_) return awake(is_closed());
    sleepers_.sleep(later(strand_.now(), how_long), std::move(awake));
  });
}

// 90 random bits, which nobody guesses while they are remembered, in 15 characters: as many as a string, and
// whoever remembers it, holds in place.
std::string client_core::new_request() {
  constexpr char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
  const auto random = secrets_.make<lock_id>().bits;
  std::array<char, 15> text;
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = digits[(random[i / 8] >> (6 * (i % 8))) & 63];
  return {text.data(), text.size()};
}

// In this process nobody waits for longer than the engine does.
instant client_core::call_deadline() const noexcept {
  return backend_->remote() ? later(strand_.now(), options_.request_timeout) : never;
}

void client_core::measure(const measurement& m) const {
  if (options_.on_measurement) options_.on_measurement(m);
}

void client_core::measure_afterwards(std::shared_ptr<held_lease> of, const measurement& m) {
  if (!options_.on_measurement) return;
  strand_.afterwards([this, of = std::move(of), m = measurement(m)]() mutable {
    m.lock = of->is.lock;
    measure(m);
  });
}

// --- acquire

void acquiring::stopper::operator()() const {
  with->stop_waiting(*which);
}

std::optional<error> client_core::prepare(acquiring& a, bool multi, bool only_try, acquire_options& options) {
  auto& c = a.call;
  if (auto wrong = wrong_locks({c.locks.data(), c.locks.size()}, multi)) return wrong;
  if (auto wrong = wrong_options(options, only_try)) return wrong;
  c.multi = multi;
  if (options.reenter) {
    if (multi || options.within->lock() != c.locks.front().name)
      return because(errc::invalid_field, c.locks.front().name,
                     "reenter: `within` is a lease of another lock");
    c.reentry = state_of(*options.within)->is.id;
  }
  if (options.within) {
    c.client = options.within->client_id();
  } else if (!options.client_id.empty()) {
    c.client = options.client_id;
  } else {
    char number[24];
    const auto flow = flows_.fetch_add(1, std::memory_order_relaxed) + 1;
    const auto end = std::to_chars(number, number + sizeof number, flow).ptr;
    c.client.reserve(instance_.size() + 1 + static_cast<std::size_t>(end - number));
    c.client.append(instance_).append(1, '/').append(number, end);
  }
  c.ttl = options.ttl.value_or(options_.ttl);
  c.wait = only_try ? duration::zero() : options.wait;
  c.lock_delay = options.lock_delay;
  c.max_hold = options.max_hold;
  c.metadata = std::move(options.metadata);
  a.renews = options.renew;
  a.on_stage = std::move(options.on_stage);
  a.stop = std::move(options.stop);
  return std::nullopt;
}

void client_core::acquire(std::vector<lock_request> locks, bool multi, bool only_try, acquire_options options,
                          done<std::vector<lease>> then) {
  auto made = std::make_unique<acquiring_elsewhere>(std::move(then));
  for (auto& one : locks) made->call.locks.push_back(std::move(one));
  if (auto wrong = prepare(*made, multi, only_try, options)) {
    if (wrong->lock.empty() && !made->call.locks.empty()) wrong->lock = made->call.locks.front().name;
    measure({.what = measurement::kind::failed, .lock = wrong->lock, .code = wrong->code});
    made->why = std::move(wrong);
    return made.release()->finished();
  }
  begin(*made.release());
}

result<lease> client_core::acquire_here(std::string_view lock, bool only_try, acquire_options& options) {
  acquiring_here mine(*this);
  mine.call.locks.push_back({std::string(lock), options.mode, options.limit, options.permits});
  if (auto wrong = prepare(mine, false, only_try, options)) {
    wrong->lock = lock;
    measure({.what = measurement::kind::failed, .lock = lock, .code = wrong->code});
    return std::move(*wrong);
  }
  begin(mine);
  mine.answered.wait();
  if (!mine.why) return std::move(mine.leases.front());
  if (mine.why->lock.empty()) mine.why->lock = lock;
  return std::move(*mine.why);
}

void client_core::begin(acquiring& a) {
  // Before anything else: a token that was triggered already, or is now, is seen when the acquire begins.
  if (a.stop.stop_possible()) a.on_stop.emplace(a.stop, acquiring::stopper{this, &a});
  strand_.run([this, &a] {
    acquires_.push_back(a);
    if (closed_) return refuse(a, is_closed());
    if (a.stopped) return refuse(a, because(errc::request_cancelled));
    if (options_.request_ids || backend_->remote() || !a.call.reentry.empty()) a.call.request = new_request();
    if (!options_.ping_before_acquire) return ask(a);
    backend_->ping([this, &a](result<duration> health) {
      if (!health) return refuse(a, health.error());
      if (closed_) return refuse(a, is_closed());
      if (a.stopped) return refuse(a, because(errc::request_cancelled));
      ask(a);
    });
  });
}

void client_core::ask(acquiring& a) {
  a.asked = a.inside = true;
  a.number = backend_->acquire(
      a.call, [this, &a](result<granted_leases>&& outcome) { decided(a, std::move(outcome)); });
  a.inside = false;
}

void client_core::decided(acquiring& a, result<granted_leases>&& outcome) {
  if (!outcome) {
    auto why = outcome.error();
    if (why.code == errc::outcome_unknown && !a.call.request.empty()) {
      reaper_->cancel(a.call.locks.front().name, a.call.multi, a.call.client, a.call.request, a.call.ttl);
      if (a.stopped) {  // by its own wish, and it will not get the lock
        why.code = errc::request_cancelled;
        why.detail = "what may have been granted is being given back";
      }
    }
    return refuse(a, std::move(why));
  }
  auto& got = outcome->leases;
  if (closed_) {
    for (const auto& g : got) reaper_->release({g.lock, a.call.client, g.id}, {}, g.valid_until);
    return refuse(a, is_closed());
  }
  if (!a.inside) {  // it may have been on the way for long
    const auto now = strand_.now();
    if (std::any_of(got.begin(), got.end(), [&](const auto& g) { return g.valid_until <= now; })) {
      for (const auto& g : got) reaper_->release({g.lock, a.call.client, g.id}, {}, later(now, a.call.ttl));
      auto why =
          because(errc::lock_not_acquired, {}, "the lease was over when it arrived, and was given back");
      why.waited = outcome->waited;
      return refuse(a, std::move(why));
    }
  }
  lease_life::terms terms;
  terms.ttl = a.call.ttl;
  terms.margin = margin_of(options_, terms.ttl);
  terms.max_hold = a.call.max_hold;
  if (a.renews) terms.every = options_.renewal_interval.value_or(terms.ttl / 3);
  for (std::size_t i = 0; i < got.size(); ++i) {
    auto& g = got[i];
    const bool last = i + 1 == got.size();
    held_lease::facts is;
    is.lock = std::move(g.lock);
    is.client = last ? std::move(a.call.client) : a.call.client;
    is.metadata = last ? std::move(a.call.metadata) : a.call.metadata;
    is.id = g.id;
    is.token = g.token;
    is.mode = g.mode;
    is.hold_count = g.hold_count;
    is.waited = outcome->waited;
    if (a.on_stage) is.on_stage = a.on_stage;
    auto made = std::make_shared<held_lease>(weak_from_this(), own_time_, options_.time, std::move(is), terms,
                                             g.valid_until);
    renewer_->add(*made);
    a.leases.push_back(make_lease(std::move(made)));
  }
  end(a);
}

void client_core::refuse(acquiring& a, error why) {
  if (why.lock.empty()) why.lock = a.call.locks.front().name;
  if (closed_ && (why.code == errc::request_cancelled || why.code == errc::outcome_unknown)) {
    auto closed = is_closed();
    closed.lock = std::move(why.lock);
    closed.waited = why.waited;
    why = std::move(closed);
  }
  a.why = std::move(why);
  end(a);
}

void client_core::end(acquiring& a) {
  a.over = true;
  acquires_.erase(acquires_.iterator_to(a));
  strand_.afterwards([this, &a] {
    // Not inside: it waits for a stop request that is just being heard, which wants to enter.
    a.on_stop.reset();
    if (options_.on_measurement) {
      if (a.why) {
        measure({.what = measurement::kind::failed,
                 .lock = a.why->lock,
                 .took = a.why->waited,
                 .code = a.why->code});
      } else {
        for (const auto& l : a.leases)
          measure({.what = measurement::kind::acquired, .lock = l.lock(), .took = l.waited()});
      }
    }
    a.finished();
  });
  if (closed_) stop_if_settled();
}

void client_core::stop_waiting(acquiring& a) {
  strand_.run([this, &a] {
    const bool first = !std::exchange(a.stopped, true);
    if (first && a.asked && !a.over) backend_->abandon(a.number);
  });
}

// --- leases

void client_core::release(std::shared_ptr<held_lease> which, done<void> then) {
  strand_.run([&] {
    auto& l = *which;
    if (l.over.exchange(true, std::memory_order_relaxed)) {
      strand_.afterwards([then = std::move(then)]() mutable { then({}); });
      return;
    }
    l.then = std::move(then);
    release_inside(std::move(which));
  });
}

void client_core::release_inside(std::shared_ptr<held_lease> which) {
  auto& l = *which;
  renewer_->drop(l);
  if (l.life.stage() == lease_stage::lost) {
    auto why = because(errc::lock_not_held, l.is.lock);
    if (l.life.cause() == loss_cause::expired) why.ended = end_reason::expired;
    if (l.life.cause() == loss_cause::max_hold) why.ended = end_reason::max_hold;
    if (l.life.cause() == loss_cause::forced) why.ended = end_reason::forced;
    // Its holder has ended, so nobody has to wait for it to run out.
    if (l.outlived && !closed_) reaper_->release(renewer_->key_of(l), {}, later(strand_.now(), l.life.ttl()));
    return answer_release(std::move(which), std::move(why));
  }
  l.believed_until.pass();  // whatever the answer, its holder has given it up
  ++releases_;
  if (options_.request_ids || backend_->remote()) l.release_request = new_request();
  backend_->release(renewer_->key_of(l), l.release_request, call_deadline(),
                    [this, which = std::move(which)](result<void>&& outcome) mutable {
                      released(std::move(which), std::move(outcome));
                    });
}

void client_core::released(std::shared_ptr<held_lease> which, result<void> outcome) {
  auto& l = *which;
  --releases_;
  if (!outcome) {
    auto why = outcome.error();
    if (why.lock.empty()) why.lock = l.is.lock;
    outcome = std::move(why);
  }
  if (!outcome && outcome.error().code == errc::lock_not_held) {
    l.life.end(cause_of(outcome.error().ended));
  } else {
    if (!outcome && !closed_ &&
        (may_retry(outcome.error().code) || effect_of(outcome.error().code) == effect::unknown))
      reaper_->release(renewer_->key_of(l), l.release_request, later(strand_.now(), l.life.ttl()));
    l.life.given_back();
    if (options_.on_measurement)
      measure_afterwards(which,
                         {.what = measurement::kind::released, .took = strand_.now() - l.life.granted_at()});
  }
  if (l.publish()) stage_changed(l);
  answer_release(std::move(which), std::move(outcome));
  if (closed_) stop_if_settled();
}

// The lease is let go of outside, because its holder's function ends with it.
void client_core::answer_release(std::shared_ptr<held_lease> which, result<void> outcome) {
  if (outcome) {
    strand_.afterwards([which = std::move(which)] {
      if (auto then = std::move(which->then)) then({});
    });
  } else {
    strand_.afterwards([which = std::move(which), outcome = std::move(outcome)]() mutable {
      if (auto then = std::move(which->then)) then(std::move(outcome));
    });
  }
}

void client_core::renew(std::shared_ptr<held_lease> which, std::optional<duration> ttl, done<void> then) {
  strand_.run([&] {
    auto& l = *which;
    std::optional<error> why;
    if (closed_) why = is_closed();
    if (!why) why = wrong_ttl(ttl);
    if (!why && (l.is_over() || l.stage_now() >= lease_stage::lost)) {
      if (!l.is_over()) renewer_->look_at(l);
      why = because(errc::lock_not_held, l.is.lock);
    }
    if (why) {
      strand_.afterwards([then = std::move(then), why = std::move(*why)]() mutable { then(std::move(why)); });
      return;
    }
    const auto for_how_long = ttl.value_or(l.life.ttl());
    renewer_->renew(
        std::move(which), for_how_long, [this, then = std::move(then)](result<void> outcome) mutable {
          strand_.afterwards(
              [then = std::move(then), outcome = std::move(outcome)]() mutable { then(std::move(outcome)); });
        });
  });
}

void client_core::let_go(std::shared_ptr<held_lease> which) {
  strand_.run([&] {
    which->over.store(true, std::memory_order_relaxed);
    renewer_->drop(*which);
  });
}

void client_core::ask_to_stop(std::shared_ptr<held_lease> which, loss_cause why) {
  strand_.run([&] {
    auto& l = *which;
    if (l.is_over() || l.life.stage() >= lease_stage::must_stop) return;
    l.life.stop(why);
    renewer_->changed(l, strand_.now());
  });
}

void client_core::renew(const lease_ticket& which, std::optional<duration> ttl, done<duration> then) {
  const auto id = lock_id::parse(which.lock_id);
  if (auto wrong = id ? wrong_lock_name(which.lock)
                      : because(errc::invalid_field, which.lock, "lock_id: 32 hex digits"))
    return then(std::move(*wrong));
  if (auto wrong = wrong_ttl(ttl)) return then(std::move(*wrong));
  std::vector<lease_key> keys{{which.lock, which.client_id, *id}};
  const auto for_how_long = ttl.value_or(which.ttl > duration::zero() ? which.ttl : options_.ttl);
  query<duration>(
      [this, keys = std::move(keys), for_how_long](backend& where, completion<duration> answer) mutable {
        where.renew(
            std::move(keys), {for_how_long},
            [this, answer = std::move(answer)](result<std::vector<result<renewed_lease>>> out) mutable {
              if (!out) return answer(out.error());
              const auto& one = out->front();
              if (!one) return answer(one.error());
              answer(std::max(duration::zero(), one->valid_until - strand_.now()));
            });
      },
      std::move(then));
}

void client_core::release(const lease_ticket& which, done<void> then) {
  const auto id = lock_id::parse(which.lock_id);
  if (auto wrong = id ? wrong_lock_name(which.lock)
                      : because(errc::invalid_field, which.lock, "lock_id: 32 hex digits"))
    return then(std::move(*wrong));
  query<void>(
      [this, key = lease_key{which.lock, {}, *id}](backend& where, completion<void> answer) {
        const auto request = options_.request_ids || where.remote() ? new_request() : std::string();
        where.release(key, request, call_deadline(), std::move(answer));
      },
      std::move(then));
}

void client_core::force_release(std::string_view lock, std::optional<fencing_token> token,
                                std::string_view reason, done<std::vector<fencing_token>> then) {
  if (auto wrong = wrong_reason(reason)) return then(std::move(*wrong));
  query<std::vector<fencing_token>>(
      [this, lock = std::string(lock), token, reason = std::string(reason)](
          backend& where, completion<std::vector<fencing_token>> answer) mutable {
        auto request = options_.request_ids || where.remote() ? new_request() : std::string();
        where.force_release(std::move(lock), token, std::move(reason), std::move(request), std::move(answer));
      },
      std::move(then));
}

void client_core::stage_changed(held_lease& of) {
  const auto at = of.life.stage();
  if (at == lease_stage::released && !of.is.on_stage) return;
  auto which = of.shared_from_this();
  if (at == lease_stage::must_stop || at == lease_stage::lost)
    strand_.afterwards([which] { which->request_stop(); });
  if (at == lease_stage::lost)
    measure_afterwards(which,
                       {.what = measurement::kind::lost,
                        .took = options_.on_measurement ? strand_.now() - of.life.granted_at() : duration{},
                        .cause = of.life.cause()});
  if (!of.is.on_stage) return;
  // All on the own thread, so that they come in order.
  strand_.post([this, which = std::move(which), at, why = of.life.cause()]() mutable {
    strand_.afterwards([which = std::move(which), at, why] { which->is.on_stage(at, why); });
  });
}

void client_core::renewal_ended(held_lease& of, duration took, bool succeeded) {
  if (options_.on_measurement)
    measure_afterwards(
        of.shared_from_this(),
        {.what = succeeded ? measurement::kind::renewed : measurement::kind::renewal_failed, .took = took});
}

// --- the end

void client_core::close(duration patience, done<void> then) {
  strand_.run([&] { close_inside(patience, std::move(then)); });
}

void client_core::close_inside(duration patience, done<void> then) {
  if (stopped_) {
    strand_.afterwards([then = std::move(then)]() mutable { then({}); });
    return;
  }
  closing_.push_back(std::move(then));
  if (std::exchange(closed_, true)) return;
  ++releases_;  // nothing is settled before all of this has been done
  sleepers_.wake_all(is_closed());
  for (;;) {  // from the front each time: one that leaves a queue can end others too
    const auto next = std::find_if(acquires_.begin(), acquires_.end(),
                                   [](const acquiring& a) { return a.asked && !a.stopped; });
    if (next == acquires_.end()) break;
    next->stopped = true;
    backend_->abandon(next->number);
  }
  while (auto* l = renewer_->any()) {  // which drops it
    l->life.end(loss_cause::closed);
    renewer_->changed(*l, strand_.now());
    reaper_->release(renewer_->key_of(*l),
                     options_.request_ids || backend_->remote() ? new_request() : std::string(),
                     later(strand_.now(), l->life.ttl()));
  }
  --releases_;
  stop_if_settled();
  if (stopping_) return;
  if (options_.time) return stop_backend();  // time would not pass
  strand_.wake_at(strand::alarm::closing, later(strand_.now(), patience), [this] { stop_backend(); });
}

void client_core::stop_if_settled() {
  if (closed_ && releases_ == 0 && acquires_.empty() && reaper_->idle()) stop_backend();
}

void client_core::stop_backend() {
  if (std::exchange(stopping_, true)) return;
  reaper_->stop();
  backend_->stop([this] {
    stopped_ = true;
    for (auto& each : std::exchange(closing_, {}))
      strand_.afterwards([then = std::move(each)]() mutable { then({}); });
  });
}

}  // namespace dislock::library
