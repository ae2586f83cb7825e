#include "engines/redis/wire/lane.hpp"

#include "base/assert.hpp"
#include "engines/redis/wire/command.hpp"
#include "engines/redis/wire/retry.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

constexpr duration drain_limit = 500ms;         // what was under way is answered by then, or probably never
constexpr duration ping_every = 1s;             // so that a connection that nobody uses is known to work
constexpr duration proven = 1s;                 // a connection that lasted that long was worth the trouble
constexpr duration suspicious_silence = 500ms;  // after a call that got no answer by its deadline
constexpr duration longest_silence = 5s;        // a fork or a slow script may take a while
constexpr unsigned hurry_after = 8;  // calls: then the server is at these while others are still being made
constexpr std::size_t batch_bytes = std::size_t{128} << 10;  // what is written at once, and may have to wait

constexpr const char* connection_over = "its connection has ended";

}  // namespace

lane::lane(wiring& w, lane_host& host, lane_kind kind, address fixed)
    : wiring_(w),
      host_(host),
      kind_(kind),
      fixed_(std::move(fixed)),
      peer_(fixed_),
      script_epochs_(w.scripts.size(), 0),
      alarm_(w.io, w.time, [this] { ring(); }),
      self_(std::make_shared<lane*>(this)) {}

lane::~lane() {
  *self_ = nullptr;
  DISLOCK_ASSERT(queue_.empty() && returned_.empty(), "a lane ends with no call in it");
  if (connection_) connection_->close();
}

void lane::submit(request& r) {
  if (cannot_use(r)) return host_.settle(r, failure{failure::cause::lost, effect::none, connection_over});
  r.on = this;
  r.where = request::place::waiting;
  queue_.push_back(r);
  if (phase_ == phase::ready) {
    if (!r.at_once && ++unwritten_ < hurry_after) return turn_soon();
    const bool posted = turn_posted_;
    turn();
    turn_posted_ = posted;
  } else {
    begin();
  }
}

void lane::resubmit(request& r) {
  r.on = this;
  r.where = request::place::waiting;
  returned_.push_back(r);
  if (phase_ == phase::ready) {
    turn_soon();
  } else {
    begin();
  }
}

void lane::wake() {
  wanted_ = true;
  begin();
}

bool lane::idle() const noexcept {
  return queue_.empty() && returned_.empty() && (!connection_ || connection_->in_flight() == 0);
}

request_list lane::take_queue() {
  request_list all;
  all.splice(all.end(), returned_);
  all.splice(all.end(), queue_);
  for (auto& r : all) r.on = nullptr;
  return all;
}

void lane::begin() {
  if (phase_ != phase::asleep) return;
  phase_ = phase::locating;
  host_.locate(*this);
}

void lane::located(boost::system::result<address, refusal> where) {
  if (phase_ != phase::locating) return;
  if (!where) return lose(where.error().why);
  peer_ = *where;
  number_ = ++wiring_.connections;
  phase_ = phase::opening;
  connection_ = std::make_shared<connection>(wiring_.io, wiring_.time, static_cast<connection_user&>(*this),
                                             wiring_.tls, wiring_.replies);
  alarm_.set(wiring_.time.now() + wiring_.url.connect_timeout);
  connection_->open(peer_);
}

void lane::on_connected(connection& c) {
  opening_.emplace(opening::terms{.login = &wiring_.url.login,
                                  .database = wiring_.url.database,
                                  .name = wiring_.url.client_name,
                                  .facts = true,
                                  .scripts = wiring_.scripts});
  for (auto left = opening_->write(c.out()); left > 0; --left) c.expect(nullptr);
  c.flush();
}

