// What a decision costs inside of Redis: the engine's own script for the plain case, beside the pair of
// scripts that everybody copies (SET NX PX, and delete if it is still mine). One connection, 32 calls at a
// time, in turns, against one server; only the ratios within one run mean anything.
//
//   redis-server --port 7777 --save '' & dislock_redis_script_bench --port 7777
#include "base/secrets.hpp"
#include "engines/redis/asking.hpp"
#include "engines/redis/plain.hpp"
#include "engines/redis/scripts.hpp"
#include "engines/redis/wire/command.hpp"

#include <CLI/CLI.hpp>
#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace dislock;
using namespace std::chrono_literals;

constexpr const char* take_text =
    "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end return 0";
constexpr const char* give_text =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
constexpr std::size_t at_a_time = 32, in_one_call = 8, crowd = 100;
const std::string incarnation(40, 'a');

using command = std::vector<std::string>;
struct pair_of_commands {
  command take, give;
};

class line {
 public:
  explicit line(std::uint16_t port) : context_(redisConnect("127.0.0.1", port), &redisFree) {
    if (!context_ || context_->err != 0) std::abort();
  }
  void send(const command& words) {
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const auto& w : words) {
      texts.push_back(w.data());
      sizes.push_back(w.size());
    }
    redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), texts.data(), sizes.data());
  }
  /// Ends the program unless it is of this type.
  std::string receive(int type) {
    void* got = nullptr;
    if (redisGetReply(context_.get(), &got) != REDIS_OK) std::abort();
    const auto* reply = static_cast<redisReply*>(got);
    if (reply->type != type) {
      std::fprintf(stderr, "not the plain case: a reply of type %d %s\n", reply->type,
                   reply->str ? reply->str : "");
      std::exit(1);
    }
    std::string text = reply->str ? std::string(reply->str, reply->len) : std::string();
    freeReplyObject(got);
    return text;
  }
  std::string ask(const command& words, int type) {
    send(words);
    return receive(type);
  }

 private:
  std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
};

// As the engine sends it: with the incarnation of the store, and the latest time that it can show.
command evalsha(const std::string& digest, const redis::script_words& words) {
  const auto all = words.all();
  command out{"EVALSHA", digest, std::to_string(all.keys.size())};
  out.insert(out.end(), all.keys.begin(), all.keys.end());
  out.push_back(incarnation);
  out.push_back(std::string(all.arguments.front()));
  out.push_back("9007199254740991");
  out.insert(out.end(), all.arguments.begin() + 1, all.arguments.end());
  return out;
}

std::vector<pair_of_commands> trivial_pairs(std::size_t count) {
  const auto take = redis::sha1_hex(take_text), give = redis::sha1_hex(give_text);
  system_secrets secrets;
  std::vector<pair_of_commands> out;
  for (std::size_t i = 0; i < count; ++i) {
    const auto key = "lock:orders/" + std::to_string(i), id = secrets.make<lock_id>().to_string();
    out.push_back({{"EVALSHA", take, "1", key, id, "30000"}, {"EVALSHA", give, "1", key, id}});
  }
  return out;
}

// One call of each after the other, by one client of one lock.
class our_calls {
 public:
  explicit our_calls(bool remembered) : remembered_(remembered) {}

  pair_of_commands pair(const std::string& name, const std::string& client, duration wait) {
    const auto both = pair_of_words(name, client, wait);
    return {evalsha(digest_, *both.take), evalsha(digest_, *both.give)};
  }
  /// Of as many locks, one call for all of them and one to give them back.
  pair_of_commands together(const std::vector<std::string>& names, const std::string& client) {
    std::vector<std::shared_ptr<const redis::script_words>> takes, gives;
    for (const auto& name : names) {
      const auto both = pair_of_words(name, client, 0s);
      takes.push_back(both.take);
      gives.push_back(both.give);
    }
    return {evalsha(digest_, redis::together(takes)), evalsha(digest_, redis::together(gives))};
  }

