#include "engines/redis/wire/map_reader.hpp"

#include "engines/redis/wire/retry.hpp"

#include <algorithm>
#include <utility>

namespace dislock::redis {
namespace {

constexpr duration pause = std::chrono::milliseconds(100);  // between two readings

}  // namespace

void map_reader::begin_soon() {
  if (stopped_ || question_ || alarm_.at() != never) return;
  alarm_.set(std::max(wiring_.time.now(), not_before_));
}

void map_reader::begin() {
  if (stopped_) return;
  candidates_.clear();
  const auto add = [&](const address& a) {
    if (std::find(candidates_.begin(), candidates_.end(), a) == candidates_.end()) candidates_.push_back(a);
  };
  std::vector<address> connected, others;
  user_.name_nodes(connected, others);
  for (const auto& seed : wiring_.url.places) add(seed);
  std::shuffle(candidates_.begin(), candidates_.end(), wiring_.random);
  candidates_.insert(candidates_.end(), others.begin(), others.end());
  std::shuffle(connected.begin(), connected.end(), wiring_.random);
  candidates_.insert(candidates_.end(), connected.begin(), connected.end());
  ask();
}

void map_reader::stop() {
  stopped_ = true;
  alarm_.silence();
  question_.reset();
}

void map_reader::ask() {
  if (candidates_.empty()) {
    question_.reset();
    not_before_ = wiring_.time.now() + rest_after(++failures_, wiring_.chance());
    return alarm_.set(not_before_);
  }
  const auto asked = candidates_.back();
  candidates_.pop_back();
  static constexpr std::string_view command[] = {"CLUSTER", "SLOTS"};
  question_ =
      std::make_unique<question>(wiring_, wiring_.url.login, asked, std::span(command),
                                 [this, asked](question::result got) { on_answer(asked, std::move(got)); });
}

void map_reader::on_answer(const address& asked, question::result&& got) {
  auto map = got ? slot_map::from(*got, asked) : std::nullopt;
  if (!map) {
    trouble_ = asked.text() + ": " + (got ? "knows no slots" : got.error().why);
    return ask();
  }
  question_.reset();
  failures_ = 0;
  not_before_ = wiring_.time.now() + pause;
  user_.on_map(std::move(*map));
}

}  // namespace dislock::redis
