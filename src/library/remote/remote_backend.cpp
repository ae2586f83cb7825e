#include "library/remote/remote_backend.hpp"

#include "library/remote/courier.hpp"
#include "library/remote/endpoints.hpp"
#include "library/remote/event_stream.hpp"
#include "library/remote/messages.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include <algorithm>
#include <csignal>
#include <future>
#include <pthread.h>
#include <thread>
#include <utility>

namespace dislock::library {
namespace remote {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A service answers a longer wait with 202 after this time. One that takes longer is asked again, which costs
// it nothing: of two open calls the newer wins, and keeps the place.
constexpr duration poll_slice = seconds(25);
constexpr duration shortest_slice = milliseconds(5);
constexpr std::size_t view_limit = std::size_t{16} << 20;  // a graph of 10,000 edges has some megabytes

// What each acquire that could not keep its request id goes by now.
using aliases = boost::unordered_flat_map<std::string, std::string>;

// A call with an outcome of one type.
template <class T>
class typed_call : public call {
 public:
  typed_call(const terms& t, completion<T> done) : call(t), done_(std::move(done)) {}
  void deliver() override { done_(std::move(*outcome_)); }
  void fail(error why) override { outcome_.emplace(std::move(why)); }

 protected:
  template <class Value>
  ruling finished(Value&& v) {
    outcome_.emplace(std::forward<Value>(v));
    return {};
  }
  /// What a reply that is no success means.
  ruling refusal(const reply& got) {
    auto why = read_problem(got);
    if (!why) return {ruling::kind::nonsense};
    const auto what = ruling_of(why->code);
    if (what == ruling::kind::finished) {
      fail(std::move(*why));
      return {};
    }
    return {what, std::move(*why)};
  }

  std::optional<result<T>> outcome_;

 private:
  completion<T> done_;
};

class acquire final : public typed_call<granted_leases> {
 public:
  acquire(const acquire_call& what, instant now, const client_options& options, const strand& time,
          aliases& others, completion<granted_leases> done)
      : typed_call(terms_of(what, now, options), std::move(done)),
        what_(what),
        request_(what_.request),
        started_(now),
        wait_until_(later(now, what_.wait)),
        answer_time_(options.request_timeout),
        time_(time),
        aliases_(others) {}

  void write(request_text& to, instant now) override {
    append_lock_target(to.target, what_.multi ? std::string_view() : what_.locks[0].name, "acquire");
    append_acquire(to.body, what_, request_, wait_until_ - now);
  }

  duration patience(instant now) const override {
    return std::clamp<duration>(wait_until_ - now, duration::zero(), poll_slice) + answer_time_;
  }

  ruling on_reply(const reply& got, instant sent) override {
    if (got.status == 200) {
      auto leases = read_granted(got.body, what_, sent);
      if (!leases) return {ruling::kind::nonsense};
      forget_alias();
      return finished(std::move(*leases));
    }
    if (got.status == 202) {
      if (time_.now() - sent >= shortest_slice) return {ruling::kind::ask_again};
      // It should have waited. Asking again at once would go round as fast as the two of us can.
      error why;
      why.code = errc::engine_unavailable;
      return {ruling::kind::doubtful, std::move(why)};
    }
    auto why = read_problem(got);
    if (!why) return {ruling::kind::nonsense};
    const auto ruled = ruling_of(why->code);
    if (ruled != ruling::kind::finished) return {ruled, std::move(*why)};

    // Its place, or its grant, went while nobody could reach the service; there is time to queue again.
    const bool lease_ended = why->code == errc::lock_not_held && what_.reentry.empty();
    if ((why->code == errc::lock_not_acquired || lease_ended) && tries().was_interrupted() &&
        wait_until_ - time_.now() > milliseconds(20)) {
      request_ = what_.request + "~" + std::to_string(++renamed_);
      aliases_.insert_or_assign(what_.request, request_);
      return {ruling::kind::start_anew};
    }
    forget_alias();
    if (lease_ended) {
      why->code = errc::lock_not_acquired;
      why->detail = "the lease ended before this client heard of it";
    }
    fail(std::move(*why));
    return {};
  }

  void fail(error why) override {
    if (why.lock.empty() && !what_.locks.empty()) why.lock = what_.locks[0].name;
    why.waited = std::max(why.waited, time_.now() - started_);
    if (effect_of(why.code) == effect::none) forget_alias();  // nobody will ask for a cancel
    typed_call::fail(std::move(why));
  }

