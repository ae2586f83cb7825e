#include "engines/redis/wire/client.hpp"

#include "base/assert.hpp"
#include "base/log.hpp"
#include "engines/redis/wire/command.hpp"
#include "engines/redis/wire/lane.hpp"
#include "engines/redis/wire/map_reader.hpp"
#include "engines/redis/wire/retry.hpp"
#include "engines/redis/wire/sentinels.hpp"
#include "engines/redis/wire/subscriber.hpp"
#include "engines/redis/wire/tls.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <map>

namespace dislock::redis {
namespace {

constexpr unsigned redirects_at_once = 5;  // more look like a circle: then with a rest in between
constexpr std::size_t kept_words = 4096;   // a request that grew larger gives its memory back

std::vector<script> prepare(std::vector<std::string>& bodies) {
  std::vector<script> out;
  for (auto& body : bodies) out.emplace_back(std::move(body));
  return out;
}

}  // namespace

class redis_client::impl final : private lane_host, private subscriber_user, private map_reader_user {
 public:
  impl(boost::asio::io_context& io, const clock& time, client_settings settings,
       std::unique_ptr<boost::asio::ssl::context> tls, client_listener& listener)
      : settings_(std::move(settings)),
        tls_(std::move(tls)),
        scripts_(prepare(settings_.scripts)),
        listener_(listener),
        wiring_{.io = io,
                .time = time,
                .url = settings_.url,
                .tls = tls_.get(),
                .scripts = scripts_,
                .replies = settings_.replies,
                .max_in_flight = settings_.max_in_flight},
        home_slot_(is_cluster() && !settings_.home_key.empty() ? key_slot(settings_.home_key) : -1),
        messages_(wiring_, settings_.url.login, *this),
        deadline_alarm_(io, time, [this] { on_deadline(); }),
        rest_alarm_(io, time, [this] { on_rested(); }),
        message_alarm_(io, time, [this] { listen(); }),
        self_(std::make_shared<impl*>(this)) {
    if (is_cluster()) {
      map_reader_ = std::make_unique<map_reader>(wiring_, static_cast<map_reader_user&>(*this));
      return;
    }
    if (settings_.url.what == store_url::kind::sentinel)
      sentinels_ = std::make_unique<sentinels>(wiring_, [this](const address& to) { on_moved(to); });
    single_ = std::make_unique<node>(wiring_, static_cast<lane_host&>(*this),
                                     sentinels_ ? address{} : settings_.url.places.front());
  }
  ~impl() { *self_ = nullptr; }

  void start() {
    if (sentinels_) sentinels_->start();
    if (single_) single_->main.wake();
    if (map_reader_) map_reader_->begin();
  }

  void stop() {
    if (std::exchange(stopped_, true)) return;
    for (auto* a : {&deadline_alarm_, &rest_alarm_, &message_alarm_}) a->silence();
    messages_.detach();
    if (map_reader_) map_reader_->stop();
    sentinels_.reset();
    each_node([](node& n) {
      n.main.stop();
      n.side.stop();
    });
    for (auto* list : {&parked_, &resting_})
      while (!list->empty()) {
        auto& r = list->front();
        list->pop_front();
        settle(r, stopped_failure());
      }
    deliver();
  }

  // --- calls

  void call(const target& to, std::span<const std::string_view> words, instant deadline,
            completion<response> done) {
    auto* r = begin(to, deadline, std::move(done));
    if (!r) return;
    append_command(r->words, words);
    route(*r);
  }

  void call_together(const target& to, std::span<const command_words> commands, instant deadline,
                     completion<response> done) {
    DISLOCK_ASSERT(!commands.empty(), "something is asked");
    auto* r = begin(to, deadline, std::move(done));
    if (!r) return;
    r->is_array = true;
    append_command(r->words, commands.front());
    for (const auto words : commands.subspan(1)) then(*r, words);
    route(*r);
  }

  void run(const target& to, const script_call& what, instant deadline, completion<response> done) {
    DISLOCK_ASSERT(what.script < scripts_.size(), "a script is known from the beginning");
    auto* r = begin(to, deadline, std::move(done));
    if (!r) return;
    r->script = static_cast<int>(what.script);
    r->stamp = append_call(r->words, r->count, what);
    if (!what.then.empty()) then(*r, what.then);
    route(*r);
  }

