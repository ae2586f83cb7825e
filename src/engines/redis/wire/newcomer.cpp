#include "engines/redis/wire/newcomer.hpp"

#include "engines/redis/wire/command.hpp"
#include "engines/redis/wire/lane.hpp"

namespace dislock::redis {

lane* newcomer::on() const noexcept {
  return *lane_ && (*lane_)->is_new(number_) ? *lane_ : nullptr;
}

void newcomer::ask(command_words words, unique_function<void(reply)> done) const {
  if (auto* l = on()) l->ask(words, std::move(done));
}

void newcomer::run(const script_call& what, unique_function<void(reply)> done) const {
  if (auto* l = on()) l->run(what, std::move(done));
}

void newcomer::accept() const {
  if (auto* l = on()) l->accept();
}

void newcomer::refuse(std::string_view why) const {
  if (auto* l = on()) l->turn_away(why);
}

}  // namespace dislock::redis
