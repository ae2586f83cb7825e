#include "library/remote/event_stream.hpp"

#include "library/remote/messages.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace dislock::library::remote {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t streams_kept = 8;
constexpr duration kept_for = seconds(30);
constexpr std::size_t events_unread = 10'000;               // as many as the service's log holds
constexpr std::size_t text_unread = std::size_t{16} << 20;  // one part of a snapshot can be some megabytes
constexpr std::size_t page_size = 1'000;
// How long a reader who does not wait gives a stream that has just been opened to say what is there.
constexpr duration settling = milliseconds(50);
constexpr duration pause_before_retry = milliseconds(200);

struct page_outcome final : outcome {
  completion<event_page> done;
  result<event_page> page = event_page{};
  void deliver() override { done(std::move(page)); }
};

std::optional<std::uint64_t> number(std::string_view s) {
  std::uint64_t n = 0;
  const auto [end, wrong] = std::from_chars(s.data(), s.data() + s.size(), n);
  if (wrong != std::errc{} || end != s.data() + s.size()) return std::nullopt;
  return n;
}

}  // namespace

// One stream and its one reader.
class event_streams::stream final : public std::enable_shared_from_this<stream>, private connection_user {
 public:
  stream(event_streams& of, std::string only, std::uint64_t after)
      : prefix(std::move(only)), of_(of), timer_(of.io_), newest_(after), told_(after) {}

  ~stream() { drop(); }

  const std::string prefix;

  [[nodiscard]] bool asked() const noexcept { return static_cast<bool>(done_); }
  [[nodiscard]] bool goes_on_after(std::uint64_t id) const noexcept {
    return !asked() && id != 0 && id == told_;
  }

  void ask(std::uint64_t id, duration wait, completion<event_page> done) {
    done_ = std::move(done);
    learn_newest_ = id == 0;
    waits_ = wait > duration::zero();
    answered_ = false;
    until_ = wait_until_ = later(of_.courier_.now(), wait);
    // Nobody is told "nothing happened" who never got through.
    if (!connected()) until_ = std::max(until_, later(of_.courier_.now(), of_.request_timeout_));
    if (!answer_with_what_is_there() && !connection_) open();
    watch();
  }

  void end(std::optional<error> why) {
    drop();
    if (why && asked()) tell(std::move(*why));
    timer_.cancel();
  }

 private:
  void open() {
    text_ = {};
    const auto place = of_.courier_.pick();
    connection_user& self = *this;
    connection_ = std::make_shared<connection>(of_.io_, self, place);
    connection_->connect(of_.courier_.places()[place]);
  }

  void drop() {
    if (const auto it = std::exchange(connection_, nullptr)) it->close();
    begun_ = false;
  }

  void on_connected(connection& c) override {
    std::string request = "GET /events";
    if (!prefix.empty()) append_query_value(request += "?prefix=", prefix);
    request.append(" HTTP/1.1\r\nHost: ").append(of_.courier_.places()[c.place()].authority);
    if (newest_ != 0) request.append("\r\nLast-Event-ID: ").append(std::to_string(newest_));
    request += "\r\nAccept: text/event-stream\r\n\r\n";
    c.send(request, text_unread, true);
  }

  void on_stream(connection& c) override {
    if (c.replies().current().status != 200) return;  // a problem, when it is complete
    text_.feed(c.replies().take_body());
    while (auto block = text_.next())
      if (!take(*block)) return on_lost(c, "the events are malformed");
    if (text_.unread() > text_unread) return on_lost(c, "an event is too large");
    if (!asked() && events_.size() >= events_unread) drop();  // its reader resumes by id
    answer_with_what_is_there();
    watch();
    of_.courier_.flush();
  }

  bool take(const event_block& block) {
    const auto id = block.id ? number(*block.id) : std::optional<std::uint64_t>(0);
    if (!id) return false;
    if (!std::exchange(begun_, true)) {
      of_.courier_.worked(connection_->place());
      answered_ = true;
      until_ = std::max(wait_until_, later(of_.courier_.now(), waits_ ? duration::zero() : settling));
    }
    if (block.event.empty()) {  // where the stream begins
      newest_ = std::max(newest_, *id);
      return true;
    }
    auto e = read_event(block.data);
    if (!e) return false;
    newest_ = std::max(newest_, e->id);
    if (e->type == "reset") {
      reset_ = true;
      events_.clear();
      newest_ = e->id;
    } else if (e->type != "snapshot") {
      events_.push_back(std::move(*e));
    }
    return true;
  }

