#include "library/store/store_backend.hpp"

#include "base/assert.hpp"
#include "library/local_backend.hpp"
#include "library/store/open_engine.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <future>
#include <pthread.h>
#include <thread>
#include <utility>
#include <vector>

namespace dislock::library {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

// How often somebody who connects looks whether the store is there.
constexpr duration look_again = milliseconds(2);
// A timer counts on a clock that stops in suspend, so it is never set for longer than this.
constexpr duration longest_sleep = std::chrono::seconds(1);
// How long a release whose outcome is not known rests before it is tried again: the store may not be there,
// and then the answer comes at once.
constexpr duration rest = milliseconds(20);
// How often something is looked up whose answer was lost on the way.
constexpr int most_look_ups = 3;
// Who asks what is answered without the store is told at once, and may ask again: the store has its turns,
// too.
constexpr int most_in_a_turn = 64;

/// Something to be done on the engine's thread, and then to be told in the strand.
class errand {
 public:
  virtual ~errand() = default;
  /// On the engine's thread. `carrier::over` follows, now or later.
  virtual void go(backend& to) = 0;
  /// In the strand, last.
  virtual void deliver() = 0;

  errand* next = nullptr;
};

/// Brings errands from the strand to the engine's thread, and back.
///
/// Errands go in the order in which they were handed over, and one wake-up of the thread carries all that
/// have come meanwhile. They never go from inside of the strand, and none is delivered from inside of the
/// engine.
class carrier {
 public:
  explicit carrier(strand& on) : strand_(on) {}
  ~carrier() {
    for (auto* one = coming_.load(); one;) delete std::exchange(one, one->next);
    for (auto* one = over_; one;) delete std::exchange(one, one->next);
  }

  /// To whom they go. Before the thread runs.
  void serve(backend& to) { to_ = &to; }
  /// In the strand.
  void hand_over(std::unique_ptr<errand> one) {
    auto* const it = one.release();
    auto* first = coming_.load(std::memory_order_relaxed);
    do it->next = first;
    while (!coming_.compare_exchange_weak(first, it, std::memory_order_release, std::memory_order_relaxed));
    if (!first) asio::post(io, [this] { go(); });
  }
  /// It can be delivered. On the engine's thread.
  void over(errand& one) {
    one.next = nullptr;
    (last_over_ ? last_over_->next : over_) = &one;
    last_over_ = &one;
    deliver_soon();
  }
  /// Does one thing that is due on this thread, or waits for one. For those who were told something here, and
  /// wait for something else before they come back.
  void help() {
    if (over_) return deliver_one();
    io.run_one();
  }

  // Not one of the hints for a single thread: with those, what a handler posts waits until it returns, and it
  // would not be found by whoever waits inside of one (`help`).
  asio::io_context io;

 private:
  void go() {
    if (!coming_.load(std::memory_order_relaxed)) return;
    errand* in_order = nullptr;
    for (auto* one = coming_.exchange(nullptr, std::memory_order_acquire); one;) {
      auto* const older = std::exchange(one->next, in_order);
      in_order = std::exchange(one, older);
    }
    while (in_order) std::exchange(in_order, in_order->next)->go(*to_);
  }
  void deliver() {
    delivery_posted_ = false;
    for (int left = most_in_a_turn; over_ && left > 0; --left) {
      deliver_one();
      go();  // what he asks for goes before the next one is told
    }
    if (over_) deliver_soon();
  }
  void deliver_soon() {
    if (std::exchange(delivery_posted_, true)) return;
    asio::post(io, [this] { deliver(); });
  }
  // Each by itself: whoever is told goes on on this thread when the strand is left, and what he waits for may
  // be the next.
  void deliver_one() {
    const std::unique_ptr<errand> one(std::exchange(over_, over_->next));
    if (!over_) last_over_ = nullptr;
    strand_.run([&] { one->deliver(); });
  }

  strand& strand_;
  backend* to_ = nullptr;
  std::atomic<errand*> coming_{nullptr};  // the newest first
  errand* over_ = nullptr;                // the oldest first
  errand* last_over_ = nullptr;
  bool delivery_posted_ = false;
};

// On the engine's thread.
class thread_home final : public backend_home {
 public:
  thread_home(asio::io_context& io, const clock& time) : io_(io), time_(time), timer_(io) {}