  void subscribe(const std::vector<std::string>& channels) {
    messages_.add(channels);
    listen();
  }

  void reconnect(std::string_view why) {
    each_node([&](node& n) {
      n.main.replace(why);
      n.side.replace(why);
    });
  }

  void ask_former(std::string_view incarnation, instant deadline, completion<departure> done) {
    const auto found = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& n) {
      return n.second->main.ready() && n.second->main.facts().incarnation().starts_with(incarnation);
    });
    if (home_slot_ < 0 || incarnation.empty() || found == nodes_.end()) {
      boost::asio::post(wiring_.io, [done = std::move(done)]() mutable { done(departure::unknown); });
      return;
    }
    auto& asked = found->second->main;
    static constexpr std::string_view server[] = {"INFO", "server"}, replication[] = {"INFO", "replication"},
                                      slots[] = {"CLUSTER", "SLOTS"}, myself[] = {"CLUSTER", "MYID"};
    auto* r = begin(
        {.connection = asked.number()}, deadline,
        [this, incarnation = std::string(incarnation), done = std::move(done)](const response& got) mutable {
          done(got && got->items.size() == 4 ? departure_of(*got, incarnation) : departure::unknown);
        });
    if (!r) return;
    r->is_array = true;
    append_command(r->words, server);
    then(*r, replication);
    then(*r, slots);
    then(*r, myself);
    asked.submit(*r);
  }

  // --- state

  [[nodiscard]] std::optional<instant> serving_since() const noexcept {
    const auto* l = home();
    return l ? std::optional(l->ready_since()) : std::nullopt;
  }
  [[nodiscard]] bool ready() const noexcept {
    if (single_) return single_->main.ready();
    if (home_slot_ >= 0) return home() != nullptr && down_.empty();
    return map_ && map_->knows_all() &&
           std::all_of(map_->nodes().begin(), map_->nodes().end(), [&](const auto& a) {
             const auto found = nodes_.find(a);
             return found != nodes_.end() && found->second->main.ready();
           });
  }
  [[nodiscard]] std::string trouble() const {
    if (stopped_) return "stopped";
    if (single_) return single_->main.trouble();
    if (!map_) return map_reader_->trouble();
    if (!down_.empty()) return down_;
    if (home_slot_ >= 0) {
      const auto* owner = map_->owner(static_cast<std::uint16_t>(home_slot_));
      const auto found = owner ? nodes_.find(*owner) : nodes_.end();
      if (!owner) return "a slot of the Cluster has no node";
      return found != nodes_.end() ? found->second->main.trouble() : "not connected yet";
    }
    if (!map_->knows_all()) return std::to_string(map_->unowned()) + " slots of the Cluster have no node";
    for (const auto& [where, n] : nodes_)
      if (!n->main.ready() && !n->main.trouble().empty()) return n->main.trouble();
    return {};
  }
  [[nodiscard]] const server_facts* facts(std::optional<std::string_view> key) const noexcept {
    const lane* l = single_ ? &single_->main : serving(key ? key_slot(*key) : home_slot_);
    return l && l->ready() ? &l->facts() : nullptr;
  }
  [[nodiscard]] std::int64_t known_replicas() const noexcept {
    return sentinels_ ? sentinels_->replicas() : -1;
  }
  [[nodiscard]] std::size_t open() const noexcept { return open_; }

 private:
  struct node {
    node(wiring& w, lane_host& host, const address& where)
        : main(w, host, lane_kind::main, where), side(w, host, lane_kind::side, where) {}
    [[nodiscard]] lane& of(lane_kind kind) noexcept { return kind == lane_kind::main ? main : side; }
    lane main, side;
  };

  [[nodiscard]] bool is_cluster() const noexcept { return settings_.url.what == store_url::kind::cluster; }
  template <class F>
  void each_node(F f) {
    if (single_) f(*single_);
    for (auto& [where, n] : nodes_) f(*n);
  }
  // The main lane to the owner of a slot of the Cluster, as far as it is known.
  [[nodiscard]] const lane* serving(int slot) const {
    const auto* owner = slot >= 0 && map_ ? map_->owner(static_cast<std::uint16_t>(slot)) : nullptr;
    const auto found = owner ? nodes_.find(*owner) : nodes_.end();
    return found != nodes_.end() ? &found->second->main : nullptr;
  }
  [[nodiscard]] departure departure_of(const reply& said, std::string_view incarnation) const {
    const server_facts facts(said.at(0).text + "\r\n" + said.at(1).text);
    const auto owner = owner_id(said.at(2), static_cast<std::uint16_t>(home_slot_));
    const auto& itself = said.at(3).text;
    if (!facts.is_primary() || !facts.incarnation().starts_with(incarnation) || owner.empty() ||
        itself.empty())
      return departure::unknown;
    return owner == itself ? departure::not_heard : departure::given_away;
  }
  [[nodiscard]] const lane* home() const {
    const auto* l = serving(home_slot_);
    return l && l->ready() ? l : nullptr;
  }
  static failure stopped_failure() {
    return {failure::cause::stopped, effect::none, "the client was stopped"};
  }

  // --- the life of a request

  static void then(request& r, command_words words) {
    append_command(r.then, words);
    r.then_ends.push_back(r.then.size());
  }

  request* begin(const target& to, instant deadline, completion<response> done) {
    if (free_.empty()) {
      pool_.push_back(std::make_unique<request>());
      free_.push_back(pool_.back().get());
    }
    auto* r = free_.back();
    free_.pop_back();
    ++open_;
    r->done = std::move(done);
    r->deadline = deadline;
    r->kind = to.lane;
    r->only = to.connection;
    r->at_once = to.at_once;
    r->slot = is_cluster() && to.key ? key_slot(*to.key) : home_slot_;
    r->where = request::place::over;
    if (stopped_) {
      settle(*r, stopped_failure());
      return nullptr;
    }
    if (open_ > settings_.max_open) {
      settle(*r, failure{failure::cause::overloaded, effect::none, "too many calls wait for an answer"});
      return nullptr;
    }
    if (deadline != never) {
      deadlines_.schedule(*r, deadline);
      if (deadline < deadline_alarm_.at()) deadline_alarm_.set(deadline);
    }
    return r;
  }

  void settle(request& r, response&& outcome) override {
    if (r.is_linked()) r.unlink();
    deadlines_.cancel(r);
    r.where = request::place::over;
    r.on = nullptr;
    if (outcome && !down_.empty()) down_.clear();
    if (r.begun && !outcome) {
      auto f = outcome.error();
      f.what = effect::unknown;
      outcome = std::move(f);
    }
    r.outcome.emplace(std::move(outcome));
    over_.push_back(r);
    if (delivery_posted_) return;
    delivery_posted_ = true;
    boost::asio::post(wiring_.io, [weak = self_] {
      if (!*weak) return;
      (*weak)->delivery_posted_ = false;
      if (!(*weak)->let_first_) (*weak)->deliver();
    });
  }
  void deliver_a_turn_later() {
    let_first_ = true;
    boost::asio::post(wiring_.io, [weak = self_] {
      if (!*weak) return;
      (*weak)->let_first_ = false;
      (*weak)->deliver();
    });
  }

  void deliver() override {
    while (!over_.empty()) {
      auto& r = over_.front();
      over_.pop_front();
      auto done = std::move(r.done);
      auto outcome = std::move(*r.outcome);
      const bool urgent = r.at_once;
      recycle(r);
      done(std::move(outcome));
      if (urgent && !stopped_ && !over_.empty()) return deliver_a_turn_later();
    }
  }

  void recycle(request& r) {
    --open_;
    if (r.words.capacity() > kept_words) r.words = {};
    r.words.clear();
    r.then.clear();
    r.then_ends.clear();
    r.earlier.clear();
    r.trouble.clear();
    r.outcome.reset();
    r.count = r.stamp = 0;
    r.script = -1;
    r.redirects = 0;
    r.by_body = r.asking = r.begun = r.is_array = false;
    r.where = request::place::free;
    free_.push_back(&r);
  }

  void on_deadline() {
    const auto now = wiring_.time.now();
    while (auto* due = deadlines_.due(now)) {
      auto& r = static_cast<request&>(*due);
      if (r.where == request::place::in_flight) {
        r.on->expire(r);
        continue;
      }
      auto why = !r.trouble.empty() ? r.trouble : r.on ? r.on->trouble() : trouble();
      if (why.empty()) why = "it had no turn";
      settle(r, failure{failure::cause::deadline, effect::none, std::move(why)});
    }
    deadline_alarm_.set(deadlines_.next());
    deliver();
  }

  void rest(request& r) {
    r.on = nullptr;
    r.where = request::place::resting;
    r.rests_until = wiring_.time.now() + rest_after(std::min(r.redirects++, 4U), wiring_.chance());
    resting_.push_back(r);
    if (r.rests_until < rest_alarm_.at()) rest_alarm_.set(r.rests_until);
  }

  void on_rested() {
    const auto now = wiring_.time.now();
    auto next = never;
    request_list ready;
    for (auto it = resting_.begin(); it != resting_.end();) {
      auto& r = *it++;
      if (r.rests_until > now) {
        next = std::min(next, r.rests_until);
        continue;
      }
      r.unlink();
      ready.push_back(r);
    }
    rest_alarm_.set(next);
    route_all(std::move(ready));
  }

  // --- which lane

  void route(request& r) {
    if (single_) return single_->of(r.kind).submit(r);
    if (auto* n = node_for(r)) return n->of(r.kind).submit(r);
    park(r);
  }
  void route_all(request_list list) {
    while (!list.empty()) {
      auto& r = list.front();
      list.pop_front();
      route(r);
    }
  }
  // Until the Cluster says who serves it.
  void park(request& r) {
    r.on = nullptr;
    r.where = request::place::waiting;
    parked_.push_back(r);
    map_reader_->begin_soon();
  }

  node* node_for(const request& r) {
    if (!map_) return nullptr;
    if (r.slot >= 0) {
      const auto* owner = map_->owner(static_cast<std::uint16_t>(r.slot));
      return owner ? &node_at(*owner) : nullptr;
    }
    for (auto& [where, n] : nodes_)
      if (n->main.ready()) return n.get();
    return nullptr;
  }
  node& node_at(const address& where) {
    auto& n = nodes_[where];
    if (!n) n = std::make_unique<node>(wiring_, static_cast<lane_host&>(*this), where);
    return *n;
  }

  // --- what lanes ask and tell

  void locate(lane& l) override {
    if (!l.fixed().empty()) return l.located(l.fixed());
    // The lanes live as long as the Sentinels are asked.
    sentinels_->find([&l](sentinels::found where) { l.located(std::move(where)); });
  }

  std::string refuse(const lane&, const server_facts& facts) override {
    if (is_cluster()) return facts.is_cluster_node() ? "" : "not a node of a Cluster";
    if (facts.is_cluster_node()) return "a node of a Cluster: its URL is redis+cluster://";
    return facts.is_primary() ? "" : "a replica";
  }

  void greet(lane& l, const newcomer& who) override {
    listener_.on_opening(who, l.peer(), l.kind(), l.facts());
  }

  void on_ready(lane& l) override {
    if (l.kind() != lane_kind::main) return;
    log::info("redis", "connected", {{"server", l.peer().text()}, {"version", l.facts().version()}});
    if (!is_cluster() && messages_.attached() && messages_.peer() != l.peer()) messages_.detach();
    listen();
    if (home_slot_ >= 0) {
      tell_home();
    } else {
      listener_.on_connected(l.peer(), l.facts(), l.number());
    }
    if (is_cluster()) route_all(std::exchange(parked_, {}));
  }

  void on_lost(lane& l, std::string_view why) override {
    if (sentinels_) sentinels_->doubt();
    if (map_reader_) map_reader_->begin_soon();
    if (l.kind() != lane_kind::main) return;
    log::warn("redis", "connection lost", {{"server", l.peer().text()}, {"reason", why}});
    if (home_slot_ < 0 || l.number() == home_by_) listener_.on_lost(l.peer(), why);
  }

  void on_trouble(lane& l, std::string_view why) override {
    if (sentinels_) sentinels_->doubt();
    log::debug("redis", "no connection", {{"server", l.peer().text()}, {"reason", why}});
    if (is_cluster()) {
      map_reader_->begin_soon();
      keep_or_reroute(l);
    }
  }

  // What waits for a node that cannot be reached, and could as well go elsewhere.
  void keep_or_reroute(lane& l) {
    auto list = l.take_queue();
    while (!list.empty()) {
      auto& r = list.front();
      list.pop_front();
      const auto* owner = r.slot >= 0 && map_ ? map_->owner(static_cast<std::uint16_t>(r.slot)) : nullptr;
      if (owner && *owner == l.fixed()) {
        l.submit(r);
      } else {
        route(r);
      }
    }
  }

  void on_verdict(lane& l, request& r, const reply& refused, reply&& all) override {
    switch (judge(refused)) {
      case verdict::unknown_script:
        if (r.script < 0) break;
        return l.on_unknown_script(r);
      case verdict::wrong_server:
        r.trouble = l.peer().text() + ": " + refused.text;
        if (sentinels_) sentinels_->doubt();
        if (map_reader_) map_reader_->begin_soon();
        l.resubmit(r);
        return l.replace(refused.text);
      case verdict::busy:
        return settle(r, failure{failure::cause::busy, effect::none, l.peer().text() + ": " + refused.text});
      case verdict::moved:
      case verdict::ask:
        if (!is_cluster()) break;
        if (const auto to = parse_redirection(refused.text, l.peer()))
          return redirect(r, *to, judge(refused) == verdict::ask);
        break;
      case verdict::try_again:
      case verdict::cluster_down:
        if (!is_cluster()) break;
        r.trouble = l.peer().text() + ": " + refused.text;
        if (judge(refused) == verdict::cluster_down) down_ = r.trouble;
        map_reader_->begin_soon();
        return rest(r);
      case verdict::deliver:
        break;
    }
    settle(r, sourced_reply(std::move(all), l.number()));
  }

  void redirect(request& r, const redirection& to, bool ask) {
    r.trouble = "sent on to " + to.to.text();
    if (!ask) {
      if (map_) map_->assign(to.slot, to.to);
      tell_home_soon();
      map_reader_->begin_soon();
    }
    // One that no other may answer cannot follow; who asked it is told after a rest.
    if (++r.redirects > redirects_at_once || r.only != 0) return rest(r);
    r.asking = ask;
    node_at(to.to).of(r.kind).submit(r);
  }

  // --- Sentinel

  void on_moved(const address& to) {
    for (auto* l : {&single_->main, &single_->side})
      if (l->peer() != to) l->replace("the primary is now at " + to.text());
  }

  // --- Cluster

  // Whoever serves the home slot is, for the listener, the server.
  void tell_home() {
    const auto* l = home();
    if (!l || l->number() == home_by_) return;
    home_by_ = l->number();
    listener_.on_connected(l->peer(), l->facts(), l->number());
  }
  // Not from within somebody's answer.
  void tell_home_soon() {
    if (home_slot_ < 0 || stopped_) return;
    boost::asio::post(wiring_.io, [weak = self_] {
      if (*weak && !(*weak)->stopped_) (*weak)->tell_home();
    });
  }

  void name_nodes(std::vector<address>& connected, std::vector<address>& others) const override {
    for (const auto& [where, n] : nodes_) (n->main.ready() ? connected : others).push_back(where);
  }

  void on_map(slot_map&& map) override {
    map_ = std::move(map);
    for (const auto& where : map_->nodes()) node_at(where).main.wake();
    request_list homeless;
    for (auto it = nodes_.begin(); it != nodes_.end();) {
      const auto& [where, n] = *it;
      for (auto* l : {&n->main, &n->side}) {
        auto list = l->take_queue();
        while (!list.empty()) {
          auto& r = list.front();
          list.pop_front();
          const auto* owner = r.slot >= 0 ? map_->owner(static_cast<std::uint16_t>(r.slot)) : nullptr;
          // One that was sent here by an ASK stays, and one that no other may answer.
          if ((owner && *owner == where) || r.asking || r.only != 0) {
            l->submit(r);
          } else {
            homeless.push_back(r);
          }
        }
      }
      const bool needed = std::find(map_->nodes().begin(), map_->nodes().end(), where) != map_->nodes().end();
      if (needed || !n->main.idle() || !n->side.idle()) {
        ++it;
        continue;
      }
      n->main.stop();
      n->side.stop();
      it = nodes_.erase(it);
    }
    homeless.splice(homeless.end(), parked_);
    route_all(std::move(homeless));
    tell_home_soon();
  }

  // --- messages

  void listen() {
    if (stopped_ || !messages_.has_channels() || messages_.attached() || message_alarm_.at() != never) return;
    std::vector<const lane*> ready;
    each_node([&](node& n) {
      if (n.main.ready()) ready.push_back(&n.main);
    });
    if (ready.empty()) return;  // on_ready comes back to this
    const auto which = std::uniform_int_distribution<std::size_t>(0, ready.size() - 1)(wiring_.random);
    messages_.attach(ready[which]->peer());
  }
  void on_message(std::string_view channel, std::string_view text) override {
    listener_.on_message(channel, text);
  }
  void on_subscribed() override {
    message_failures_ = 0;
    listener_.on_subscribed();
  }
  void on_subscription_lost(std::string_view why) override {
    log::debug("redis", "subscription lost", {{"server", messages_.peer().text()}, {"reason", why}});
    if (!stopped_) message_alarm_.set(wiring_.time.now() + rest_after(message_failures_++, wiring_.chance()));
  }

  client_settings settings_;
  const std::unique_ptr<boost::asio::ssl::context> tls_;
  const std::vector<script> scripts_;
  client_listener& listener_;
  wiring wiring_;
  const int home_slot_;        // -1: none in particular
  std::uint64_t home_by_ = 0;  // the connection that the listener was told of last

  std::vector<std::unique_ptr<request>> pool_;
  std::vector<request*> free_;
  std::size_t open_ = 0;
  core::deadline_queue deadlines_;
  request_list over_, parked_, resting_;

  std::unique_ptr<node> single_;  // with or without Sentinels
  std::unique_ptr<sentinels> sentinels_;
  std::map<address, std::unique_ptr<node>> nodes_;  // of the Cluster
  std::optional<slot_map> map_;
  std::string down_;  // what the Cluster said last, if that was that it is down
  std::unique_ptr<map_reader> map_reader_;

  subscriber messages_;
  unsigned message_failures_ = 0;
  alarm deadline_alarm_, rest_alarm_, message_alarm_;
  bool stopped_ = false, delivery_posted_ = false, let_first_ = false;
  std::shared_ptr<impl*> self_;  // for what was posted: null after the end
};

