#include "engines/redis/telling.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace dislock::redis {
namespace {

constexpr std::int64_t store_never = 9007199254740991;

std::int64_t number_in(std::string_view text) {
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

// A number as one, or as text.
std::int64_t number_of(const reply& r) {
  return r.is == reply::kind::integer ? r.number : number_in(r.text);
}

fencing_token token_in(const reply& r) {
  return fencing_token{static_cast<std::uint64_t>(r.number)};
}

std::uint32_t small(const reply& r) {
  return static_cast<std::uint32_t>(r.number);
}

lock_mode mode_in(std::string_view word) {
  if (word == "shared") return lock_mode::shared;
  if (word == "semaphore") return lock_mode::semaphore;
  return lock_mode::exclusive;
}

std::optional<event_type> event_type_in(std::string_view word) {
  for (auto t = event_type::acquired;; t = static_cast<event_type>(static_cast<int>(t) + 1)) {
    if (to_string(t) == word) return t;
    if (t == event_type::session_expired) return std::nullopt;
  }
}

template <class Secret>
Secret secret_in(const reply& r) {
  return Secret::parse(r.text).value_or(Secret{});
}

holder_view read_holder(const reply& row, const time_relation& time) {
  holder_view v;
  v.client = row.at(0).text;
  v.token = token_in(row.at(1));
  v.mode = mode_in(row.at(2).text);
  v.permits = small(row.at(3));
  v.hold_count = small(row.at(4));
  v.acquired_at = time.ours(row.at(5).number);
  v.end = time.ours(row.at(6).number);
  v.auto_renew = row.at(7).number != 0;
  v.session_bound = row.at(8).number != 0;
  v.metadata = row.at(9).text;
  return v;
}

}  // namespace

instant time_relation::ours(std::int64_t at) const noexcept {
  if (at >= store_never) return never;
  return sent + duration(at - now);
}

namespace {

reply text(std::string_view t) {
  reply out;
  out.is = reply::kind::bulk;
  out.text = t;
  return out;
}
reply number(std::int64_t n) {
  reply out;
  out.is = reply::kind::integer;
  out.number = n;
  return out;
}
template <class... Each>
reply row(Each&&... each) {
  reply out;
  out.is = reply::kind::array;
  out.items.reserve(sizeof...(each));
  (out.items.push_back(std::forward<Each>(each)), ...);
  return out;
}

// Fields of fixed width, and then some with a line end each.
class fields {
 public:
  explicit fields(std::string_view of) noexcept : left_(of) {}
  std::string_view next(std::size_t width) noexcept {
    const auto out = left_.substr(0, width);
    left_.remove_prefix(out.size());
    return out;
  }
  std::string_view instant() noexcept { return next(16); }
  std::string_view line() noexcept {
    const auto out = next(std::min(left_.find('\n'), left_.size()));
    next(1);
    return out;
  }

