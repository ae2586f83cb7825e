#include "server/event_streams.hpp"

#include "http/json_writer.hpp"
#include "server/no_store.hpp"
#include "server/replies.hpp"

namespace dislock::server {
namespace {

constexpr duration heartbeat = std::chrono::seconds(15);
constexpr std::size_t locks_per_snapshot = 100;

bool wanted(const logged_event& e, std::string_view prefix) {
  return prefix.empty() || (!e.lock.empty() && std::string_view(e.lock).starts_with(prefix));
}

void append_data(std::string& out, const logged_event& e) {
  http::json_writer w(out);
  w.begin_object()
      .member("id", std::to_string(e.id))
      .key("at")
      .time(to_epoch(e.at))
      .member("type", to_string(e.type));
  if (!e.lock.empty()) w.member("lockName", e.lock);
  if (!e.client.empty()) w.member("clientId", e.client);
  if (e.token) w.member("fencingToken", to_number(*e.token));
  if (e.mode) w.member("mode", to_string(*e.mode));
  if (e.type == event_type::acquired || e.type == event_type::refused || e.type == event_type::cancelled)
    w.member("waitTime", to_ms(e.took));
  if (e.type == event_type::released || e.type == event_type::expired || e.type == event_type::forced)
    w.member("holdTime", to_ms(e.took));
  if (!e.reason.empty()) w.member("reason", e.reason);
  w.end_object();
}

}  // namespace

event_streams::event_streams(engine& of, loop& heartbeat_clock) : engine_(of), loop_(heartbeat_clock) {
  engine_.events().on_published([this] {
    if (!readers_.empty()) feed_all();
  });
  loop_.on_wake([this] { beat(); });
}

void event_streams::open(http::exchange& x, start from) {
  auto r = std::make_shared<reader>();
  r->out = x.start_stream(http::content_type::event_stream, no_store);
  if (!r->out) return;
  r->prefix = std::move(from.prefix);
  r->seen = from.last_seen.value_or(engine_.events().newest());
  const bool behind = from.unknown || !engine_.events().after(r->seen, [](auto&) { return false; });
  // A reconnect before the first event must not lose what happens in between.
  (void)r->out->write("retry: 1000\n" + (behind ? std::string() : "id: " + std::to_string(r->seen) + "\n") +
                      "\n");
  r->out->on_closed([weak = std::weak_ptr<reader>(r)] {
    if (const auto gone = weak.lock()) gone->closed = true;  // let go with the next event or beat
  });
  readers_.push_back(r);
  loop_.wake_at(later(loop_.now(), heartbeat));
  behind ? reset(r) : feed(*r);
}

// What became visible since this reader was last fed. A reader that the log has overtaken is reset.
void event_streams::feed(reader& r) {
  if (r.closed || r.in_snapshot) return;
  const bool reached = engine_.events().after(r.seen, [&](const logged_event& e) {
    r.seen = e.id;
    if (!wanted(e, r.prefix)) return true;
    line_ = "id: " + std::to_string(e.id) + "\nevent: ";
    line_.append(to_string(e.type)).append("\ndata: ");
    append_data(line_, e);
    line_ += "\n\n";
    return r.out->write(line_) && !r.closed;
  });
  if (!reached)
    for (const auto& each : readers_)
      if (each.get() == &r) return reset(each);
}

void event_streams::feed_all() {
  drop_closed();
  for (const auto& r : std::list(readers_)) feed(*r);
}

void event_streams::reset(const std::shared_ptr<reader>& r) {
  r->in_snapshot = true;
  r->seen = engine_.events().newest();
  line_ = "event: reset\ndata: ";
  http::json_writer w(line_);
  w.begin_object()
      .member("id", std::to_string(r->seen))
      .key("at")
      .time(to_epoch(loop_.now()))
      .member("type", "reset")
      .end_object();
  line_ += "\n\n";
  if (r->out->write(line_)) snapshot(r, 0);
}

// One part after the other, each from its own page, so that a million locks do not stop the service.
void event_streams::snapshot(const std::shared_ptr<reader>& r, std::uint64_t cursor) {
  engine_.list({r->prefix, {}}, cursor, locks_per_snapshot, [this, r](answer<page<lock_view>> found) {
    if (r->closed || !r->out || !r->out->is_open()) return;
    if (!found) return r->out->close();
    const bool last = !found->next;
    line_ = last ? "id: " + std::to_string(r->seen) + "\n" : std::string();
    line_ += "event: snapshot\ndata: ";
    http::json_writer w(line_);
    w.begin_object()
        .member("id", std::to_string(r->seen))
        .key("at")
        .time(to_epoch(loop_.now()))
        .member("type", "snapshot");
    w.key("locks").begin_array();
    for (const auto& v : found->items) append_summary(w, v);
    w.end_array().member("more", !last).end_object();
    line_ += "\n\n";
    if (!r->out->write(line_)) return;
    if (last) {
      r->in_snapshot = false;
      return feed(*r);
    }
    loop_.defer([this, weak = std::weak_ptr<reader>(r), next = *found->next] {
      if (const auto still = weak.lock()) snapshot(still, next);
    });
  });
}

void event_streams::beat() {
  drop_closed();
  for (const auto& r : std::list(readers_)) (void)r->out->write(": still here\n\n");
  drop_closed();
  if (!readers_.empty()) loop_.wake_at(later(loop_.now(), heartbeat));
}

void event_streams::drop_closed() {
  readers_.remove_if([](const auto& r) { return r->closed || !r->out->is_open(); });
}

void event_streams::close_all() {
  for (const auto& r : readers_) r->out->close();
  readers_.clear();
}

}  // namespace dislock::server
