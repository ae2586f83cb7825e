#include "library/remote/courier.hpp"

#include "http/json_writer.hpp"

#include <algorithm>
#include <utility>

namespace dislock::library::remote {
namespace {

// A timer counts on a clock that stops in suspend, so it is never set for longer than this.
constexpr duration longest_sleep = std::chrono::seconds(1);

error make_error(errc code, std::string detail) {
  error e;
  e.code = code;
  e.detail = std::move(detail);
  return e;
}

}  // namespace

ruling::kind ruling_of(errc code) noexcept {
  switch (code) {
    case errc::draining:
    case errc::overloaded:
    case errc::request_memory_full:
    case errc::engine_unavailable:
    case errc::request_timeout:
    case errc::superseded:  // an older call of this very request, which the service has not seen end yet
      return ruling::kind::refused;
    case errc::outcome_unknown:
    case errc::internal_error:
      return ruling::kind::doubtful;
    default:
      return ruling::kind::finished;
  }
}

courier::courier(boost::asio::io_context& io, std::vector<endpoint> places, const client_options& options,
                 strand& on)
    : io_(io),
      places_(std::move(places)),
      limit_(std::max<std::size_t>(options.connections, 2)),
      reserved_(std::clamp<std::size_t>(limit_ / 8, 1, 4)),
      connect_timeout_(options.connect_timeout),
      strand_(on),
      choice_(places_.size()),
      states_(places_.size()),
      timer_(io),
      random_(std::random_device{}()) {}

// Calls

void courier::start(std::unique_ptr<call> c, std::uint64_t number) {
  auto& it = *c.release();  // from here on it is in one of the lists
  it.number_ = number;
  elsewhere_.push_back(it);
  if (number != 0) numbered_.emplace(number, &it);
  if (stopped_) {
    it.fail(make_error(errc::engine_unavailable, "the client is closed"));
    return finish(it);
  }
  enqueue(it);
}

void courier::enqueue(call& c) {
  c.phase_ = call::phase::queued;
  auto& queue = queues_[static_cast<std::size_t>(c.terms_.on)];
  if (queue.empty() && give_connection(c)) return;
  deadlines_.schedule(c, c.tries_.limit());
  elsewhere_.erase(call_list::s_iterator_to(c));
  queue.push_back(c);
}

// Whoever waits for a connection gets those that are free, the quick lane first.
void courier::pump() {
  for (auto& queue : queues_)
    while (!queue.empty()) {
      auto& c = queue.front();
      if (!give_connection(c)) break;
      queue.erase(call_list::s_iterator_to(c));
      elsewhere_.push_back(c);
    }
}

bool courier::give_connection(call& c) {
  const auto present = now();
  const auto where = choice_.pick(present);
  auto& s = states_[where];
  const bool waits = c.terms_.on == lane::waits;
  if (waits && s.waiting >= limit_ - reserved_) return false;
  if (s.open >= limit_ && s.idle.empty()) return false;

  if (!s.idle.empty() && !c.fresh_) {
    c.on_ = std::move(s.idle.back());
    s.idle.pop_back();
  } else {
    if (s.open >= limit_) {
      s.idle.front()->close();
      s.idle.erase(s.idle.begin());
      --s.open;
    }
    connection_user& self = *this;
    c.on_ = std::make_shared<connection>(io_, self, where);
    ++s.open;
  }
  if (waits) ++s.waiting;
  c.on_->serving = &c;
  c.fresh_ = false;
  if (c.on_->connected()) {
    send(c);
  } else {
    c.phase_ = call::phase::connecting;
    deadlines_.schedule(c, std::min(later(present, connect_timeout_), c.tries_.limit()));
    c.on_->connect(places_[where]);
  }
  return true;
}

void courier::send(call& c) {
  const auto present = now();
  text_.method = "POST";
  text_.target.clear();
  text_.body.clear();
  c.write(text_, present);
  wire_.assign(text_.method).append(" ").append(text_.target);
  wire_.append(" HTTP/1.1\r\nHost: ").append(places_[c.on_->place()].authority);
  if (!text_.body.empty()) {
    wire_ += "\r\nContent-Type: application/json\r\nContent-Length: ";
    http::append_integer(wire_, static_cast<std::int64_t>(text_.body.size()));
  }
  wire_.append("\r\n\r\n").append(text_.body);

  c.phase_ = call::phase::sent;
  c.sent_at_ = present;
  c.tries_.sent();
  deadlines_.schedule(c, std::min(later(present, c.patience(present)), c.tries_.limit()));
  c.on_->send(wire_, c.terms_.body_limit);
}

void courier::let_go(call& c, bool keep) {
  const auto it = std::exchange(c.on_, nullptr);
  if (!it) return;
  it->serving = nullptr;
  auto& s = states_[it->place()];
  if (c.terms_.on == lane::waits) --s.waiting;
  if (keep) {
    s.idle.push_back(it);
  } else {
    it->close();
    --s.open;
  }
}

void courier::try_ended(call& c, try_end how, std::optional<duration> retry_after) {
  const auto next = c.tries_.after(how, retry_after, now(), places_.size(), chance());
  switch (next.what) {
    case retries::step::kind::at_once:
      return enqueue(c);
    case retries::step::kind::later:
      c.phase_ = call::phase::resting;
      deadlines_.schedule(c, next.at);
      return;
    case retries::step::kind::give_up:
      return give_up(c);
  }
}

void courier::give_up(call& c) {
  if (c.tries_.in_doubt()) {
    c.fail(make_error(errc::outcome_unknown, reasons()));
  } else if (c.last_refusal_) {
    c.fail(std::move(*c.last_refusal_));
  } else {
    c.fail(make_error(errc::engine_unavailable, reasons()));
  }
  finish(c);
}

void courier::finish(call& c) {
  c.phase_ = call::phase::over;
  deadlines_.cancel(c);
  elsewhere_.erase(call_list::s_iterator_to(c));
  if (c.number_ != 0) numbered_.erase(c.number_);
  std::unique_ptr<call> owned(&c);
  if (c.terms_.outside) return owned->deliver();
  tell(std::move(owned));
}

void courier::tell(std::unique_ptr<outcome> what) {
  auto* const last = what.get();
  (last_over_ ? last_over_->next_ : over_) = std::move(what);
  last_over_ = last;
}

void courier::abandon(std::uint64_t number) {
  const auto found = numbered_.find(number);
  if (found == numbered_.end()) return;
  auto& c = *found->second;
  if (c.phase_ == call::phase::queued) {
    auto& queue = queues_[static_cast<std::size_t>(c.terms_.on)];
    queue.erase(call_list::s_iterator_to(c));
    elsewhere_.push_back(c);
  }
  const bool doubt = c.tries_.in_doubt();
  let_go(c, false);
  c.fail(make_error(doubt ? errc::outcome_unknown : errc::request_cancelled, {}));
  finish(c);
}

void courier::stop(unique_function<void()> done) {
  stopped_ = true;
  for (auto& queue : queues_) elsewhere_.splice(elsewhere_.end(), queue);
  while (!elsewhere_.empty()) {
    auto& c = elsewhere_.front();
    const bool doubt = c.tries_.in_doubt();
    let_go(c, false);
    c.fail(make_error(doubt ? errc::outcome_unknown : errc::engine_unavailable, "the client is closed"));
    finish(c);
  }
  for (auto& s : states_)
    for (const auto& idle : std::exchange(s.idle, {})) idle->close();
  timer_.cancel();
  stop_done_ = std::move(done);
}

void courier::flush() {
  if (flushing_) return;  // whoever flushes comes back here
  flushing_ = true;
  pump();
  while (over_) {
    last_over_ = nullptr;
    // Whoever is told goes on on this thread, when the strand is left, and calls again from there.
    strand_.run([chain = std::move(over_)]() mutable {
      while (chain) {
        chain->deliver();
        chain = std::move(chain->next_);
      }
    });
    pump();
  }
  flushing_ = false;
  if (stop_done_) return strand_.run([done = std::exchange(stop_done_, nullptr)]() mutable { done(); });
  if (!stopped_) arm();
}

void courier::help() {
  const bool outer = std::exchange(flushing_, false);  // which stands still meanwhile
  flush();
  io_.run_one();
  flushing_ = outer;
}

// Connections

void courier::on_connected(connection& c) {
  send(*c.serving);
  flush();
}

void courier::on_reply(connection& on) {
  auto& c = *on.serving;
  const auto& got = on.replies().current();
  auto r = c.on_reply(got, c.sent_at_);
  const bool keep = on.replies().keep_alive();
  switch (r.what) {
    case ruling::kind::finished:
      choice_.worked(on.place());
      let_go(c, keep);
      finish(c);
      break;
    case ruling::kind::ask_again:
    case ruling::kind::start_anew:
      choice_.worked(on.place());
      if (r.what == ruling::kind::ask_again) {
        c.tries_.answered_unfinished();
      } else {
        c.tries_.start_anew();
      }
      if (keep) {
        send(c);
      } else {
        let_go(c, false);
        enqueue(c);
      }
      break;
    case ruling::kind::refused:
    case ruling::kind::doubtful: {
      failed(on.place(), to_string(r.why.code));
      c.last_refusal_ = std::move(r.why);
      const auto after = got.retry_after;
      let_go(c, keep);
      try_ended(c, r.what == ruling::kind::refused ? try_end::refused : try_end::doubtful, after);
      break;
    }
    case ruling::kind::nonsense:
      failed(on.place(), "does not answer like a lock service (status " + std::to_string(got.status) + ")");
      let_go(c, false);
      try_ended(c, try_end::no_answer);
      break;
  }
  flush();
}

void courier::on_lost(connection& on, std::string_view why) {
  const auto where = on.place();
  auto& s = states_[where];
  if (!on.serving) {
    --s.open;
    std::erase_if(s.idle, [&](const auto& one) { return one.get() == &on; });
    return flush();
  }
  auto& c = *on.serving;
  const bool was_sent = c.phase_ == call::phase::sent;
  const bool stale = was_sent && on.used() && !on.reply_begun();
  let_go(c, false);
  if (stale) {
    c.fresh_ = true;
    try_ended(c, try_end::stale);
  } else {
    failed(where, why);
    try_ended(c, was_sent ? try_end::no_answer : try_end::not_sent);
  }
  flush();
}

void courier::failed(std::size_t place, std::string_view why) {
  choice_.failed(place, now());
  states_[place].last_failure = why;
}

std::string courier::reasons() const {
  std::string out;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (states_[i].last_failure.empty()) continue;
    if (!out.empty()) out += "; ";
    out.append(places_[i].authority).append(": ").append(states_[i].last_failure);
  }
  return out;
}