  instant now() const noexcept override { return time_.now(); }
  void defer(unique_function<void()> work) override { asio::post(io_, std::move(work)); }
  void wake_at(instant at, unique_function<void()> work) override {
    work_ = std::move(work);
    if (at == at_) return;
    at_ = at;
    arm();
  }

 private:
  void arm() {
    timer_.expires_after(std::clamp<duration>(at_ - now(), duration::zero(), longest_sleep));
    timer_.async_wait([this](boost::system::error_code error) {
      if (error) return;  // replaced, or the end
      if (now() < at_) return arm();
      at_ = never;
      auto work = std::move(work_);
      work();
    });
  }

  asio::io_context& io_;
  const clock& time_;
  asio::steady_timer timer_;
  instant at_ = never;
  unique_function<void()> work_;
};

class store_backend final : public backend {
 public:
  store_backend(const client_options& options, strand& on, const clock& time)
      : options_(options), strand_(on), time_(time), carry_(on), loop_(make_asio_loop(carry_.io, time)) {}
  ~store_backend() override {
    carry_.io.stop();
    DISLOCK_ASSERT(!on_own_thread(), "a backend's thread does not join itself");
    if (thread_.joinable()) thread_.join();
  }

  /// Blocks until the store answers.
  std::optional<error> connect(std::string_view url) {
    auto made = open_engine(url, options_, carry_.io, *loop_, time_);
    if (!made) return made.error();
    engine_ = made->get();
    engine_home_ = make_local_backend(std::make_unique<thread_home>(carry_.io, time_), std::move(*made),
                                      {.has_store = true, .patience = options_.request_timeout});
    carry_.serve(*engine_home_);
    std::promise<std::optional<error>> answered;
    auto answer = answered.get_future();
    asio::post(carry_.io, [this, &answered] { look(later(now(), options_.connect_timeout), answered); });
    start_thread();
    return answer.get();
  }

  instant now() const noexcept override { return time_.now(); }
  bool remote() const noexcept override { return true; }

  call_number acquire(const acquire_call& call, completion<granted_leases> done) override {
    if (free_.empty()) free_.push_back(static_cast<std::uint32_t>(places_++));
    const auto place = free_.back();
    free_.pop_back();
    const call_number number{std::uint64_t{++serial_} << 32 | place};
    hand_over(std::make_unique<acquiring>(*this, call, number, std::move(done)));
    return number;
  }
  void abandon(call_number which) override {
    inside<void>(
        [this, which](backend& to, completion<void> done) {
          const auto place = static_cast<std::uint32_t>(which);
          if (place < asked_.size() && asked_[place].number == which) to.abandon(asked_[place].there);
          done({});
        },
        [](result<void>) {});
  }
  void cancel(std::string lock, bool multi, std::string client, std::string request,
              completion<void> done) override {
    inside<void>(
        [lock = std::move(lock), multi, client = std::move(client), request = std::move(request)](
            backend& to, completion<void> told) { to.cancel(lock, multi, client, request, std::move(told)); },
        std::move(done));
  }
  void release(const lease_key& which, std::string_view request, instant deadline,
               completion<void> done) override {
    hand_over(std::make_unique<releasing>(*this, which, request, deadline, std::move(done)));
  }
  void renew(std::vector<lease_key> which, std::vector<duration> ttls,
             completion<std::vector<result<renewed_lease>>> done) override {
    using answers = std::vector<result<renewed_lease>>;
    if (which.empty()) return strand_.post([done = std::move(done)]() mutable { done(answers()); });
    inside<answers>(
        [which = std::move(which), ttls = std::move(ttls)](backend& to, completion<answers> told) mutable {
          to.renew(std::move(which), std::move(ttls), std::move(told));
        },
        std::move(done));
  }
  void inspect(std::string lock, completion<lock_state> done) override {
    read<lock_state>([lock = std::move(lock)](
                         backend& to, completion<lock_state> told) { to.inspect(lock, std::move(told)); },
                     std::move(done));
  }
  void list(std::string prefix, std::string client, std::size_t limit,
            completion<std::vector<lock_state>> done) override {
    read<std::vector<lock_state>>(
        [prefix = std::move(prefix), client = std::move(client), limit](
            backend& to, completion<std::vector<lock_state>> told) {
          to.list(prefix, client, limit, std::move(told));
        },
        std::move(done));
  }
  void validate(std::string lock, fencing_token token, completion<bool> done) override {
    read<bool>([lock = std::move(lock), token](
                   backend& to, completion<bool> told) { to.validate(lock, token, std::move(told)); },
               std::move(done));
  }
  void force_release(std::string lock, std::optional<fencing_token> token, std::string reason,
                     std::string request, completion<std::vector<fencing_token>> done) override {
    inside<std::vector<fencing_token>>(
        [lock = std::move(lock), token, reason = std::move(reason), request = std::move(request)](
            backend& to, completion<std::vector<fencing_token>> told) {
          to.force_release(lock, token, reason, request, std::move(told));
        },
        std::move(done));
  }
  void graph(completion<std::vector<graph_edge>> done) override {
    read<std::vector<graph_edge>>([](backend& to, auto told) { to.graph(std::move(told)); }, std::move(done));
  }
  void deadlocks(completion<std::vector<deadlock_report>> done) override {
    read<std::vector<deadlock_report>>([](backend& to, auto told) { to.deadlocks(std::move(told)); },
                                       std::move(done));
  }
  void events_after(std::uint64_t id, std::string prefix, duration wait,
                    completion<event_page> done) override {
    inside<event_page>(
        [id, prefix = std::move(prefix), wait](backend& to, completion<event_page> told) {
          to.events_after(id, prefix, wait, std::move(told));
        },
        std::move(done));
  }
  void about(completion<engine_info> done) override {
    read<engine_info>([](backend& to, auto told) { to.about(std::move(told)); }, std::move(done));
  }
  void ping(completion<duration> done) override {
    read<duration>([](backend& to, auto told) { to.ping(std::move(told)); }, std::move(done));
  }

