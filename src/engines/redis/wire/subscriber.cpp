#include "engines/redis/wire/subscriber.hpp"

#include "engines/redis/wire/command.hpp"

#include <algorithm>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

constexpr duration ping_every = 1s;
constexpr duration longest_silence = 3s;  // a message that is missed costs a waiter until the next slow poll

}  // namespace

subscriber::subscriber(wiring& w, const credentials& login, subscriber_user& user)
    : wiring_(w), login_(login), user_(user), alarm_(w.io, w.time, [this] { ring(); }) {}

subscriber::~subscriber() {
  detach();
}

void subscriber::add(const std::vector<std::string>& channels) {
  const auto before = channels_.size();
  for (const auto& c : channels)
    if (std::find(channels_.begin(), channels_.end(), c) == channels_.end()) channels_.push_back(c);
  if (listening_ && channels_.size() > before) subscribe(before);
}

void subscriber::attach(const address& to) {
  peer_ = to;
  connection_ = std::make_shared<connection>(wiring_.io, wiring_.time, static_cast<connection_user&>(*this),
                                             wiring_.tls, wiring_.replies);
  alarm_.set(wiring_.time.now() + wiring_.url.connect_timeout);
  connection_->open(to);
}

void subscriber::detach() noexcept {
  alarm_.silence();
  opening_.reset();
  listening_ = false;
  if (connection_) std::exchange(connection_, nullptr)->close();
}

void subscriber::on_connected(connection& c) {
  opening_.emplace(opening::terms{
      .login = &login_, .database = 0, .name = wiring_.url.client_name, .facts = false, .scripts = {}});
  for (auto left = opening_->write(c.out()); left > 0; --left) c.expect(nullptr);
  c.allow_pushes();
  confirmed_ = 0;
  listening_ = true;
  subscribe(0);
}

void subscriber::subscribe(std::size_t from) {
  auto& out = connection_->out();
  append_count(out, 1 + channels_.size() - from);
  append_word(out, "SUBSCRIBE");
  for (; from < channels_.size(); ++from) append_word(out, channels_[from]);
  connection_->flush();
}

void subscriber::on_reply(connection&, request*, reply&& got) {
  if (!opening_->complete()) {
    if (const auto why = opening_->take(std::move(got)); !why.empty()) lose(why);
    return;
  }
  const auto& what = got.at(0).text;
  if (what == "message") return user_.on_message(got.at(1).text, got.at(2).text);
  if (what == "pong") {
    pinged_ = never;
    return;
  }
  if (got.failed()) return lose("SUBSCRIBE was refused: " + got.text.substr(0, 200));
  if (what != "subscribe" || ++confirmed_ != channels_.size()) return;
  pinged_ = never;
  alarm_.set(wiring_.time.now() + ping_every);
  user_.on_subscribed();
}

void subscriber::on_lost(connection& c, std::string_view why) {
  if (&c == connection_.get()) lose(why);
}

void subscriber::ring() {
  const auto now = wiring_.time.now();
  if (confirmed_ < channels_.size() && pinged_ == never)
    return lose("no subscription within " + std::to_string(wiring_.url.connect_timeout / 1ms) + " ms");
  if (pinged_ != never && now - std::max(pinged_, connection_->heard()) >= longest_silence)
    return lose("silent");
  if (pinged_ == never && !connection_->blocked()) {
    constexpr std::string_view ping[] = {"PING"};
    append_command(connection_->out(), ping);
    connection_->flush();
    pinged_ = now;
  }
  alarm_.set(now + ping_every);
}

void subscriber::lose(std::string_view why) {
  const std::string sentence(why);
  detach();
  user_.on_subscription_lost(sentence);
}

}  // namespace dislock::redis