// Time

void courier::on_time() {
  const auto present = now();
  while (auto* due = deadlines_.due(present)) {
    auto& c = static_cast<call&>(*due);
    switch (c.phase_) {
      case call::phase::queued: {
        auto& queue = queues_[static_cast<std::size_t>(c.terms_.on)];
        queue.erase(call_list::s_iterator_to(c));
        elsewhere_.push_back(c);
        if (c.tries_.in_doubt() || c.last_refusal_) {
          give_up(c);
        } else {
          c.never_sent(make_error(errc::engine_unavailable, "no connection came free in time"));
          finish(c);
        }
        break;
      }
      case call::phase::connecting:
        failed(c.on_->place(), "the connection was not made in time");
        let_go(c, false);
        try_ended(c, try_end::not_sent);
        break;
      case call::phase::sent:
        failed(c.on_->place(), "no answer in time");
        let_go(c, false);
        try_ended(c, try_end::no_answer);
        break;
      case call::phase::resting:
        enqueue(c);
        break;
      case call::phase::over:
        break;
    }
  }
  flush();
}

void courier::arm() {
  if (deadlines_.next() >= armed_for_) return;  // what is armed rings earlier
  armed_for_ = deadlines_.next();
  const auto wait = std::clamp(armed_for_ - now(), duration::zero(), longest_sleep);
  timer_.expires_after(wait);
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (ec) return;
    armed_for_ = never;
    on_time();
  });
}

}  // namespace dislock::library::remote