  bool on_own_thread() const noexcept override { return std::this_thread::get_id() == thread_id_; }
  void help() override { carry_.help(); }
  void ring() override {
    asio::post(carry_.io, [] {});
  }

  void stop(unique_function<void()> done) override {
    inside<void>(
        [this](backend& to, completion<void> told) {
          stopping_ = true;
          for (auto* each : std::exchange(resting_, {})) each->go(to);  // once more, and it ends
          to.stop([told = std::move(told)]() mutable { told({}); });
        },
        [done = std::move(done)](result<void>) mutable { done(); });
  }

 private:
  // An errand with an outcome.
  template <class T>
  class asking : public errand {
   public:
    asking(store_backend& of, completion<T> done) : of_(of), done_(std::move(done)) {}
    void deliver() override { done_(std::move(*outcome_)); }

   protected:
    void ended(result<T>&& how) {
      outcome_.emplace(std::move(how));
      of_.carry_.over(*this);
    }
    store_backend& of_;

   private:
    completion<T> done_;
    std::optional<result<T>> outcome_;
  };

  class acquiring final : public asking<granted_leases> {
   public:
    acquiring(store_backend& of, const acquire_call& call, call_number number,
              completion<granted_leases> done)
        : asking(of, std::move(done)), call_(call), number_(number) {}
    void go(backend& to) override {
      const auto place = static_cast<std::uint32_t>(number_);
      if (place >= of_.asked_.size()) of_.asked_.resize(place + 1);
      of_.asked_[place].number = number_;
      of_.asked_[place].there =
          to.acquire(call_, [this](result<granted_leases>&& how) { ended(std::move(how)); });
    }
    void deliver() override {
      of_.free_.push_back(static_cast<std::uint32_t>(number_));
      asking::deliver();
    }

   private:
    const acquire_call& call_;
    const call_number number_;
  };

  class releasing final : public asking<void> {
   public:
    releasing(store_backend& of, const lease_key& which, std::string_view request, instant deadline,
              completion<void> done)
        : asking(of, std::move(done)), which_(which), request_(request), deadline_(deadline) {}
    void go(backend& to) override {
      to.release(which_, request_, deadline_, [this](result<void>&& how) {
        const auto code = how ? errc{} : how.error().code;
        if (code == errc::outcome_unknown && !of_.stopping_ && of_.now() < deadline_) {
          in_doubt_ = true;
          return of_.rest_a_little(*this);
        }
        // The first attempt has done it: nobody else can have given it back.
        if (in_doubt_ && code == errc::lock_not_held &&
            (how.error().ended == end_reason::none || how.error().ended == end_reason::released))
          return ended({});
        ended(std::move(how));
      });
    }

