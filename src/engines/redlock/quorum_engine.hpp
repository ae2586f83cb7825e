// Private to the engine: its state, and how its parts know each other.
#pragma once

#include "base/secrets.hpp"
#include "core/deadline_queue.hpp"
#include "core/quorum.hpp"
#include "engines/redis/wire/key_prefixes.hpp"
#include "engines/redlock/nodes.hpp"
#include "engines/redlock/redlock_engine.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <algorithm>
#include <bit>
#include <deque>
#include <list>
#include <random>
#include <utility>

namespace dislock::redlock {

using core::round;
using core::verdict;
using core::vote;
using std::chrono::milliseconds;
using std::chrono::seconds;

// How long a node may take for what nobody's lease depends on.
constexpr duration plain_patience = seconds(1);
// How often what a node has missed is tried again.
constexpr duration repair_pause = seconds(1);

// For how long a node may think about a vote: a lease that is asked for should not be half over when it is
// granted, and a node that stands still should not be waited for.
[[nodiscard]] inline duration patience_for(duration ttl) {
  return std::clamp<duration>(ttl / 4, milliseconds(25), milliseconds(500));
}

/// A set of nodes, one bit each.
using mask = std::uint64_t;

/// One lock table whose grants a majority of the nodes has to agree to (`table_options::by_turns`).
///
/// The table is the queue, the request memory and the truth about leases that were granted here; the nodes
/// are the truth about everything else. One strand.
///
/// Invariants
/// 1. Nobody is told of a lease, or of its end, before a majority has accepted it for longer than that.
/// 2. Whatever may have been accepted somewhere without becoming a lease, or is none any more, is being given
///    back on every node that may have it, until all have answered or its time is over.
/// 3. Of one lock at most one attempt is under way here, and only for the head of its queue.
class quorum_engine final : public engine, private core::table_observer, private nodes_listener {
 public:
  quorum_engine(loop& where, redlock_engine_options options)
      : options_(std::move(options)),
        loop_(where),
        events_(options_.event_log_size),
        me_(secrets_.make<lock_id>().to_string().substr(0, 16)),
        chances_(static_cast<std::uint64_t>(secrets_.make<lock_id>().bits[0])),
        table_(by_turns(options_.table), secrets_, *this, nullptr) {
    about_.engine = "redlock";
    about_.grade = guarantee_class::c;
    about_.max_ttl = options_.max_ttl;
  }
  ~quorum_engine() override { nodes_.reset(); }

  [[nodiscard]] std::optional<error> connect(boost::asio::io_context& io, const clock& network_time) {
    auto prefixes = redis::key_prefixes::of(options_.url);
    if (!prefixes) return prefixes.error();
    prefixes_ = std::move(*prefixes);
    node_settings s;
    s.url = options_.url;
    s.memory_key = prefixes_.own + "redlock";
    s.channel = prefixes_.own + "redlock:freed";
    s.silence = core::life_for(options_.max_ttl, patience_for(options_.max_ttl));
    for (const auto& [name, value] : options_.url.others) {
      const bool all = value == "all", majority = value == "majority", nothing = value == "never";
      if (name != "founding" || !(all || majority || nothing)) {
        error e;
        e.code = errc::invalid_field;
        e.detail = name == "founding" ? "url: founding is all, majority or never"
                                      : "url: '" + name + "' means nothing for redlock://";
        return e;
      }
      s.founding = all ? founding_rule::all : majority ? founding_rule::majority : founding_rule::never;
    }
    auto made = node_set::make(io, loop_, network_time, std::move(s), *this);
    if (!made) return made.error();
    nodes_ = std::move(*made);
    return std::nullopt;
  }

  [[nodiscard]] bool at_rest() const noexcept { return nodes_->at_rest() && outbox_.empty(); }
  [[nodiscard]] std::size_t holding(fencing_token token) const noexcept {
    const auto it = held_.find(to_number(token));
    return it == held_.end() ? 0 : static_cast<std::size_t>(std::popcount(it->second.on));
  }