result<std::unique_ptr<redis_client>> redis_client::make(boost::asio::io_context& io, const clock& time,
                                                         client_settings settings,
                                                         client_listener& listener) {
  DISLOCK_ASSERT(settings.url.what != store_url::kind::redlock,
                 "Redlock has a client for each of its servers");
  auto tls = make_tls(settings.url.tls);
  if (!tls) return tls.error();
  return std::unique_ptr<redis_client>(
      new redis_client(std::make_unique<impl>(io, time, std::move(settings), std::move(*tls), listener)));
}

redis_client::redis_client(std::unique_ptr<impl> i) noexcept : impl_(std::move(i)) {}
redis_client::~redis_client() {
  impl_->stop();
}
void redis_client::start() {
  impl_->start();
}
void redis_client::stop() {
  impl_->stop();
}
void redis_client::call(const target& to, std::span<const std::string_view> words, instant deadline,
                        completion<response> done) {
  impl_->call(to, words, deadline, std::move(done));
}
void redis_client::call_together(const target& to, std::span<const command_words> commands, instant deadline,
                                 completion<response> done) {
  impl_->call_together(to, commands, deadline, std::move(done));
}
void redis_client::run(const target& to, const script_call& what, instant deadline,
                       completion<response> done) {
  impl_->run(to, what, deadline, std::move(done));
}
void redis_client::subscribe(const std::vector<std::string>& channels) {
  impl_->subscribe(channels);
}
void redis_client::ask_former(std::string_view incarnation, instant deadline, completion<departure> done) {
  impl_->ask_former(incarnation, deadline, std::move(done));
}
void redis_client::reconnect(std::string_view why) {
  impl_->reconnect(why);
}
bool redis_client::ready() const noexcept {
  return impl_->ready();
}
std::string redis_client::trouble() const {
  return impl_->trouble();
}
const server_facts* redis_client::facts(std::optional<std::string_view> key) const noexcept {
  return impl_->facts(key);
}
std::optional<instant> redis_client::serving_since() const noexcept {
  return impl_->serving_since();
}
std::int64_t redis_client::known_replicas() const noexcept {
  return impl_->known_replicas();
}
std::size_t redis_client::open() const noexcept {
  return impl_->open();
}

}  // namespace dislock::redis