  void never_sent(error why) override {
    if (what_.wait > duration::zero()) {
      why.code = errc::lock_not_acquired;
      why.detail = "all connections of this client were in use";
    }
    fail(std::move(why));
  }

 private:
  static terms terms_of(const acquire_call& what, instant now, const client_options& options) {
    const auto wait_until = later(now, what.wait);
    const bool waits = what.wait > duration::zero();
    return {.on = waits ? lane::waits : lane::quick,
            .retry = {.mutates = true,
                      .persistent = waits,
                      .limit = std::max(
                          wait_until, later(now, waits ? options.connect_timeout : options.request_timeout)),
                      .settle_limit = later(wait_until, options.request_timeout)}};
  }

  void forget_alias() {
    if (renamed_ > 0) aliases_.erase(what_.request);
  }

  const acquire_call what_;
  std::string request_;
  const instant started_, wait_until_;
  const duration answer_time_;
  const strand& time_;
  aliases& aliases_;
  unsigned renamed_ = 0;
};

struct plain_request {
  std::string_view method = "GET";
  std::string lock;  // that it is about, if any
  std::string target, body;
};

plain_request request_about(std::string_view method, std::string lock) {
  plain_request r;
  r.method = method;
  r.lock = std::move(lock);
  return r;
}

plain_request view_of(std::string_view target) {
  plain_request r;
  r.target = target;
  return r;
}

// All other calls: one request, and a function that reads what comes back.
template <class T>
class plain_call final : public typed_call<T> {
 public:
  using reading = unique_function<std::optional<result<T>>(const reply&, instant sent)>;

  plain_call(const call::terms& t, plain_request what, duration answer_time, reading read, completion<T> done)
      : typed_call<T>(t, std::move(done)),
        what_(std::move(what)),
        answer_time_(answer_time),
        read_(std::move(read)) {}

  void write(request_text& to, instant) override {
    to.method = what_.method;
    to.target = what_.target;
    to.body = what_.body;
  }
  void fail(error why) override {
    if (why.lock.empty()) why.lock = what_.lock;
    typed_call<T>::fail(std::move(why));
  }
  duration patience(instant) const override { return answer_time_; }
  ruling on_reply(const reply& got, instant sent) override {
    auto read = read_(got, sent);
    if (!read) return got.status == 200 ? ruling{ruling::kind::nonsense} : this->refusal(got);
    if (*read) return this->finished(std::move(*read));
    return {ruling_of(read->error().code), read->error()};
  }

 private:
  const plain_request what_;
  const duration answer_time_;
  reading read_;
};

template <class T>
auto body_by(std::optional<T> (*read)(std::string_view)) {
  return [read](const reply& got, instant) -> std::optional<result<T>> {
    if (got.status != 200) return std::nullopt;
    auto out = read(got.body);
    if (!out) return std::nullopt;
    return std::move(*out);
  };
}

// The pages of a list, one after the other on one connection.
class list_call final : public typed_call<std::vector<lock_state>> {
 public:
  list_call(const terms& t, std::string_view prefix, std::string_view client, std::size_t limit,
            duration answer_time, completion<std::vector<lock_state>> done)
      : typed_call(t, std::move(done)), limit_(limit), answer_time_(answer_time) {
    if (!prefix.empty()) append_query_value(filter_ += "&prefix=", prefix);
    if (!client.empty()) append_query_value(filter_ += "&clientId=", client);
  }

  void write(request_text& to, instant) override {
    to.method = "GET";
    to.target =
        "/locks?limit=" + std::to_string(std::clamp<std::size_t>(limit_ - found_.size(), 1, 200)) + filter_;
    if (!cursor_.empty()) append_query_value(to.target += "&cursor=", cursor_);
  }
  duration patience(instant) const override { return answer_time_; }
  ruling on_reply(const reply& got, instant) override {
    if (got.status != 200) return refusal(got);
    auto page = read_page(got.body);
    if (!page) return {ruling::kind::nonsense};
    std::move(page->locks.begin(), page->locks.end(), std::back_inserter(found_));
    cursor_ = std::move(page->next);
    if (!cursor_.empty() && found_.size() < limit_) return {ruling::kind::ask_again};
    if (found_.size() > limit_) found_.resize(limit_);
    return finished(std::move(found_));
  }