void lane::on_reply(connection& c, request* to, reply&& got) {
  if (phase_ == phase::opening) {
    auto why = opening_->take(std::move(got));
    if (why.empty() && opening_->complete()) {
      why = opening_->facts().incarnation().empty() ? "the server does not say its run_id and master_replid"
                                                    : host_.refuse(*this, opening_->facts());
    }
    if (!why.empty()) return lose(why);
    if (!opening_->complete()) return;
    facts_ = std::move(opening_->facts());
    opening_.reset();
    phase_ = phase::greeting;
    return host_.greet(*this, newcomer(self_, number_));
  }
  if (phase_ == phase::greeting) {
    if (greeting_.empty()) return lose("the server spoke without being asked");
    auto done = std::move(greeting_.front());
    greeting_.pop_front();
    return done(std::move(got));
  }
  if (!to) {
    // A ping's, an ASKING's, or that of a call whose deadline came first.
    if (phase_ == phase::ready && c.in_flight() == 0) pinged_ = never;
  } else if (to->earlier.size() < to->then_ends.size()) {
    to->earlier.push_back(std::move(got));
  } else {
    answered(*to, std::move(got));
  }
  if (phase_ == phase::draining && connection_ && c.in_flight() == 0) return lose(trouble_);
  if (phase_ == phase::ready && !(queue_.empty() && returned_.empty())) turn_soon();
}

// The engine's part of the opening

void lane::ask(command_words words, unique_function<void(reply)> done) {
  append_command(connection_->out(), words);
  expect_greeting(std::move(done));
}

void lane::run(const script_call& what, unique_function<void(reply)> done) {
  DISLOCK_ASSERT(what.script < wiring_.scripts.size(), "a script is known from the beginning");
  DISLOCK_ASSERT(what.then.empty(), "what follows a script in an opening is asked for itself");
  std::string words;
  std::size_t count = 0;
  if (const auto stamp = append_call(words, count, what); stamp != 0)
    words.replace(stamp, 40, facts_.incarnation());
  append_count(connection_->out(), count + 2);
  connection_->out().append(wiring_.scripts[what.script].by_digest).append(words);
  expect_greeting(std::move(done));
}

void lane::expect_greeting(unique_function<void(reply)> done) {
  connection_->expect(nullptr);
  connection_->flush();
  greeting_.push_back(std::move(done));
}

void lane::accept() {
  greeting_.clear();
  phase_ = phase::ready;
  ready_since_ = wiring_.time.now();
  trouble_.clear();
  pinged_ = silent_since_ = never;
  watch();
  host_.on_ready(*this);
  turn_soon();
}

void lane::turn_away(std::string_view why) {
  lose(why);
}

// Replies

void lane::answered(request& r, reply&& got) {
  if (r.then_ends.empty() && !r.is_array) {
    if (judge(got) == verdict::deliver) return host_.settle(r, sourced_reply(std::move(got), number_));
    r.where = request::place::over;
    return host_.on_verdict(*this, r, got, std::move(got));
  }
  reply all;
  all.is = reply::kind::array;
  all.items.swap(r.earlier);
  all.items.push_back(std::move(got));
  const reply* refused = nullptr;
  bool begun = false;
  for (const auto& one : all.items) {
    const auto meant = judge(one);
    // Only a script of ours can be loaded, and it is the first command.
    if (meant == verdict::deliver || (meant == verdict::unknown_script && &one != &all.items.front())) {
      begun = true;
    } else if (!refused) {
      refused = &one;
    }
  }
  if (!refused) return host_.settle(r, sourced_reply(std::move(all), number_));
  r.begun |= begun;
  r.where = request::place::over;
  host_.on_verdict(*this, r, *refused, std::move(all));
}

void lane::on_unknown_script(request& r) {
  auto& epoch = script_epochs_[static_cast<std::size_t>(r.script)];
  if (r.script_epoch == epoch) {
    ++epoch;
    r.by_body = true;
  }
  resubmit(r);
}

void lane::on_writable(connection&) {
  if (phase_ == phase::ready) turn_soon();
}

void lane::on_read_over(connection&) {
  host_.deliver();
}

