#include "engines/redis/wire/opening.hpp"

#include "engines/redis/wire/command.hpp"

#include <array>

namespace dislock::redis {
namespace {

template <class... Words>
void say(std::string& out, const Words&... words) {
  append_command(out, std::array<std::string_view, sizeof...(Words)>{words...});
}

// `AUTH was refused: WRONGPASS`. Only the code word of an answer to AUTH: a server that does not know the
// command repeats its arguments.
std::string refused(std::string_view what, const reply& got, bool secret) {
  std::string out(what);
  if (!got.failed()) return out + " was answered with something else";
  out += " was refused: ";
  return out.append(secret ? got.error_word() : std::string_view(got.text).substr(0, 200));
}

}  // namespace

script::script(std::string text) : body(std::move(text)), digest(sha1_hex(body)) {
  append_word(by_digest, "EVALSHA");
  append_word(by_digest, digest);
  append_word(by_body, "EVAL");
  append_word(by_body, body);
}

std::size_t opening::write(std::string& out) {
  if (terms_.login && terms_.login->given) {
    const auto& l = *terms_.login;
    if (l.user.empty()) {
      say(out, "AUTH", l.password);
    } else {
      say(out, "AUTH", l.user, l.password);
    }
    steps_.push_back(step::login);
  }
  if (terms_.database != 0) {
    say(out, "SELECT", std::to_string(terms_.database));
    steps_.push_back(step::database);
  }
  if (!terms_.name.empty()) {
    say(out, "CLIENT", "SETNAME", terms_.name);
    steps_.push_back(step::name);
  }
  if (terms_.facts) {
    say(out, "INFO");
    steps_.push_back(step::facts);
  }
  for (const auto& s : terms_.scripts) {
    say(out, "SCRIPT", "LOAD", s.body);
    steps_.push_back(step::script);
  }
  return steps_.size();
}

std::string opening::take(reply&& got) {
  const bool ok = got.is == reply::kind::status && got.text == "OK";
  switch (steps_[taken_++]) {
    case step::login:
      return ok ? std::string() : refused("AUTH", got, true);
    case step::database:
      return ok ? std::string() : refused("SELECT " + std::to_string(terms_.database), got, false);
    case step::name:
      // A name is a courtesy. But a server that wants to know who speaks says so here.
      return got.error_word() == "NOAUTH" ? refused("the connection", got, false) : std::string();
    case step::facts:
      if (got.is != reply::kind::bulk) return refused("INFO", got, false);
      facts_ = server_facts(std::move(got.text));
      return facts_.is_loading() ? "the server is loading its data" : std::string();
    case step::script:
      if (got.is != reply::kind::bulk || got.text != terms_.scripts[scripts_taken_].digest)
        return refused("SCRIPT LOAD", got, false);
      ++scripts_taken_;
      return {};
  }
  return "an answer that nobody asked for";
}

}  // namespace dislock::redis