 private:
  const std::size_t limit_;
  const duration answer_time_;
  std::string filter_, cursor_;
  std::vector<lock_state> found_;
};

// Everything that lives on the thread of the connections. It outlives the backend if that is destroyed from
// there.
struct io_side {
  io_side(std::vector<endpoint> places, const client_options& how, strand& on)
      : carry(io, std::move(places), how, on), events(io, carry, how) {}

  // Not one of the hints for a single thread: with those, what a handler posts waits until it returns, and it
  // would not be found by whoever waits inside of one (`courier::help`).
  boost::asio::io_context io;
  aliases others;
  courier carry;
  event_streams events;
};

class remote_backend final : public backend {
 public:
  remote_backend(std::vector<endpoint> places, const client_options& options, strand& on)
      : options_(options),
        strand_(on),
        places_(places.size()),
        side_(std::make_shared<io_side>(std::move(places), options, on)) {
    // The application's signals are for its own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([side = side_] {
      const auto work = boost::asio::make_work_guard(side->io);
      side->io.run();
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    thread_id_ = thread_.get_id();
  }

  ~remote_backend() override {
    side_->io.stop();
    if (on_own_thread()) {
      thread_
          .detach();  // destroyed by somebody who was told an outcome: it ends when it comes back from there
    } else {
      thread_.join();
    }
  }

  /// Blocks until one of the places answers.
  result<void> find_service() {
    auto known = std::make_shared<std::promise<result<engine_info>>>();
    auto answer = known->get_future();
    auto how = reads();
    how.outside = true;
    how.retry.limit = how.retry.settle_limit =
        later(strand_.now(), options_.request_timeout + options_.connect_timeout * static_cast<int>(places_));
    start(ask_capabilities(how, [known](result<engine_info> about) { known->set_value(std::move(about)); }));
    auto about = answer.get();
    if (!about) return about.error();
    return {};
  }

  instant now() const noexcept override { return strand_.now(); }
  bool remote() const noexcept override { return true; }

  call_number acquire(const acquire_call& what, completion<granted_leases> done) override {
    const auto number = ++calls_;
    start(std::make_unique<remote::acquire>(what, strand_.now(), options_, strand_, side_->others,
                                            std::move(done)),
          number);
    return call_number{number};
  }

  void abandon(call_number which) override {
    on_io([side = side_.get(), which] { side->carry.abandon(static_cast<std::uint64_t>(which)); });
  }

  void cancel(std::string lock, bool multi, std::string client, std::string request,
              completion<void> done) override {
    auto what = request_about("POST", std::move(lock));
    append_lock_target(what.target, multi ? std::string_view() : what.lock, "cancel");
    on_io([how = changes(), patience = options_.request_timeout, side = side_.get(), what = std::move(what),
           client = std::move(client), request = std::move(request), done = std::move(done)]() mutable {
      const auto other = side->others.find(request);
      append_cancel(what.body, client, other == side->others.end() ? request : other->second);
      auto read = [side, request](const reply& got, instant) -> std::optional<result<void>> {
        if (got.status != 200) return std::nullopt;
        side->others.erase(request);
        return result<void>();
      };
      side->carry.start(std::make_unique<plain_call<void>>(how, std::move(what), patience, std::move(read),
                                                           std::move(done)));
    });
  }

  void release(const lease_key& which, std::string_view request, instant deadline,
               completion<void> done) override {
    auto what = request_about("POST", which.lock);
    append_lock_target(what.target, which.lock, "release");
    append_release(what.body, which, request);
    auto how = changes();
    how.retry.persistent = true;
    how.retry.limit = how.retry.settle_limit = deadline;
    auto read = [](const reply& got, instant) -> std::optional<result<void>> {
      if (got.status != 200 || !is_release(got.body)) return std::nullopt;
      return result<void>();
    };
    plain<void>(how, std::move(what), std::move(read), std::move(done));
  }

  void renew(std::vector<lease_key> which, std::vector<duration> ttls,
             completion<std::vector<result<renewed_lease>>> done) override;

  void inspect(std::string lock, completion<lock_state> done) override {
    auto what = request_about("GET", std::move(lock));
    append_lock_target(what.target, what.lock, "status");
    plain<lock_state>(views(), std::move(what), body_by(&read_status), std::move(done));
  }