  const capabilities& about() const noexcept override { return about_; }
  engine_health health() const override {
    const auto voting = nodes_->voting();
    const bool ready = voting >= core::majority_of(nodes_->size());
    if (voting == nodes_->size()) return {};
    return {ready, std::to_string(voting) + " of " + std::to_string(nodes_->size()) + " nodes vote; " +
                       nodes_->trouble()};
  }
  instant now() const noexcept override { return loop_.now(); }
  bool overloaded() const noexcept override { return nodes_->open() > 20'000 * nodes_->size(); }
  event_log& events() noexcept override { return events_; }

  void start(engine_listener& listener) override;
  void stop(unique_function<void()> done) override;

  void acquire(const acquire_request& request, completion<acquire_answer> done) override;
  void release(const release_request& request, completion<answer<release_answers>> done) override;
  void renew(const renew_request& request, completion<answer<renew_answers>> done) override;
  void cancel(const call_id& call, completion<answer<cancelled>> done) override;
  void force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                     std::string_view reason, completion<answer<forced>> done) override;
  void open_session(client_id, duration, request_id, completion<answer<session_opened>> done) override {
    done(refuse(errc::unsupported_by_engine));
  }
  void keep_session(session_id, request_id, completion<answer<session_kept>> done) override {
    done(refuse(errc::unsupported_by_engine));
  }
  void close_session(session_id, request_id, completion<answer<session_closed>> done) override {
    done(refuse(errc::unsupported_by_engine));
  }
  void detach(ticket id, std::uint32_t epoch) override;
  void undelivered(const granted& given) override;