 private:
  struct words {
    std::shared_ptr<const redis::script_words> take, give;
  };
  words pair_of_words(const std::string& name, const std::string& client, duration wait) {
    const auto first = secrets_.make<lock_id>().to_string(), second = secrets_.make<lock_id>().to_string();
    const lock_want want{lock_name(name)};
    acquire_request a;
    a.client = client_id(client);
    if (remembered_) a.request = request_id(first);
    a.wants = {&want, 1};
    a.ttl = 30s;
    a.wait = wait;
    const auto id = secrets_.make<lock_id>();
    const lease_proof proof{lock_name(name), id, {}};
    release_request r;
    r.client = a.client;
    if (remembered_) r.request = request_id(second);
    r.leases = {&proof, 1};
    return {std::make_shared<redis::script_words>(
                redis::plain_acquire(terms_, a, id, secrets_.make<renewal_token>(), redis::print_of(a))),
            std::make_shared<redis::script_words>(
                redis::plain_release(terms_, r, redis::print_of("release", r.leases, {}), 0))};
  }

  const bool remembered_;
  const std::string digest_ = redis::sha1_hex(std::string(redis::table_script));
  const redis::plain_terms terms_{"dislock:", "lock:",
                                  redis::house_words({.side_prefix = "dislock:",
                                                      .canonical_prefix = "lock:",
                                                      .replica = "0123456789abcdef",
                                                      .waiter_grace = 5s,
                                                      .request_memory = 30s,
                                                      .replica_lapse = 3s,
                                                      .ahead = 2s,
                                                      .covered = 30s,
                                                      .queue_max = 10'000,
                                                      .callers_are_here = true}),
                                  30s, 30s};
  system_secrets secrets_;
};

std::vector<pair_of_commands> our_pairs(std::size_t count, bool remembered) {
  our_calls calls(remembered);
  std::vector<pair_of_commands> out;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back(calls.pair("orders/" + std::to_string(i), "billing-7/3", 0s));
  return out;
}

std::vector<pair_of_commands> our_pairs_together(std::size_t count) {
  our_calls calls(false);
  std::vector<pair_of_commands> out;
  for (std::size_t i = 0; i + in_one_call <= count;) {
    std::vector<std::string> names;
    while (names.size() < in_one_call) names.push_back("orders/" + std::to_string(i++));
    out.push_back(calls.together(names, "billing-7/3"));
  }
  return out;
}

// All of one lock. A pair is giving it back to the first of `crowd` others, and waiting for it again.
std::vector<pair_of_commands> hand_offs(std::size_t count) {
  our_calls calls(false);
  std::vector<pair_of_commands> out;
  for (std::size_t i = 0; i < count + crowd + 1; ++i)
    out.push_back(calls.pair("orders/one", "billing-7/" + std::to_string(i % (crowd + 1)), 60s));
  return out;
}

