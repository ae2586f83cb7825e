// Sessions: one heartbeat for many leases.
#include "core/lock_table.hpp"
#include "core/once.hpp"

#include <algorithm>

namespace dislock::core {
namespace {

call_id call_of(client_id who, request_id request) {
  return {true, {}, who, request};
}

}  // namespace

answer<session_opened> lock_table::open_session(instant now, client_id who, duration ttl,
                                                request_id request) {
  begin(now);
  const auto again = [&](memo& m) -> answer<session_opened> {
    const auto* remembered = settled_as<session_opened>(m);
    if (!remembered) return errc::request_id_reused;
    auto opened = *remembered;
    const auto* s = find_session(now, opened.id);
    if (!s) return errc::session_not_found;
    opened.end = s->end;
    return opened;
  };
  const auto decide = [&](auto note) -> answer<session_opened> {
    auto* s = new core::session;
    do {
      s->id = secrets_.make<session_id>();
    } while (sessions_.contains(s->id.bits[1]));
    s->public_id = next_number();
    s->owner = &obtain_client(who);
    ++s->owner->references;
    s->ttl = ttl;
    s->end = later(now, ttl);
    sessions_.emplace(s->id.bits[1], s);
    deadlines_.schedule(*s, s->end);
    keep(*s);
    event told;
    told.type = event_type::session_opened;
    told.at = now;
    told.client = who.view();
    observer_.on_event(told);
    const session_opened out{s->id, s->public_id, s->end, ttl};
    note(std::make_unique<settled>(out));
    return out;
  };
  return once<session_opened>(now, call_of(who, request), fingerprint("open").add(ttl).value(), again,
                              decide);
}

answer<session_kept> lock_table::keep_session(instant now, session_id id, request_id request) {
  begin(now);
  const auto again = [&](memo&) -> answer<session_kept> {
    const auto* s = find_session(now, id);
    if (!s) return errc::session_not_found;
    return session_kept{s->end, s->lease_count};
  };
  const auto decide = [&](auto note) -> answer<session_kept> {
    auto* s = find_session(now, id);
    if (!s) return errc::session_not_found;
    s->end = std::max(s->end, later(now, s->ttl));  // its leases end with it: nothing else to move
    s->moved_ms = 0;
    deadlines_.schedule(*s, s->end);
    keep(*s);
    const session_kept out{s->end, s->lease_count};
    note(std::make_unique<settled>(out));
    return out;
  };
  return once<session_kept>(now, call_of({}, request), fingerprint("keep").add(id).value(), again, decide);
}

answer<session_closed> lock_table::close_session(instant now, session_id id, request_id request) {
  begin(now);
  const auto again = [](memo& m) -> answer<session_closed> {
    if (const auto* done = settled_as<session_closed>(m)) return *done;
    return errc::request_id_reused;
  };
  const auto decide = [&](auto note) -> answer<session_closed> {
    auto* s = find_session(now, id);
    if (!s) return errc::session_not_found;
    const session_closed out{s->lease_count};
    start_ending(now, *s, end_reason::session_closed);
    note(std::make_unique<settled>(out));
    return out;
  };
  return once<session_closed>(now, call_of({}, request), fingerprint("close").add(id).value(), again, decide);
}

}  // namespace dislock::core
