#include "engines/redlock/nodes.hpp"

#include "base/log.hpp"
#include "core/quorum.hpp"
#include "engines/redlock/node_script.hpp"

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <charconv>
#include <limits>

namespace dislock::redlock {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Of a question about a node itself, which nobody waits for.
constexpr duration survey_patience = seconds(1);
// How long after the start nobody is silenced only because others have not answered yet.
constexpr duration first_patience = seconds(3);
// Between two surveys, where the first few in a row have not settled everything.
constexpr duration survey_pause = milliseconds(200);

std::string_view name_of(admission::step s) {
  constexpr std::string_view names[] = {"none", "found", "prove", "silence", "raise"};
  return names[static_cast<std::size_t>(s)];
}

std::int64_t number_in(std::string_view text) noexcept {
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

}  // namespace

std::optional<std::uint64_t> node_answer::token(std::size_t i) const noexcept {
  const auto n = number(i);
  if (n < 0 || static_cast<std::uint64_t>(n) >= fencing_token_limit) return std::nullopt;
  return static_cast<std::uint64_t>(n);
}

std::int64_t node_answer::number(std::size_t i) const noexcept {
  const auto& item = rest->at(i + 2);
  return item.is == redis::reply::kind::integer ? item.number : number_in(item.text);
}

std::int64_t node_answer::time() const noexcept {
  return number_in(rest->at(1).text);
}

struct node_set::node final : redis::client_listener {
  node(node_set& h, std::size_t i) : home(h), index(i) {}

  void on_opening(const redis::newcomer& who, const redis::address&, redis::lane_kind,
                  const redis::server_facts& facts) override {
    if (facts.incarnation().empty()) return who.refuse("it does not say which process it is");
    if (const auto policy = facts.field("maxmemory_policy"); !policy.empty() && policy != "noeviction")
      log::warn("redlock",
                "a node may forget locks when its memory is full: maxmemory-policy noeviction is needed",
                {{"node", where}, {"policy", policy}});
    incarnation = facts.incarnation();
    const std::string_view words[] = {"CONFIG", "GET", "append*"};
    who.ask(words, [this, who](const redis::reply& got) {
      std::string_view only, sync;
      for (std::size_t i = 0; i + 1 < got.items.size(); i += 2) {
        if (got.items[i].text == "appendonly") only = got.items[i + 1].text;
        if (got.items[i].text == "appendfsync") sync = got.items[i + 1].text;
      }
      is_safe = only == "yes" && sync == "always";
      who.accept();
    });
  }
  void on_connected(const redis::address&, const redis::server_facts&, std::uint64_t) override {
    home.survey_soon();
    home.again_ = true;
    home.listener_.on_connected(index);
  }
  void on_lost(const redis::address&, std::string_view) override {
    votes = false;
    home.listener_.on_admission();
  }
  void on_subscribed() override {}
  void on_message(std::string_view, std::string_view text) override { home.listener_.on_freed(index, text); }

  node_set& home;
  const std::size_t index;
  std::string where, incarnation;
  bool is_safe = false;           // now
  bool seen = false;              // with a memory
  bool votes = false;             // as far as is known
  std::optional<duration> ahead;  // its clock, before ours
  std::unique_ptr<redis::redis_client> client;
};

node_set::node_set(loop& where, const clock& network_time, node_settings settings, nodes_listener& listener)
    : settings_(std::move(settings)), loop_(where), network_time_(network_time), listener_(listener) {}

node_set::~node_set() {
  over_ = true;
  for (auto& n : nodes_)
    if (n->client) n->client->stop();
}

result<std::unique_ptr<node_set>> node_set::make(boost::asio::io_context& io, loop& where,
                                                 const clock& network_time, node_settings settings,
                                                 nodes_listener& listener) {
  std::unique_ptr<node_set> out(new node_set(where, network_time, std::move(settings), listener));
  const auto& all = out->settings_.url;
  for (std::size_t i = 0; i < all.places.size(); ++i) {
    auto n = std::make_unique<node>(*out, i);
    n->where = all.places[i].text();
    redis::client_settings s;
    s.url = all;
    s.url.what = redis::store_url::kind::single;
    s.url.places = {all.places[i]};
    s.scripts = {std::string(node_script)};
    auto made = redis::redis_client::make(io, network_time, std::move(s), *n);
    if (!made) return made.error();
    n->client = std::move(*made);
    out->nodes_.push_back(std::move(n));
  }
  return out;
}

void node_set::start() {
  started_ = loop_.now();
  for (auto& n : nodes_) {
    n->client->start();
    n->client->subscribe({settings_.channel});
  }
  next_survey_ = later(started_, first_patience);
}

bool node_set::reachable(std::size_t i) const noexcept {
  return nodes_[i]->client->ready();
}

bool node_set::votes(std::size_t i) const noexcept {
  return nodes_[i]->votes && reachable(i);
}

std::size_t node_set::voting() const noexcept {
  return static_cast<std::size_t>(std::count_if(
      nodes_.begin(), nodes_.end(), [](const auto& n) { return n->votes && n->client->ready(); }));
}

std::size_t node_set::safe() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(nodes_.begin(), nodes_.end(), [](const auto& n) { return n->votes && n->is_safe; }));
}