double pairs_per_second(line& to, const std::vector<pair_of_commands>& pairs, int reply_type,
                        std::size_t calls = at_a_time) {
  const auto from = std::chrono::steady_clock::now();
  for (std::size_t first = 0; first < pairs.size(); first += calls) {
    const auto last = std::min(first + calls, pairs.size());
    for (const auto which : {&pair_of_commands::take, &pair_of_commands::give}) {
      for (auto i = first; i < last; ++i) to.send(pairs[i].*which);
      for (auto i = first; i < last; ++i)
        if (to.receive(reply_type).find("\n\n") != std::string::npos) {
          std::fprintf(stderr, "something that came together was not decided\n");
          std::exit(1);
        }
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - from;
  return static_cast<double>(pairs.size()) / took.count();
}

double hand_offs_per_second(line& to, const std::vector<pair_of_commands>& pairs) {
  to.ask(pairs.front().take, REDIS_REPLY_STRING);
  for (std::size_t i = 1; i <= crowd; ++i)
    to.ask(pairs[i].take, i == 1 ? REDIS_REPLY_ARRAY : REDIS_REPLY_STRING);  // the first one makes it crowded
  const auto from = std::chrono::steady_clock::now();
  const auto count = pairs.size() - crowd - 1;
  for (std::size_t first = 0; first < count; first += at_a_time) {
    const auto last = std::min(first + at_a_time, count);
    for (auto i = first; i < last; ++i) {
      to.send(pairs[i].give);
      to.send(pairs[i + crowd + 1].take);
    }
    for (auto i = first; i < 2 * last - first; ++i) to.receive(REDIS_REPLY_STRING);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - from;
  return static_cast<double>(count) / took.count();
}

// The processor time of the server; 0 where nobody says which process it is.
double processor_seconds_of(pid_t server) {
  if (server <= 0) return 0;
  std::ifstream in("/proc/" + std::to_string(server) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  unsigned long user = 0, system = 0;
  const auto after_name = text.rfind(')');
  if (after_name == std::string::npos ||
      std::sscanf(text.c_str() + after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                  &user, &system) != 2)
    return 0;
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double median(std::vector<double> all) {
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

}  // namespace

int main(int count, char** words) {
  CLI::App app{"The plain case inside of Redis, beside the trivial pair of scripts"};
  std::uint16_t port = 6379;
  std::size_t pairs = 20'000, rounds = 9;
  pid_t server = 0;
  app.add_option("--port", port, "of a Redis on 127.0.0.1 that nobody else uses: it is emptied")
      ->capture_default_str();
  app.add_option("--pairs", pairs, "in a round")->capture_default_str();
  app.add_option("--rounds", rounds, "of each")->capture_default_str();
  app.add_option("--server", server, "its process id, to tell its processor time");
  bool print_acquire = false;
  app.add_flag(
      "--print-acquire", print_acquire,
      "only make the server ready, and print the words of an acquire of a random lock, each with a NUL "
      "after it, for redis-benchmark -r");
  CLI11_PARSE(app, count, words);

  line to(port);
  for (const std::string& text :
       {std::string(take_text), std::string(give_text), std::string(redis::table_script)})
    to.ask({"SCRIPT", "LOAD", text}, REDIS_REPLY_STRING);
  // A fence under which everything may be granted, for an hour.
  const auto fence =
      incarnation.substr(0, 16) + std::string(16, '0') + std::string(64, '9') + std::string(16, '0');
  if (print_acquire) {
    to.ask({"SET", "dislock:fence", fence}, REDIS_REPLY_STATUS);
    // Two numbers: with one, some locks would be taken already, and what follows is not the plain case.
    const auto one = our_pairs(1, true);
    for (auto word : one.front().take) {
      if (const auto at = word.find("orders/0"); at != std::string::npos)
        word.replace(at, 8, "orders/__rand_int____rand_int__");
      std::fwrite(word.data(), 1, word.size(), stdout);
      std::putchar('\0');
    }
    return 0;
  }
  const auto trivial = trivial_pairs(pairs), ours = our_pairs(pairs, false),
             remembered = our_pairs(pairs, true), crowded = hand_offs(pairs / 4),
             in_one = our_pairs_together(pairs);
  std::vector<double> rates[5], to_trivial[3];
  double used[5] = {};
  for (std::size_t i = 0; i < rounds; ++i) {
    const auto anew = [&] {
      to.ask({"FLUSHALL"}, REDIS_REPLY_STATUS);
      to.ask({"SET", "dislock:fence", fence}, REDIS_REPLY_STATUS);
    };
    const auto once = [&](const std::vector<pair_of_commands>& which, int type) {
      anew();
      return pairs_per_second(to, which, type);
    };
    const auto several_at_once = [&] {
      anew();
      return in_one_call * pairs_per_second(to, in_one, REDIS_REPLY_STRING, at_a_time / in_one_call);
    };
    for (int k = 0; k < 5; ++k) {
      const auto before = processor_seconds_of(server);
      rates[k].push_back(k == 0   ? once(trivial, REDIS_REPLY_INTEGER)
                         : k == 1 ? once(ours, REDIS_REPLY_STRING)
                         : k == 2 ? once(remembered, REDIS_REPLY_STRING)
                         : k == 3 ? several_at_once()
                                  : (anew(), hand_offs_per_second(to, crowded)));
      used[k] += processor_seconds_of(server) - before;
    }
    for (int k = 0; k < 3; ++k) to_trivial[k].push_back(rates[k + 1].back() / rates[0].back());
  }
  std::printf("%zu rounds of %zu pairs, %zu at a time, medians\n", rounds, pairs, at_a_time);
  std::printf("SET NX PX, delete if mine      %8.0f pairs/s\n", median(rates[0]));
  std::printf("ours                           %8.0f pairs/s  %5.2f of that\n", median(rates[1]),
              median(to_trivial[0]));
  std::printf("ours, with request ids         %8.0f pairs/s  %5.2f of that\n", median(rates[2]),
              median(to_trivial[1]));
  std::printf("ours, %zu in one call            %8.0f pairs/s  %5.2f of that\n", in_one_call,
              median(rates[3]), median(to_trivial[2]));
  std::printf("ours, to the first of %zu       %8.0f pairs/s\n", crowd, median(rates[4]));
  if (server > 0) {
    const auto all = static_cast<double>(pairs * rounds) / 1e6;
    std::printf("the server's processor time    %8.1f, %.1f, %.1f, %.1f and %.1f us a pair\n", used[0] / all,
                used[1] / all, used[2] / all, used[3] / all, used[4] / all * 4);
  }
}