   private:
    const lease_key which_;
    const std::string request_;
    const instant deadline_;
    bool in_doubt_ = false;
  };

  template <class T, class Ask>
  class question : public asking<T> {
   public:
    question(store_backend& of, Ask ask, completion<T> done)
        : asking<T>(of, std::move(done)), ask_(std::move(ask)) {}
    void go(backend& to) override {
      ask_(to, completion<T>([this](result<T> how) { this->ended(std::move(how)); }));
    }

   protected:
    Ask ask_;
  };

  // One that changes nothing, and is asked again if the answer was lost.
  template <class T, class Ask>
  class look_up final : public question<T, Ask> {
   public:
    using question<T, Ask>::question;
    void go(backend& to) override {
      this->ask_(to, completion<T>([this, &to](result<T> how) {
                   if (how || how.error().code != errc::outcome_unknown) return this->ended(std::move(how));
                   if (++lost_ < most_look_ups && !this->of_.stopping_) return go(to);
                   auto why = how.error();
                   why.code = errc::engine_unavailable;
                   this->ended(std::move(why));
                 }));
    }

   private:
    int lost_ = 0;
  };

  void hand_over(std::unique_ptr<errand> one) { carry_.hand_over(std::move(one)); }
  template <class T, class Ask>
  void inside(Ask ask, completion<T> done) {
    hand_over(std::make_unique<question<T, Ask>>(*this, std::move(ask), std::move(done)));
  }

  template <class T, class Ask>
  void read(Ask ask, completion<T> done) {
    hand_over(std::make_unique<look_up<T, Ask>>(*this, std::move(ask), std::move(done)));
  }

  // On the engine's thread.
  void rest_a_little(releasing& which) {
    resting_.push_back(&which);
    if (resting_.size() > 1) return;
    rest_.expires_after(rest);
    rest_.async_wait([this](boost::system::error_code) {
      for (auto* each : std::exchange(resting_, {})) each->go(*engine_home_);
    });
  }

  void start_thread() {
    // The application's signals are for its own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] {
      const auto work = asio::make_work_guard(carry_.io);
      carry_.io.run();
    });
    ::pthread_setname_np(thread_.native_handle(), "dislock-store");
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    thread_id_ = thread_.get_id();
  }

  // The store is usable when it has answered something.
  void look(instant limit, std::promise<std::optional<error>>& answered) {
    const auto health = engine_->health();
    if (health.ready)
      return engine_home_->ping([&answered](result<duration> out) {
        answered.set_value(out ? std::nullopt : std::optional<error>(out.error()));
      });
    if (now() < limit) {
      auto timer = std::make_unique<asio::steady_timer>(carry_.io, look_again);
      auto& it = *timer;
      return it.async_wait(
          [this, limit, &answered, timer = std::move(timer)](auto) { look(limit, answered); });
    }
    error why;
    why.code = errc::engine_unavailable;
    why.detail = health.detail;
    answered.set_value(std::move(why));
  }

  // Where each acquire is, there.
  struct asked_there {
    call_number number{}, there{};
  };

  const client_options options_;
  strand& strand_;
  const clock& time_;

  // The strand's.
  std::vector<std::uint32_t> free_;  // places of calls
  std::size_t places_ = 0;
  std::uint32_t serial_ = 0;

  // The thread's, which ends before them.
  carrier carry_;
  std::unique_ptr<loop> loop_;
  std::vector<asked_there> asked_;
  std::vector<releasing*> resting_;
  asio::steady_timer rest_{carry_.io};
  bool stopping_ = false;
  engine* engine_ = nullptr;
  std::unique_ptr<backend> engine_home_;

  std::thread thread_;
  std::thread::id thread_id_;
};

}  // namespace

result<std::unique_ptr<backend>> open_store_backend(std::string_view url, const client_options& options,
                                                    strand& on, const clock& time) {
  auto made = std::make_unique<store_backend>(options, on, time);
  if (auto failed = made->connect(url)) return std::move(*failed);
  return std::unique_ptr<backend>(std::move(made));
}

}  // namespace dislock::library