void lane::on_lost(connection& c, std::string_view why) {
  if (&c != connection_.get()) return;
  lose(why);
  host_.deliver();
}

void lane::turn_soon() {
  if (turn_posted_) return;
  turn_posted_ = true;
  boost::asio::post(wiring_.io, [weak = self_] {
    if (*weak) (*weak)->turn();
  });
}

void lane::turn() {
  turn_posted_ = false;
  unwritten_ = 0;
  if (phase_ != phase::ready) return;
  queue_.splice(queue_.begin(), returned_);
  auto& c = *connection_;
  const auto now = wiring_.time.now();
  while (!queue_.empty() && !c.blocked() && c.in_flight() < wiring_.max_in_flight) {
    while (!queue_.empty() && c.in_flight() < wiring_.max_in_flight && c.out().size() < batch_bytes) {
      auto& r = queue_.front();
      queue_.pop_front();
      if (r.deadline <= now) {
        host_.settle(r, failure{failure::cause::deadline, effect::none, "it had no turn"});
      } else {
        write(r, now);
      }
    }
    c.flush();
  }
}

void lane::write(request& r, instant now) {
  auto& c = *connection_;
  auto& out = c.out();
  const auto ask = [&] {
    if (!r.asking) return;
    constexpr std::string_view asking[] = {"ASKING"};
    append_command(out, asking);
    c.expect(nullptr);
  };
  ask();
  if (r.stamp != 0) {
    DISLOCK_ASSERT(facts_.incarnation().size() == 40, "a server that is ready has an incarnation");
    r.words.replace(r.stamp, 40, facts_.incarnation());
  }
  if (r.script >= 0) {
    const auto which = static_cast<std::size_t>(r.script);
    const auto& s = wiring_.scripts[which];
    append_count(out, r.count + 2);
    out += r.by_body ? s.by_body : s.by_digest;
    r.by_body = false;
    r.script_epoch = script_epochs_[which];
  }
  out += r.words;
  r.first_position = r.last_position = c.expect(&r);
  r.earlier.clear();
  std::size_t begin = 0;
  for (const auto end : r.then_ends) {
    ask();
    out.append(r.then, begin, end - begin);
    begin = end;
    r.last_position = c.expect(&r);
  }
  r.asking = false;
  r.sent_at = now;
  r.where = request::place::in_flight;
}

void lane::expire(request& r) {
  const auto late = [&](effect what) {
    host_.settle(
        r, failure{failure::cause::deadline, what, "no answer from " + peer_.text() + " by the deadline"});
  };
  const bool sent = connection_->sent(r.first_position);
  const bool all_sent = connection_->sent(r.last_position);
  connection_->disown(r.first_position, r.last_position);
  late(sent ? effect::unknown : effect::none);
  // A server that is slow, or writes the replies to a whole pipeline at once, is only given up when it has
  // been silent for a while: until then the others go on, and the late reply is thrown away. Where the kernel
  // takes no more, and part of the command may have been written, there is nothing to wait for.
  if (!all_sent) return lose("takes no more");
  if (phase_ != phase::ready || connection_->heard() >= r.sent_at) return;
  silent_since_ = std::min(silent_since_, r.sent_at);
  ring();
}

void lane::replace(std::string_view why) {
  if (phase_ == phase::opening || phase_ == phase::greeting) return lose(why);
  if (phase_ != phase::ready) return;
  phase_ = phase::draining;
  trouble_ = why;
  alarm_.set(wiring_.time.now() + drain_limit);
  host_.on_lost(*this, why);
  if (phase_ == phase::draining && connection_->in_flight() == 0) lose(trouble_);
}

void lane::watch() {
  alarm_.set(std::min({later(pinged_, longest_silence), later(silent_since_, suspicious_silence),
                       wiring_.time.now() + ping_every}));
}

