// The same calls at the same instants twice, under two prefixes of one Redis: answers, and everything that is
// kept, are to be the same.
#pragma once

#include "engines/redis/asking.hpp"
#include "engines/redis/plain.hpp"
#include "engines/redis/scripts.hpp"
#include "frozen_server.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <random>

namespace dislock::redis {

using namespace std::chrono_literals;

inline constexpr std::int64_t far = 9'000'000'000'000'000, past = 1'000'000'000'000'000;
inline const std::string incarnation(40, 'a');

// Everything that is kept under one of two prefixes, which becomes `?`, with what is packed spelled out.
inline constexpr std::string_view everything = R"(
  local side, shown, out = ARGV[1], ARGV[2], {}
  local function spell(v)
    if type(v) ~= 'table' then return type(v) == 'number' and string.format('%.17g', v) or tostring(v) end
    local rows = {}
    for name, value in pairs(v) do rows[#rows + 1] = spell(name) .. '=' .. spell(value) end
    table.sort(rows)
    return '{' .. table.concat(rows, ' ') .. '}'
  end
  local function add(at)
    local kind, value = redis.call('TYPE', at).ok
    if kind == 'zset' then value = redis.call('ZRANGE', at, 0, -1, 'WITHSCORES') end
    if kind == 'set' then
      value = redis.call('SMEMBERS', at)
      table.sort(value)
    end
    if kind == 'hash' then value = redis.call('HGETALL', at) end
    if kind == 'string' then
      value = redis.call('GET', at)
      local name = string.sub(at, #side + 1)
      local packed = string.match(name, '^lock:') or string.match(name, '^waiter:') or string.match(name, '^m:')
      if packed and not string.match(value, '^[CSW]') then value = cmsgpack.unpack(value) end
    end
    if kind == 'hash' then
      local rows = {}
      for i = 1, #value, 2 do rows[value[i]] = value[i + 1] end
      value = rows
    end
    local life = redis.call('PTTL', at)
    -- The crowded case prolongs the life of a queue only now and then.
    if string.match(at, '^' .. side .. 'queue:') then life = life > 3480000 and life < 3700000 and 'an hour' or life end
    local row = at .. ' ' .. life .. ' ' .. spell(value)
    out[#out + 1] = string.gsub(string.gsub(row, side, '?:'), shown, '!:')
  end
  for _, at in ipairs(redis.call('KEYS', side .. '*')) do add(at) end
  for _, at in ipairs(redis.call('KEYS', shown .. '*')) do add(at) end
  table.sort(out)
  return table.concat(out, '\n')
)";

inline std::string text_of(const reply& r) {
  if (r.is == reply::kind::integer) return std::to_string(r.number);
  if (r.is != reply::kind::array) return r.text;
  std::string out = "[";
  for (const auto& each : r.items) out += text_of(each) + ", ";
  return out + ']';
}

class TwoSides : public testing::Test {
 protected:
  struct side {
    std::string prefix, shown;
    bool callers_are_here = false;
    [[nodiscard]] house_rules rules_of(std::string_view replica) const {
      return {.side_prefix = prefix,
              .canonical_prefix = shown,
              .replica = std::string(replica),
              .waiter_grace = 5s,
              .request_memory = 1s,
              .replica_lapse = 3s,
              .ahead = 2s,
              .covered = 30s,
              .queue_max = 6,
              .callers_are_here = callers_are_here && replica == "first"};
    }
    [[nodiscard]] plain_terms terms_of(std::string_view replica) const {
      return {prefix, shown, house_words(rules_of(replica)), 1s, 30s};
    }
  };
  TwoSides() : clock_(folder_.path("clock")), port_(free_port()) {
    clock_.set(instant(time_));
    server_.emplace(testing_engines::frozen_server_words(folder_, port_));
    EXPECT_TRUE(comes_true([&] { return test_line(port_).open(); }));
    line_.emplace(port_);
    digest_ = line_->say({"SCRIPT", "LOAD", table_script}).text;
    const auto n = [](std::int64_t number) { return std::to_string(number); };
    for (const auto* s : {&a_, &b_})
      line_->say({"SET", s->prefix + "fence",
                  incarnation.substr(0, 16) + n(past) + n(far) + n(far) + n(far) + n(far) + n(past)});
  }

  std::uint64_t upto(std::uint64_t n) { return random_() % (n + 1); }
  bool chance(std::uint64_t one_in) { return upto(one_in - 1) == 0; }

  reply run(const script_words& words) {
    const auto all = words.all();
    std::vector<std::string> out{"EVALSHA", digest_, std::to_string(all.keys.size())};
    out.insert(out.end(), all.keys.begin(), all.keys.end());
    out.insert(out.end(), {incarnation, std::string(all.arguments.front()), std::to_string(far)});
    out.insert(out.end(), all.arguments.begin() + 1, all.arguments.end());
    const std::vector<std::string_view> views(out.begin(), out.end());
    line_->send_words(views);
    return line_->receive();
  }
  template <class Fill>
  reply ask_rules(const side& s, std::string_view replica, std::string_view verb, Fill fill) {
    ask q(ask::common(s.rules_of(replica)), verb);
    fill(q);
    script_words words;
    words.key({s.prefix, "fence"}).word({std::move(q).text()});
    return run(words);
  }
  // Everything under the two prefixes of a side.
  std::string kept(const side& s) { return line_->say({"EVAL", everything, "0", s.prefix, s.shown}).text; }

  side a_{"one:", "see1:"}, b_{"two:", "see2:"};
  test_folder folder_;
  // Whole milliseconds, as the store counts the lives of its keys.
  duration time_ = std::chrono::seconds(1'900'000'000);
  testing_engines::server_clock clock_;
  std::uint16_t port_;
  std::optional<test_process> server_;
  std::optional<test_line> line_;
  std::string digest_;
  std::mt19937_64 random_;
};

}  // namespace dislock::redis
