#include "engines/redis/wire/sentinels.hpp"

#include "engines/redis/wire/retry.hpp"

#include <charconv>

namespace dislock::redis {
namespace {

using namespace std::chrono_literals;

// After the first answer, for the others: one of them may know of a newer configuration.
constexpr duration patience = 150ms;
constexpr duration ask_every = 10s;  // how many replicas there are is not announced in a message

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number out{};
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

}  // namespace

std::optional<sighting> parse_sighting(const reply& fields) {
  sighting out;
  for (std::size_t i = 0; i + 1 < fields.items.size(); i += 2) {
    const auto& name = fields.items[i].text;
    const auto& value = fields.items[i + 1].text;
    if (name == "ip") out.primary.host = value;
    if (name == "port") out.primary.port = number<std::uint16_t>(value).value_or(0);
    if (name == "config-epoch") out.epoch = number<std::int64_t>(value).value_or(-1);
    if (name == "flags") out.switching = value.find("failover_in_progress") != std::string::npos;
    if (name == "num-slaves") out.replicas = number<std::int64_t>(value).value_or(0);
  }
  if (out.primary.host.empty() || out.primary.port == 0) return std::nullopt;
  return out;
}

bool is_newer(const sighting& a, const sighting& b) noexcept {
  return a.epoch != b.epoch ? a.epoch > b.epoch : b.switching && !a.switching;
}

std::optional<address> parse_switch(std::string_view message, std::string_view master) {
  // name old-host old-port new-host new-port
  std::string_view words[5];
  for (auto& word : words) {
    word = message.substr(0, message.find(' '));
    message.remove_prefix(std::min(message.size(), word.size() + 1));
  }
  const auto port = number<std::uint16_t>(words[4]);
  if (words[0] != master || words[3].empty() || !port || *port == 0) return std::nullopt;
  return address{std::string(words[3]), *port};
}

/// Listens to one Sentinel, for ever.
class sentinels::ear final : private subscriber_user {
 public:
  ear(sentinels& owner, const address& where)
      : owner_(owner),
        where_(where),
        subscriber_(owner.wiring_, owner.wiring_.url.sentinel_login, *this),
        again_(owner.wiring_.io, owner.wiring_.time, [this] { subscriber_.attach(where_); }) {
    subscriber_.add({"+switch-master"});
    subscriber_.attach(where_);
  }

 private:
  void on_message(std::string_view, std::string_view text) override {
    const auto to = parse_switch(text, owner_.wiring_.url.master);
    if (to && owner_.known_ != to) owner_.check();
  }
  void on_subscribed() override {
    failures_ = 0;
    owner_.check();
  }
  void on_subscription_lost(std::string_view) override {
    again_.set(owner_.wiring_.time.now() + rest_after(++failures_, owner_.wiring_.chance()));
  }

  sentinels& owner_;
  const address where_;
  unsigned failures_ = 0;
  subscriber subscriber_;
  alarm again_;
};

sentinels::sentinels(wiring& w, unique_function<void(const address&)> moved)
    : wiring_(w),
      moved_(std::move(moved)),
      command_{"SENTINEL", "MASTER", w.url.master},
      patience_(w.io, w.time, [this] { conclude(); }),
      now_and_then_(w.io, w.time, [this] { check(); }) {}

sentinels::~sentinels() = default;

void sentinels::start() {
  now_and_then_.set(wiring_.time.now() + ask_every);
  for (const auto& place : wiring_.url.places) ears_.push_back(std::make_unique<ear>(*this, place));
}

void sentinels::find(completion<found> done) {
  if (known_) return done(*known_);
  finders_.push_back(std::move(done));
  ask();
}

// Something has happened, or may have while nobody listened.
void sentinels::check() {
  now_and_then_.set(wiring_.time.now() + ask_every);
  if (!known_) return;
  checking_ = true;
  ask_again_ = open_ > 0;
  ask();
}

void sentinels::ask() {
  if (open_ > 0) return;
  const auto& places = wiring_.url.places;
  best_.reset();
  refusals_.assign(places.size(), {});
  asked_.clear();
  open_ = places.size();
  for (std::size_t i = 0; i < places.size(); ++i)
    asked_.push_back(
        std::make_unique<question>(wiring_, wiring_.url.sentinel_login, places[i], std::span(command_),
                                   [this, i](question::result got) { on_answer(i, std::move(got)); }));
}

void sentinels::on_answer(std::size_t which, question::result&& got) {
  --open_;
  const auto seen = got ? parse_sighting(*got) : std::nullopt;
  if (seen) {
    if (!best_ || is_newer(*seen, *best_)) best_ = *seen;
    if (patience_.at() == never) patience_.set(wiring_.time.now() + patience);
  } else {
    refusals_[which] = got ? "says nothing of use" : got.error().why;
  }
  if (open_ == 0) conclude();
}

void sentinels::conclude() {
  patience_.silence();
  open_ = 0;
  asked_.clear();  // who has not answered by now is not heard any more
  if (std::exchange(ask_again_, false)) return ask();

  auto finders = std::exchange(finders_, {});
  if (best_) {
    replicas_ = best_->replicas;
    const bool elsewhere = std::exchange(checking_, false) && known_ && *known_ != best_->primary;
    known_ = best_->primary;
    if (elsewhere) moved_(*known_);
  }
  std::string why = "no Sentinel knows where '" + wiring_.url.master + "' is";
  for (std::size_t i = 0; i < refusals_.size(); ++i)
    if (!refusals_[i].empty()) why += "; " + wiring_.url.places[i].text() + ": " + refusals_[i];
  for (auto& done : finders) {
    if (best_) {
      done(best_->primary);
    } else {
      done(refusal{why});
    }
  }
}

}  // namespace dislock::redis