void lane::ring() {
  const auto now = wiring_.time.now();
  switch (phase_) {
    case phase::asleep:
    case phase::locating:
    case phase::stopped:
      return;
    case phase::opening:
    case phase::greeting:
      lose("no connection within " + std::to_string(wiring_.url.connect_timeout / 1ms) + " ms");
      break;
    case phase::ready:
      if (pinged_ != never && connection_->heard() > pinged_) pinged_ = never;
      if (silent_since_ != never && connection_->heard() > silent_since_) silent_since_ = never;
      if (later(pinged_, longest_silence) <= now || later(silent_since_, suspicious_silence) <= now) {
        lose("silent");
        break;
      }
      if (pinged_ == never && now - connection_->heard() >= ping_every && !connection_->blocked() &&
          connection_->in_flight() < wiring_.max_in_flight) {
        constexpr std::string_view ping[] = {"PING"};
        append_command(connection_->out(), ping);
        connection_->expect(nullptr);
        connection_->flush();
        pinged_ = now;
      }
      watch();
      return;
    case phase::draining:
      lose(trouble_);
      break;
    case phase::resting:
      phase_ = phase::asleep;
      if (wanted_ || !queue_.empty() || !returned_.empty()) begin();
      break;
  }
  host_.deliver();
}

// The connection is of no more use, if there is one.
void lane::lose(std::string_view reason) {
  const std::string why(reason);  // it may be our own trouble_
  const auto was = phase_;
  alarm_.silence();
  opening_.reset();
  greeting_.clear();
  if (connection_) {
    connection_->close();
    const request* last = nullptr;
    for (const auto& [who, sent] : connection_->take_unanswered()) {
      if (std::exchange(last, who) == who) continue;  // only the first of its commands that has no reply
      if (sent || !who->earlier.empty()) {
        host_.settle(*who, failure{failure::cause::lost, effect::unknown, peer_.text() + ": " + why});
      } else {
        who->where = request::place::waiting;
        who->on = this;
        returned_.push_back(*who);
      }
    }
    connection_.reset();
  }
  end_bound();
  trouble_ = peer_.empty() || why.find(peer_.text()) != std::string::npos ? why : peer_.text() + ": " + why;
  phase_ = phase::resting;
  const bool worked = was == phase::ready || was == phase::draining;
  if (worked) failures_ = wiring_.time.now() - ready_since_ >= proven ? 0 : std::min(failures_, 2U);
  alarm_.set(wiring_.time.now() + rest_after(failures_++, wiring_.chance()));
  if (was == phase::ready) {
    host_.on_lost(*this, why);
  } else if (!worked) {
    host_.on_trouble(*this, trouble_);
  }
}

// A request that has to use a connection which is not there, or not yet.
bool lane::cannot_use(const request& r) const noexcept {
  return r.only != 0 && (phase_ != phase::ready || r.only != number_);
}

// Those that can use no other connection than the one that was lost.
void lane::end_bound() {
  for (auto* list : {&returned_, &queue_})
    for (auto it = list->begin(); it != list->end();) {
      auto& r = *it++;
      if (r.only != 0) host_.settle(r, failure{failure::cause::lost, effect::none, connection_over});
    }
}

void lane::stop() {
  if (phase_ == phase::stopped) return;
  phase_ = phase::stopped;
  alarm_.silence();
  opening_.reset();
  greeting_.clear();
  if (connection_) {
    connection_->close();
    const request* last = nullptr;
    for (const auto& [who, sent] : connection_->take_unanswered())
      if (std::exchange(last, who) != who)
        host_.settle(*who, failure{failure::cause::stopped,
                                   sent || !who->earlier.empty() ? effect::unknown : effect::none,
                                   "the client was stopped"});
    connection_.reset();
  }
  for (auto all = take_queue(); !all.empty();) {
    auto& r = all.front();
    all.pop_front();
    host_.settle(r, failure{failure::cause::stopped, effect::none, "the client was stopped"});
  }
}

}  // namespace dislock::redis