  // A problem instead of a stream, or its proper end.
  void on_reply(connection& c) override {
    const auto& got = c.replies().current();
    auto why = got.status == 200 ? std::nullopt : read_problem(got);
    if (why && ruling_of(why->code) == ruling::kind::finished && asked()) {
      drop();
      tell(std::move(*why));
      return of_.courier_.flush();
    }
    on_lost(c, why ? to_string(why->code) : "the stream ended");
  }

  void on_lost(connection& c, std::string_view why) override {
    const auto place = c.place();
    const bool was_begun = begun_;
    drop();
    if (!was_begun || why != "the stream ended") of_.courier_.failed(place, why);
    if (asked()) {
      if (!answer_with_what_is_there() && !waits_) {
        give_up();
      } else {
        retry_at_ = later(of_.courier_.now(), pause_before_retry);
      }
    }
    watch();
    of_.courier_.flush();
  }

  bool answer_with_what_is_there() {
    if (!asked()) return true;
    if (learn_newest_ && begun_ && newest_ != 0) {
      event_page page;
      page.newest = newest_;
      events_.clear();
      tell(std::move(page));
      return true;
    }
    if (events_.empty() && !reset_) return false;
    event_page page;
    page.reset = std::exchange(reset_, false);
    if (events_.size() <= page_size) {
      page.events = std::exchange(events_, {});
      page.newest = newest_;
    } else {
      page.events.assign(std::make_move_iterator(events_.begin()),
                         std::make_move_iterator(events_.begin() + page_size));
      events_.erase(events_.begin(), events_.begin() + page_size);
      page.newest = page.events.back().id;
    }
    tell(std::move(page));
    return true;
  }

  void give_up() {
    if (answered_ || connected()) {
      event_page page;
      page.newest = newest_;
      return tell(std::move(page));
    }
    error why;
    why.code = errc::engine_unavailable;
    why.detail = of_.courier_.reasons();
    tell(std::move(why));
  }

  [[nodiscard]] bool connected() const noexcept { return connection_ && begun_; }

  void tell(result<event_page> what) {
    if (what) told_ = what->newest;
    auto out = std::make_unique<page_outcome>();
    out->done = std::exchange(done_, nullptr);
    out->page = std::move(what);
    of_.courier_.tell(std::move(out));
    idle_since_ = of_.courier_.now();
  }

  void watch() {
    const auto next =
        asked() ? (connection_ ? until_ : std::min(until_, retry_at_)) : later(idle_since_, kept_for);
    timer_.expires_after(std::clamp<duration>(next - of_.courier_.now(), duration::zero(), seconds(1)));
    timer_.async_wait([self = weak_from_this()](const boost::system::error_code& ec) {
      const auto it = self.lock();
      if (!ec && it) it->on_time();
    });
  }

  void on_time() {
    const auto now = of_.courier_.now();
    if (asked()) {
      if (now >= until_) {
        give_up();
      } else if (!connection_ && now >= retry_at_) {
        open();
      }
    } else if (now >= later(idle_since_, kept_for)) {
      drop();
      of_.streams_.remove(shared_from_this());
      return;
    }
    watch();
    of_.courier_.flush();
  }

  event_streams& of_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<connection> connection_;
  event_text text_;
  std::vector<lock_event> events_;  // unread
  std::uint64_t newest_;            // seen here
  std::uint64_t told_;              // up to where the reader has read
  bool begun_ = false;              // the service has said where the stream begins
  bool reset_ = false;

  completion<event_page> done_;
  bool learn_newest_ = false, waits_ = false, answered_ = false;
  instant wait_until_{}, until_{}, retry_at_{}, idle_since_{};
};

event_streams::event_streams(boost::asio::io_context& io, courier& with, const client_options& options)
    : io_(io), courier_(with), request_timeout_(options.request_timeout) {}

event_streams::~event_streams() = default;

void event_streams::ask(std::uint64_t id, std::string prefix, duration wait, completion<event_page> done) {
  const auto known = std::find_if(streams_.begin(), streams_.end(),
                                  [&](const auto& s) { return s->prefix == prefix && s->goes_on_after(id); });
  if (known != streams_.end()) {
    streams_.splice(streams_.end(), streams_, known);
  } else {
    const auto idle =
        std::find_if(streams_.begin(), streams_.end(), [](const auto& s) { return !s->asked(); });
    if (streams_.size() >= streams_kept && idle != streams_.end()) {
      (*idle)->end({});
      streams_.erase(idle);
    }
    streams_.push_back(std::make_shared<stream>(*this, std::move(prefix), id));
  }
  const auto s = streams_.back();
  s->ask(id, wait, std::move(done));
}

void event_streams::stop() {
  for (const auto& s : std::exchange(streams_, {})) {
    error why;
    why.code = errc::engine_unavailable;
    why.detail = "the client is closed";
    s->end(std::move(why));
  }
}

}  // namespace dislock::library::remote