std::size_t node_set::open() const noexcept {
  std::size_t all = 0;
  for (const auto& n : nodes_) all += n->client->open();
  return all;
}

std::string node_set::trouble() const {
  std::string out;
  for (const auto& n : nodes_) {
    if (n->votes && n->client->ready()) continue;
    out += (out.empty() ? "" : "; ") + n->where + ": ";
    out += n->client->ready() ? "does not vote yet" : n->client->trouble();
  }
  return out;
}

void node_set::ask(std::size_t i, std::string_view verb, std::string_view lock_key,
                   std::string_view record_key, std::span<const std::string> words, duration patience,
                   answered done) {
  auto& n = *nodes_[i];
  std::vector<std::string_view> arguments{verb};
  arguments.insert(arguments.end(), words.begin(), words.end());
  const std::string_view keys[] = {settings_.memory_key, lock_key, record_key};
  redis::script_call call;
  call.keys = keys;
  call.arguments = arguments;
  call.stamped = true;
  n.client->run({}, call, later(network_time_.now(), patience),
                [this, &n, done = std::move(done)](const redis::response& got) mutable {
                  if (over_) return;
                  if (!got) return done(nullptr);
                  if (got->failed() || got->items.size() < 2) {
                    log::warn("redlock", "a node does not understand",
                              {{"node", n.where}, {"reason", std::string_view(got->text).substr(0, 200)}});
                    return done(nullptr);
                  }
                  const node_answer a{got->at(0).text, &*got};
                  n.ahead = from_microseconds(a.time()) - loop_.now();
                  const bool stands_aside = a.word == "stranger" || a.word == "quiet";
                  if (stands_aside && n.votes) {
                    n.votes = false;
                    survey_soon();
                    listener_.on_admission();
                  }
                  done(&a);
                });
}

std::int64_t node_set::no_later(std::size_t i, duration patience) const noexcept {
  const auto& ahead = nodes_[i]->ahead;
  return ahead ? microseconds_since_1970(loop_.now() + *ahead + 2 * patience) : 0;
}

// --- who may vote

void node_set::wake() {
  if (next_survey_ > loop_.now()) return;
  next_survey_ = never;
  survey();
}

void node_set::survey() {
  if (surveying_ || over_) return;
  surveying_ = true;
  again_ = false;
  found_.assign(nodes_.size(), {});
  awaited_ = 1;  // held until all are asked
  const auto one_less = [this] {
    if (--awaited_ == 0) surveyed();
  };
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    found_[i].seen = nodes_[i]->seen;
    if (!reachable(i)) continue;
    ++awaited_;
    ask(i, "survey", settings_.memory_key, settings_.memory_key, {}, survey_patience,
        [this, i, one_less](const node_answer* a) {
          if (a && a->word == "node") {
            auto& m = found_[i];
            m.answers = true;
            m.incarnation = nodes_[i]->incarnation;
            m.now = a->time();
            m.run = a->text(0);
            m.quiet_until = a->number(1);
            m.high = a->token(2).value_or(0);
            m.born = a->number(3);
            m.was_safe = a->text(4) == "1";
            m.seen = nodes_[i]->seen;  // before now
            if (m.high > 0) nodes_[i]->seen = true;
          }
          one_less();
        });
  }
  loop_.defer([one_less] { one_less(); });
}

void node_set::surveyed() {
  const bool patient = loop_.now() < later(started_, first_patience);
  const auto plan =
      plan_admissions(found_, settings_.founding, patient, microseconds_since_1970(loop_.now()));
  bool waiting = false;
  auto next = never;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    auto& n = *nodes_[i];
    const auto& m = found_[i];
    const bool did = n.votes;
    n.votes = m.is_admitted();
    if (n.votes && !did) log::info("redlock", "a node votes", {{"node", n.where}});
    if (n.votes || !reachable(i)) continue;
    waiting = true;
    if (!m.answers) continue;
    if (m.run == m.incarnation && m.quiet_until > m.now)
      next = std::min(next, later(loop_.now(), duration(m.quiet_until - m.now)));
    if (plan[i].what == admission::step::none) continue;
    if (plan[i].what == admission::step::silence)
      log::warn("redlock", "a node may have forgotten what it granted, and does not vote until that is over",
                {{"node", n.where}, {"for", settings_.silence}});
    again_ = true;
    const std::vector<std::string> words{m.run, std::string(name_of(plan[i].what)),
                                         std::to_string(plan[i].above),
                                         std::to_string(settings_.silence.count()), n.is_safe ? "1" : "0"};
    ask(i, "admit", settings_.memory_key, settings_.memory_key, words, survey_patience,
        [](const node_answer*) {});
  }
  surveying_ = false;
  // What was just written is read at once: answers come in the order of the questions.
  if (std::exchange(again_, false)) {
    next_survey_ = std::min(next_survey_, ++in_a_row_ < 4 ? loop_.now() : later(loop_.now(), survey_pause));
  } else {
    in_a_row_ = 0;
    if (waiting) next_survey_ = std::min(next_survey_, std::min(next, later(loop_.now(), seconds(1))));
  }
  listener_.on_admission();
}

}  // namespace dislock::redlock