  void list(std::string prefix, std::string client, std::size_t limit,
            completion<std::vector<lock_state>> done) override {
    start(std::make_unique<list_call>(views(), prefix, client, limit, options_.request_timeout,
                                      std::move(done)));
  }

  void validate(std::string lock, fencing_token token, completion<bool> done) override {
    auto what = request_about("POST", std::move(lock));
    append_lock_target(what.target, what.lock, "validate");
    append_validate(what.body, token);
    plain<bool>(reads(), std::move(what), body_by(&read_validity), std::move(done));
  }

  void force_release(std::string lock, std::optional<fencing_token> token, std::string reason,
                     std::string request, completion<std::vector<fencing_token>> done) override {
    auto what = request_about("DELETE", std::move(lock));
    append_lock_target(what.target, what.lock, {});
    char sign = '?';
    const auto add = [&](std::string_view name, std::string_view value) {
      if (value.empty()) return;
      what.target += std::exchange(sign, '&');
      append_query_value(what.target.append(name).append("="), value);
    };
    add("fencingToken", token ? std::to_string(to_number(*token)) : std::string());
    add("reason", reason);
    add("requestId", request);
    plain<std::vector<fencing_token>>(changes(), std::move(what), body_by(&read_forced), std::move(done));
  }

  void graph(completion<std::vector<graph_edge>> done) override {
    plain<std::vector<graph_edge>>(views(), view_of("/graph"), body_by(&read_graph), std::move(done));
  }

  void deadlocks(completion<std::vector<deadlock_report>> done) override {
    plain<std::vector<deadlock_report>>(views(), view_of("/deadlocks"), body_by(&read_deadlocks),
                                        std::move(done));
  }

  void events_after(std::uint64_t id, std::string prefix, duration wait,
                    completion<event_page> done) override {
    on_io([side = side_.get(), id, prefix = std::move(prefix), wait, done = std::move(done)]() mutable {
      side->events.ask(id, std::move(prefix), wait, std::move(done));
    });
  }

  void about(completion<engine_info> done) override { start(ask_capabilities(reads(), std::move(done))); }

  void ping(completion<duration> done) override {
    auto read = [this](const reply& got, instant sent) -> std::optional<result<duration>> {
      if (got.status != 200 && got.status != 503) return std::nullopt;
      const auto why_not = read_health(got.body);
      if (!why_not) return std::nullopt;
      if (why_not->empty()) return strand_.now() - sent;
      error why;
      why.code = *why_not == "draining" ? errc::draining : errc::engine_unavailable;
      why.detail = *why_not;
      return why;
    };
    plain<duration>(reads(), view_of("/health/ready"), std::move(read), std::move(done));
  }

  bool on_own_thread() const noexcept override { return std::this_thread::get_id() == thread_id_; }
  void help() override { side_->carry.help(); }
  void ring() override {
    boost::asio::post(side_->io, [] {});
  }

  void stop(unique_function<void()> done) override {
    on_io([side = side_.get(), done = std::move(done)]() mutable {
      side->events.stop();
      side->carry.stop(std::move(done));
    });
  }

 private:
  // Runs `work` on the connections' thread: now if this is it.
  template <class Work>
  void on_io(Work work) {
    if (on_own_thread()) {
      work();
      side_->carry.flush();
      return;
    }
    boost::asio::post(side_->io, [side = side_.get(), work = std::move(work)]() mutable {
      work();
      side->carry.flush();
    });
  }

  void start(std::unique_ptr<call> what, std::uint64_t number = 0) {
    on_io([side = side_.get(), what = std::move(what), number]() mutable {
      side->carry.start(std::move(what), number);
    });
  }

  // One attempt at each place.
  [[nodiscard]] call::terms changes() const {
    const auto limit = later(strand_.now(), options_.request_timeout);
    return {.retry = {.mutates = true, .persistent = false, .limit = limit, .settle_limit = limit}};
  }
  [[nodiscard]] call::terms reads() const {
    auto how = changes();
    how.retry.mutates = false;
    return how;
  }
  [[nodiscard]] call::terms views() const {
    auto how = reads();
    how.body_limit = view_limit;
    return how;
  }

  template <class T>
  void plain(const call::terms& how, plain_request what, typename plain_call<T>::reading read,
             completion<T> done) {
    start(std::make_unique<plain_call<T>>(how, std::move(what), options_.request_timeout, std::move(read),
                                          std::move(done)));
  }