 private:
  std::string_view left_;
};

reply unfolded_wait(fields in) {
  const auto now = in.instant(), waiter = in.instant(), deadline = in.instant(), look = in.instant(),
             soonest = in.instant(), remembered = in.next(1);
  const auto client = in.line(), lock = in.line();
  auto out = row(text("queued"), text(waiter), number(0), number(number_in(deadline)),
                 number(number_in(remembered)), number(0));
  auto queued = row(text("queued"), text(lock), text(client), number(0), text(""), text(""), number(0));
  return row(text(now), std::move(out), row(std::move(queued)), row(), row(row(text(lock), text(look))),
             text(""), text(soonest));
}

reply unfolded_turn(fields in) {
  const auto now = in.instant(), look = in.instant(), stop = in.instant(), old_token = in.instant(),
             old_since = in.instant(), token = in.instant(), since = in.instant(), waiter = in.instant(),
             is_ours = in.next(1), id = in.next(32), renewal = in.next(32);
  const auto before = in.line(), client = in.line(), lock = in.line();
  const auto waited = number_in(now) - number_in(since);
  auto released = row(text("released"), text(lock), text(before), number(number_in(old_token)),
                      text("exclusive"), text("released"), number(number_in(now) - number_in(old_since)));
  auto acquired = row(text("acquired"), text(lock), text(client), number(number_in(token)), text("exclusive"),
                      text(""), number(waited));
  auto told = row(), looks = row();
  if (is_ours == "1") {
    auto lease =
        row(text(lock), text(id), text(renewal), number(number_in(token)), text("exclusive"), number(0),
            number(0), number(1), number(0), number(1), number(0), number(number_in(stop)), number(0));
    told.items.push_back(
        row(text(waiter), number(0),
            row(text("granted"), row(std::move(lease)), number(waited), number(0), number(0))));
  }
  if (number_in(look) > 0) looks.items.push_back(row(text(lock), text(look)));
  return row(text(now), row(text("done"), row(row(number(1), number(1), number(0)))),
             row(std::move(released), std::move(acquired)), std::move(told), std::move(looks), text(""),
             text(stop));
}

}  // namespace

reply unfolded(reply&& got) {
  if (got.is != reply::kind::bulk || got.text.empty()) return std::move(got);
  const fields rest(std::string_view(got.text).substr(1));
  if (got.text.front() == 'q') return unfolded_wait(rest);
  if (got.text.front() == 'g') return unfolded_turn(rest);
  return std::move(got);
}

std::optional<step> step::read(const reply& got, instant sent) {
  if (got.is != reply::kind::array || got.items.size() < 7) return std::nullopt;
  step out;
  out.time_ = {sent, number_in(got.at(0).text)};
  out.out_ = &got.at(1);
  out.events_ = &got.at(2);
  out.waiters_ = &got.at(3);
  out.looks_ = &got.at(4);
  out.shut_ = &got.at(5);
  out.soonest_ = &got.at(6);
  return out;
}

std::vector<told_event> step::events() const {
  std::vector<told_event> out;
  for (const auto& row : events_->items) {
    const auto type = event_type_in(row.at(0).text);
    if (!type) continue;
    told_event e;
    e.type = *type;
    e.lock = row.at(1).text;
    e.client = row.at(2).text;
    if (row.at(3).number > 0) e.token = token_in(row.at(3));
    if (!row.at(4).text.empty()) e.mode = mode_in(row.at(4).text);
    e.reason = row.at(5).text;
    e.took = duration(row.at(6).number);
    out.push_back(std::move(e));
  }
  return out;
}

instant step::soonest() const noexcept {
  return time_.ours(number_of(*soonest_));
}

std::uint64_t number_at_start(std::string_view text) noexcept {
  std::uint64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

namespace {

// Between the words of an event, and behind each event. Reasons are printable; names have neither.
constexpr char word_end = '\x1f', event_end = '\x1e';

// Cuts off what is before the mark, or all.
std::string_view take(std::string_view& text, char mark) {
  const auto at = std::min(text.find(mark), text.size());
  const auto out = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return out;
}

}  // namespace

void write_event(std::string& out, const told_event& e, std::int64_t at) {
  const auto word = [&out](std::string_view w) { out.append(w) += word_end; };
  const auto number = [&](std::int64_t n) {
    char digits[24];
    word({digits, static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, n).ptr - digits)});
  };
  word(to_string(e.type));
  number(at);
  word(e.lock);
  word(e.client);
  number(e.token ? static_cast<std::int64_t>(to_number(*e.token)) : 0);
  word(e.mode ? to_string(*e.mode) : std::string_view());
  word(e.reason);
  number(e.took.count());
  out += event_end;
}

void read_events(const reply& entry, const std::function<void(const told_event&, std::int64_t at)>& visit) {
  const auto& fields = entry.at(1).items;
  for (std::size_t i = 0; i + 1 < fields.size(); i += 2) {
    if (fields[i].text != "events") continue;
    for (std::string_view text = fields[i + 1].text; !text.empty();) {
      auto words = take(text, event_end);
      const auto type = event_type_in(take(words, word_end));
      if (!type) continue;
      told_event e;
      e.type = *type;
      const auto at = number_in(take(words, word_end));
      e.lock = take(words, word_end);
      e.client = take(words, word_end);
      if (const auto token = number_at_start(take(words, word_end)); token > 0)
        e.token = fencing_token{token};
      if (const auto mode = take(words, word_end); !mode.empty()) e.mode = mode_in(mode);
      e.reason = take(words, word_end);
      e.took = duration(number_in(take(words, word_end)));
      visit(e, at);
    }
  }
}

std::vector<told_waiter> step::waiters() const {
  std::vector<told_waiter> out;
  for (const auto& row : waiters_->items)
    out.push_back(
        {ticket{static_cast<std::uint64_t>(number_in(row.at(0).text))}, small(row.at(1)), &row.at(2)});
  return out;
}

std::vector<told_look> step::looks() const {
  std::vector<told_look> out;
  for (const auto& row : looks_->items) out.push_back({row.at(0).text, time_.ours(number_of(row.at(1)))});
  return out;
}

