// Sessions: open, keep alive, close.
#include "server/service.hpp"

namespace dislock::server {

void service::open_session(incoming x) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  const auto who = in.id<client_id>("clientId", true);
  const auto request = in.id<request_id>("requestId");
  const auto ttl = in.seconds("ttl", engine_.about().min_ttl, settings_.max_timeout);
  if (!ttl) in.fail("ttl", "This field is required.");
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  engine_.open_session(who, *ttl, request, [x, this](answer<session_opened> a) {
    engine_answered(x, engine_operation::session);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;  // it ends by itself, and nobody has its id
    const auto now = time_.now();
    http::json_writer w(x->body());
    w.begin_object().member("sessionId", a->id.to_string()).member("publicId", std::to_string(a->public_id));
    w.key("expiresAt")
        .time(to_epoch(a->end))
        .member("ttl", to_ms(a->end - now))
        .member("elapsed", to_ms(now - x.started));
    w.end_object();
    (void)reply(x);
  });
}

void service::keep_session(incoming x) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  const auto id = in.secret_of<session_id>("sessionId", true);
  const auto request = in.id<request_id>("requestId");
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  engine_.keep_session(id, request, [x, this](answer<session_kept> a) {
    engine_answered(x, engine_operation::session);
    statistics_.on_renewal(static_cast<bool>(a), renewed_by::session, a ? a->leases : 1);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    const auto now = time_.now();
    http::json_writer w(x->body());
    w.begin_object().member("renewed", true).key("expiresAt").time(to_epoch(a->end));
    w.member("ttl", to_ms(a->end - now)).member("elapsed", to_ms(now - x.started)).end_object();
    (void)reply(x);
  });
}

void service::close_session(incoming x) {
  if (!no_query(x) || !parse_body(x)) return;
  fields in(body_, 0);
  const auto id = in.secret_of<session_id>("sessionId", true);
  const auto request = in.id<request_id>("requestId");
  if (const auto wrong = in.finish()) return refuse(x, *wrong);
  engine_.close_session(id, request, [x, this](answer<session_closed> a) {
    engine_answered(x, engine_operation::session);
    if (!a) return refuse(x, a.error(), nullptr);
    if (x->is_done()) return;
    http::json_writer(x->body())
        .begin_object()
        .member("closed", true)
        .member("released", a->released)
        .end_object();
    (void)reply(x);
  });
}

}  // namespace dislock::server