  void status(lock_name name, std::size_t holders, std::size_t waiters,
              completion<answer<lock_view>> done) override;
  void validate(lock_name name, fencing_token token, completion<answer<validity>> done) override;
  void places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) override;
  void list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit,
            completion<answer<page<lock_view>>> done) override {
    done(table_.list(now(), filter, cursor, limit));
  }
  void sessions(std::uint64_t, std::size_t, completion<answer<page<session_view>>> done) override {
    done(page<session_view>{});
  }
  void edges(std::size_t limit, completion<answer<std::vector<wait_edge>>> done) override {
    done(table_.edges(limit));
  }
  table_counts counts() const override { return table_.counts(); }
  void for_each_auto_renewed(
      const std::function<void(const lease_proof&, duration, instant)>& visit) override {
    table_.for_each_auto_renewed(visit);
  }

 private:
  // One question to all nodes about one owner of one lock, until it is known what they say, and beyond.
  struct attempt {
    attempt(std::size_t nodes, duration life, duration wanted) : votes(nodes, life, wanted), life(life) {}

    round votes;
    duration life;
    ticket id{};
    std::string lock, client, metadata;
    minted as;
    instant started{};
    mask asked = 0;  // nodes that may have accepted
    bool decided = false, won = false;
    // What those who hold it said: by digest of their value.
    struct holder {
      std::string digest;
      std::size_t nodes = 0;
      bool ours = false;  // dislock wrote it: then it is known who that is
      holder_view who;
      std::vector<instant> ends;
    };
    std::vector<holder> holders;
    std::size_t late = 0;

    /// Nodes that have said something, whatever it was.
    [[nodiscard]] std::size_t heard() const noexcept {
      return votes.count(vote::accepted) + votes.count(vote::refused) + late;
    }
  };
  using attempt_ptr = std::shared_ptr<attempt>;

  // The head of a queue, on whose behalf the nodes are asked.
  struct contest : core::timed {
    contest() : core::timed(core::timer_kind::waiter) {}
    std::string lock, client, metadata;
    ticket id{};
    duration ttl{};
    attempt_ptr under_way;
    bool trying = false;  // the table waits for the end of the attempt
    int rounds = 0;       // of it
    unsigned rests = 0;
    mask freed = 0;                     // nodes that said that it is free, while it rests
    std::optional<holder_view> holder;  // who was in the way
  };

  // A lease that was granted here.
  struct held {
    std::string lock, client, metadata;
    minted as;
    instant assured{};  // until then a majority certainly holds it
    instant end{};      // what was told last
    std::uint32_t holds = 1;
    mask on = 0;     // nodes that hold it, as far as is known
    mask asked = 0;  // nodes that may
    mask freed = 0;  // nodes that say it was given back elsewhere
  };

  // What has to be given back on every node that may hold it. Stays until all have answered, or the keys are
  // over.
  struct undo {
    explicit undo(std::size_t nodes) : votes(nodes, duration(0), -std::chrono::hours(1)) {}
    std::string lock, value, only_by;
    bool tell = false;
    mask open = 0;             // nodes that have not answered yet
    bool deleted = false;      // some node had it
    std::size_t may_hold = 0;  // nodes that have not denied it
    mask under_way = 0;        // nodes that are being asked
    instant until{};
    round votes;                       // of the first try
    unique_function<void(bool)> done;  // a majority does not hold it any more; or nobody knows
  };
  using undo_ptr = std::shared_ptr<undo>;

  static core::table_options by_turns(core::table_options o) {
    o.by_turns = true;
    return o;
  }

  void on_resolved(ticket id, std::uint32_t epoch, acquire_answer&& outcome) override;
  void on_event(const event& e) override;
  void on_deadlock(const deadlock& d) override { listener_->on_deadlock(d); }
  void on_turn(const core::turn& t) override;

  void on_connected(std::size_t node) override;
  void on_admission() override;
  void on_freed(std::size_t node, std::string_view lock) override;

  [[nodiscard]] std::size_t size() const noexcept { return nodes_->size(); }
  [[nodiscard]] std::string key_of(std::string_view lock) const {
    return prefixes_.canonical + std::string(lock);
  }
  [[nodiscard]] std::string record_of(std::string_view lock) const {
    return prefixes_.own + "redlock:lock:" + std::string(lock);
  }
  void ask(std::size_t node, std::string_view verb, std::string_view lock, std::span<const std::string> words,
           duration patience, node_set::answered done) {
    nodes_->ask(node, verb, key_of(lock), record_of(lock), words, patience,
                [this, done = std::move(done)](const node_answer* said) mutable {
                  done(said);
                  end_when_quiet();
                });
  }
  [[nodiscard]] duration chance_up_to(duration most) {
    return duration(std::uniform_int_distribution<std::int64_t>(0, most.count())(chances_));
  }

  void try_for(contest& c);
  void take_vote(const attempt_ptr& a, std::size_t node, const node_answer* said);
  void conclude(const attempt_ptr& a);
  void won(const attempt_ptr& a, contest* c);
  void lost(const attempt_ptr& a, contest& c);
  void abandon(const attempt_ptr& a);
  contest* contest_of(const attempt& a);
  void rest(contest& c, instant until);
  [[nodiscard]] std::vector<std::string> vote_words(std::size_t node, const minted& as, duration life,
                                                    std::string_view client, std::string_view metadata,
                                                    std::uint32_t holds, duration patience) const;

  undo_ptr give_back(std::string_view lock, const lock_id& id, mask where, instant until, bool only_mine,
                     bool tell);
  void undo_on(const undo_ptr& u, std::size_t node);
  [[nodiscard]] undo_ptr just_given_back(std::string_view lock) const;
  [[nodiscard]] undo_ptr giving_back(std::string_view lock, std::string_view value) const;
  [[nodiscard]] undo_ptr not_yet_given_back(std::string_view lock) const;
  void ask_again(const undo_ptr& u);
  [[nodiscard]] static bool is_given_back(const undo& u) noexcept {
    return u.votes.judge(duration::zero()) == verdict::won;
  }
  // A majority that does not have it may have missed or forgotten it: whether it was held at all is known
  // when the others have answered as well.
  [[nodiscard]] bool is_settled(const undo& u) const noexcept {
    if (u.votes.judge(duration::zero()) == verdict::undecided) return false;
    return u.deleted || u.may_hold >= core::majority_of(size()) || u.under_way == 0;
  }
  void when_given_back(const undo_ptr& u, unique_function<void(bool)> done);
  void assure(fencing_token token, instant end, std::uint32_t holds, unique_function<void(errc)> done);
  void repair();
  void doubt(fencing_token token);

  // Asks all nodes the same; `done` gets the votes once they are decided. What comes later is only read.
  struct poll {
    explicit poll(std::size_t nodes) : votes(nodes, duration(0), -std::chrono::hours(1)) {}
    round votes;
    bool over = false;
  };
  template <class Read, class Done>
  void poll_nodes(std::string_view verb, std::string_view lock, const std::vector<std::string>& words,
                  Read read, Done done);

  // Who holds a lock, as a majority sees it.
  struct sight {
    bool known = false;  // a majority has answered
    bool held = false;   // by a majority; or by so many that it can be, with the nodes that did not answer
    bool ours = false;   // by a value that dislock wrote
    std::uint64_t last = 0;
    holder_view who;
    std::size_t needed = 0, silent = 0;                          // of the nodes
    std::vector<std::pair<fencing_token, std::size_t>> holding;  // on how many, of those that dislock wrote

    [[nodiscard]] std::size_t nodes_with(fencing_token token) const noexcept {
      for (const auto& [each, nodes] : holding)
        if (each == token) return nodes;
      return 0;
    }
    // Not excluded, and seen somewhere.
    [[nodiscard]] bool may_be_held_by(fencing_token token) const noexcept {
      const auto nodes = nodes_with(token);
      return nodes > 0 && nodes + silent >= needed;
    }
  };
  void look(std::string_view lock, unique_function<void(const sight&)> done);

  void answer_acquire(granted&& got, completion<acquire_answer> done);
  [[nodiscard]] refusal_ptr explained(refusal_ptr why) const;
  [[nodiscard]] const holder_view* holder_elsewhere(const std::string& lock) const {
    const auto it = contests_.find(lock);
    return it != contests_.end() && it->second->holder ? &*it->second->holder : nullptr;
  }

  void end_when_quiet();
  void wake();
  void after_decision();
  void deliver();
  void wake_later();
  template <class T>
  [[nodiscard]] bool refused(completion<T>& done, bool supported) {
    if (!stopped_ && supported) [[likely]]
      return false;
    done(refuse(stopped_ ? errc::draining : errc::unsupported_by_engine));
    return true;
  }

  const redlock_engine_options options_;
  redis::key_prefixes prefixes_;
  loop& loop_;
  system_secrets secrets_;
  event_log events_;
  const std::string me_;
  std::mt19937_64 chances_;
  core::lock_table table_;
  capabilities about_;
  engine_listener* listener_ = nullptr;

  struct awaited {
    std::uint32_t epoch = 0;
    queued place;
    completion<acquire_answer> done;
  };
  boost::unordered_flat_map<std::uint64_t, awaited> awaited_;  // by ticket: told when the attempt is over
  boost::unordered_flat_map<std::string, std::unique_ptr<contest>> contests_;  // by lock
  core::deadline_queue rests_;
  boost::unordered_flat_map<std::uint64_t, held> held_;  // by token
  boost::unordered_flat_map<std::string, std::uint64_t> held_by_lock_;
  std::list<undo_ptr> undone_;
  std::uint64_t largest_ = 0;  // token that was proposed, or named by a node
  std::deque<unique_function<void()>> outbox_;
  std::vector<undo_ptr> given_back_;  // by the decision under way
  unique_function<void()> ended_;
  instant next_repair_ = never;
  bool delivering_ = false, stopped_ = false, tidying_ = false, more_ = false, undone_full_ = false;
  bool end_is_near_ = false;
  std::unique_ptr<node_set> nodes_;  // last: its end silences everything
};

}  // namespace dislock::redlock