granted read_granted(const reply& out, const time_relation& time) {
  granted got;
  for (const auto& row : out.at(1).items) {
    grant g;
    got.locks.push_back(row.at(0).text);
    g.id = secret_in<lock_id>(row.at(1));
    g.renewal = secret_in<renewal_token>(row.at(2));
    g.token = token_in(row.at(3));
    g.mode = mode_in(row.at(4).text);
    g.session_bound = row.at(5).number != 0;
    g.provisional = row.at(6).number != 0;
    g.permits = small(row.at(7));
    g.limit = small(row.at(8));
    g.hold_count = small(row.at(9));
    g.told = small(row.at(10));
    g.end = time.ours(row.at(11).number);
    if (row.at(12).number > 0) g.renewed_until = time.ours(row.at(12).number);
    got.leases.push_back(g);
  }
  got.waited = duration(out.at(2).number);
  got.repeated = out.at(3).number != 0;
  got.claimed = out.at(4).number != 0;
  return got;
}

errc read_code(const reply& r) {
  return errc_from_string(r.text).value_or(errc::internal_error);
}

std::optional<end_reason> read_end(const reply& r) {
  for (auto how = end_reason::released;; how = static_cast<end_reason>(static_cast<int>(how) + 1)) {
    if (to_string(how) == r.text) return how;
    if (how == end_reason::undelivered) return std::nullopt;
  }
}

std::vector<holder_view> read_holders(const reply& rows, const time_relation& time) {
  std::vector<holder_view> out;
  for (const auto& row : rows.items) out.push_back(read_holder(row, time));
  return out;
}

refusal_ptr read_refusal(const reply& out, const time_relation& time) {
  auto why = std::make_shared<refusal>();
  why->code = read_code(out.at(1));
  why->waited = duration(out.at(2).number);
  why->lock = out.at(3).text;
  why->holders = read_holders(out.at(4), time);
  why->holder_count = static_cast<std::size_t>(out.at(5).number);
  why->queue_length = static_cast<std::size_t>(out.at(6).number);
  if (!out.at(7).text.empty()) why->mode = mode_in(out.at(7).text);
  why->limit = small(out.at(8));
  why->ended = read_end(out.at(9));
  for (const auto& row : out.at(10).items)
    why->cycle.push_back({row.at(0).text, row.at(1).text, row.at(2).text, row.at(3).number != 0});
  return why;
}

queued read_queued(const reply& out, const time_relation& time) {
  return {ticket{static_cast<std::uint64_t>(number_in(out.at(1).text))}, small(out.at(2)),
          time.ours(out.at(3).number), out.at(4).number != 0};
}

lock_view read_view(const reply& row, const time_relation& time) {
  lock_view v;
  v.name = row.at(0).text;
  v.locked = row.at(1).number != 0;
  v.mode = mode_in(row.at(2).text);
  v.limit = small(row.at(3));
  v.used = small(row.at(4));
  v.holders = read_holders(row.at(5), time);
  v.holder_count = static_cast<std::size_t>(row.at(6).number);
  for (const auto& w : row.at(7).items)
    v.waiters.push_back({w.at(0).text, mode_in(w.at(1).text), small(w.at(2)),
                         static_cast<std::size_t>(w.at(3).number), time.ours(w.at(4).number),
                         time.ours(w.at(5).number), w.at(6).number != 0});
  v.queue_length = static_cast<std::size_t>(row.at(8).number);
  if (row.at(9).number > 0) v.latest = token_in(row.at(9));
  if (row.at(10).number > 0) v.closed_until = time.ours(row.at(10).number);
  return v;
}

told_graph read_graph(const reply& out) {
  told_graph g;
  g.digest = out.at(1).text;
  for (const auto& client : out.at(2).items) g.clients.push_back(client.text);
  for (const auto& needs : out.at(3).items) {
    auto& mine = g.graph.clients.emplace_back();
    for (const auto& row : needs.items) {
      core::wait_for_graph::need need{static_cast<std::uint32_t>(g.locks.size()), small(row.at(1)), {}};
      g.locks.push_back(row.at(0).text);
      for (const auto& b : row.at(2).items) {
        if (b.at(0).number < 0 || b.at(0).number >= static_cast<std::int64_t>(g.clients.size())) return {};
        need.blockers.push_back({small(b.at(0)), small(b.at(1)), b.at(2).number != 0});
      }
      mine.push_back(std::move(need));
    }
  }
  g.graph.clients.resize(g.clients.size());
  return g;
}

}  // namespace dislock::redis
