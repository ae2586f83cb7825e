// Sessions.
#include "core/request_memory.hpp"
#include "engines/redis/script_engine.hpp"

#include <algorithm>
#include <utility>

namespace dislock::redis {

void script_engine::open_session(client_id who, duration ttl, request_id request,
                                 completion<answer<session_opened>> done) {
  auto q = question("open_session");
  const std::pair<lock_id, renewal_token> secret{secrets_.make<lock_id>(), {}};
  q.put_call({true, {}, who, request}, core::fingerprint("open").add(ttl).value())
      .put("ttl", ttl)
      .put_secrets({&secret, 1});
  decide(std::move(q).text(), [this, done = std::move(done)](const outcome& o) mutable {
    if (!o) return done(refuse(o.error()));
    if (o->verdict() == "refused") return done(read_refusal(o->out(), o->time()));
    const auto& row = o->out().at(1);
    session_opened out;
    out.id = session_id::parse(row.at(0).text).value_or(session_id{});
    out.public_id = static_cast<std::uint64_t>(row.at(1).number);
    out.end = o->time().ours(row.at(2).number);
    out.ttl = duration(row.at(3).number);
    in_use(out.end);
    tell_when_safe(out, *o, std::move(done));
  });
}

void script_engine::keep_session(session_id id, request_id request, completion<answer<session_kept>> done) {
  auto q = question("keep_session");
  q.put_call({true, {}, {}, request}, core::fingerprint("keep").add(id).value()).put("session", id);
  keep_on(id, std::move(q).text(), {never, 0}, std::move(done));
}

// The keys of the session's leases, piece by piece.
void script_engine::keep_on(session_id id, std::string text, session_kept so_far,
                            completion<answer<session_kept>> done) {
  decide(std::move(text), [this, id, so_far, done = std::move(done)](const outcome& o) mutable {
    if (!o) return done(refuse(o.error()));
    if (o->verdict() == "refused") return done(read_refusal(o->out(), o->time()));
    const auto& row = o->out().at(1);
    if (so_far.end == never) so_far.leases = static_cast<std::size_t>(row.at(1).number);
    so_far.end = std::min(so_far.end, o->time().ours(row.at(0).number));
    in_use(so_far.end);
    if (row.at(2).number < 0) return tell_when_safe(so_far, *o, std::move(done));
    auto next = question("keep_session");
    next.put("session", id).put("from", row.at(2).number);
    keep_on(id, std::move(next).text(), so_far, std::move(done));
  });
}

void script_engine::close_session(session_id id, request_id request,
                                  completion<answer<session_closed>> done) {
  auto q = question("close_session");
  q.put_call({true, {}, {}, request}, core::fingerprint("close").add(id).value()).put("session", id);
  simple<session_closed>(std::move(q), std::move(done), [this](const reply& row, const time_relation&) {
    next_sweep_ = now();  // more than one piece of it is taken apart then
    return answer<session_closed>(session_closed{static_cast<std::size_t>(row.at(0).number)});
  });
}

}  // namespace dislock::redis