  std::unique_ptr<call> ask_capabilities(const call::terms& how, completion<engine_info> done) {
    return std::make_unique<plain_call<engine_info>>(how, view_of("/capabilities"), options_.request_timeout,
                                                     body_by(&read_capabilities), std::move(done));
  }

  const client_options options_;
  strand& strand_;
  const std::size_t places_;
  const std::shared_ptr<io_side> side_;
  std::thread thread_;
  std::thread::id thread_id_;
  std::uint64_t calls_ = 0;
};

// Renewals that arrive together are answered together; the service takes those of one ttl, and no name twice,
// in one go.
void remote_backend::renew(std::vector<lease_key> which, std::vector<duration> ttls,
                           completion<std::vector<result<renewed_lease>>> done) {
  using answers = std::vector<result<renewed_lease>>;
  struct batch {
    std::vector<lease_key> leases;
    std::vector<std::size_t> places;
    duration ttl{};
  };
  struct gathering {
    answers all;
    std::size_t open = 0;
    completion<answers> done;
  };
  std::vector<batch> batches;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const auto fitting = std::find_if(batches.begin(), batches.end(), [&](const batch& b) {
      return b.ttl == ttls[i] && b.leases.size() < 32 &&
             std::none_of(b.leases.begin(), b.leases.end(),
                          [&](const auto& k) { return k.lock == which[i].lock; });
    });
    auto& b = fitting == batches.end() ? batches.emplace_back() : *fitting;
    b.ttl = ttls[i];
    b.places.push_back(i);
    b.leases.push_back(std::move(which[i]));
  }
  if (batches.empty()) return strand_.post([done = std::move(done)]() mutable { done(answers()); });

  auto all = std::make_shared<gathering>();
  all->all.resize(which.size(), result<renewed_lease>(renewed_lease{}));
  all->open = batches.size();
  all->done = std::move(done);
  for (auto& b : batches) {
    plain_request what{.method = "POST", .lock = {}, .target = {}, .body = {}};
    if (b.leases.size() == 1) {
      append_lock_target(what.target, b.leases[0].lock, "renew");
      append_renew(what.body, b.leases[0], b.ttl);
    } else {
      append_lock_target(what.target, {}, "renew");
      append_renew(what.body, b.leases, b.ttl);
    }
    auto keys = std::make_shared<std::vector<lease_key>>(std::move(b.leases));
    auto read = [keys](const reply& got, instant sent) -> std::optional<result<answers>> {
      if (got.status != 200) return std::nullopt;
      if (keys->size() > 1) {
        auto each = read_renewed(got.body, *keys, sent);
        return each ? std::optional<result<answers>>(std::move(*each)) : std::nullopt;
      }
      const auto one = read_renewed(got.body, sent);
      return one ? std::optional<result<answers>>(answers{*one}) : std::nullopt;
    };
    auto gather = [all, keys, at = std::move(b.places)](result<answers> some) {
      for (std::size_t i = 0; i < at.size(); ++i) {
        if (some) {
          all->all[at[i]] = std::move((*some)[i]);
        } else {
          auto why = some.error();
          if (why.lock.empty()) why.lock = (*keys)[i].lock;
          all->all[at[i]] = std::move(why);
        }
      }
      if (--all->open == 0) all->done(std::move(all->all));
    };
    plain<answers>(changes(), std::move(what), std::move(read), std::move(gather));
  }
}

}  // namespace
}  // namespace remote

result<std::unique_ptr<backend>> open_remote_backend(std::string_view url, const client_options& options,
                                                     strand& on) {
  const auto wrong = [](std::string detail) {
    error e;
    e.code = errc::invalid_field;
    e.detail = std::move(detail);
    return e;
  };
  auto places = remote::parse_endpoints(url);
  if (!places) return places.error();
  if (options.connections == 0) return wrong("connections: must be at least 1");
  if (options.connect_timeout < std::chrono::milliseconds(1))
    return wrong("connect_timeout: must be at least 1 ms");
  if (options.request_timeout < std::chrono::milliseconds(1))
    return wrong("request_timeout: must be at least 1 ms");
  if (options.time) return wrong("time: a service has its own; only memory: can follow a manual_clock");

  auto opened = std::make_unique<remote::remote_backend>(std::move(*places), options, on);
  if (auto found = opened->find_service(); !found) return found.error();
  return std::unique_ptr<backend>(std::move(opened));
}

}  // namespace dislock::library
