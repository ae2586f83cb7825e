#include "engines/redis/wire/question.hpp"

#include "engines/redis/wire/command.hpp"

namespace dislock::redis {

using namespace std::chrono_literals;

question::question(wiring& w, const credentials& login, const address& to,
                   std::span<const std::string_view> command, completion<result> done)
    : login_(login),
      command_(command),
      done_(std::move(done)),
      connection_(
          std::make_shared<connection>(w.io, w.time, static_cast<connection_user&>(*this), w.tls, w.replies)),
      alarm_(w.io, w.time, [this, limit = w.url.connect_timeout] {
        finish(refusal{"no answer within " + std::to_string(limit / 1ms) + " ms"});
      }) {
  alarm_.set(w.time.now() + w.url.connect_timeout);
  connection_->open(to);
}

question::~question() {
  connection_->close();
}

void question::on_connected(connection& c) {
  opening_.emplace(
      opening::terms{.login = &login_, .database = 0, .name = {}, .facts = false, .scripts = {}});
  for (auto left = opening_->write(c.out()); left > 0; --left) c.expect(nullptr);
  append_command(c.out(), command_);
  c.expect(nullptr);
  c.flush();
}

void question::on_reply(connection&, request*, reply&& got) {
  if (!opening_->complete()) {
    if (auto why = opening_->take(std::move(got)); !why.empty()) finish(refusal{std::move(why)});
    return;
  }
  if (got.failed()) return finish(refusal{got.text.substr(0, 200)});
  finish(std::move(got));
}

void question::on_lost(connection&, std::string_view why) {
  finish(refusal{std::string(why)});
}

void question::finish(result&& outcome) {
  alarm_.silence();
  connection_->close();
  auto done = std::move(done_);
  done(std::move(outcome));  // last: it may destroy this
}

}  // namespace dislock::redis
