// The servers of a redlock set: connections, questions, and who may vote.
#pragma once

#include "engine/loop.hpp"
#include "engines/redis/wire/client.hpp"
#include "engines/redlock/admission.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::redlock {

struct node_settings {
  redis::store_url url;
  std::string memory_key;  ///< what a node remembers of itself
  std::string channel;     ///< on which a node tells that a lock is free
  duration silence{};      ///< as long as a lease can last, by the clocks of the nodes
  founding_rule founding = founding_rule::all;
};

/// One answer of a node's script.
struct node_answer {
  std::string_view word;
  const redis::reply* rest;  ///< all of it: the word, the time, and then
  [[nodiscard]] std::string_view text(std::size_t i) const noexcept { return rest->at(i + 2).text; }
  /// Nothing for what is no token.
  [[nodiscard]] std::optional<std::uint64_t> token(std::size_t i) const noexcept;
  [[nodiscard]] std::int64_t number(std::size_t i) const noexcept;
  /// The node's, when it answered.
  [[nodiscard]] std::int64_t time() const noexcept;
};

class nodes_listener {
 public:
  virtual void on_connected(std::size_t node) = 0;
  /// Who votes has changed.
  virtual void on_admission() = 0;
  /// A node says that this lock is free.
  virtual void on_freed(std::size_t node, std::string_view lock) = 0;

 protected:
  ~nodes_listener() = default;
};

/// Asks each node on its own; counts nothing. One strand. A node that is not admitted says so itself
/// ("stranger", "quiet"), whoever asks it: nothing relies on what this process believes of it.
class node_set final {
 public:
  using answered = unique_function<void(const node_answer*)>;

  [[nodiscard]] static result<std::unique_ptr<node_set>> make(boost::asio::io_context& io, loop& where,
                                                              const clock& network_time,
                                                              node_settings settings,
                                                              nodes_listener& listener);
  ~node_set();
  node_set(const node_set&) = delete;
  node_set& operator=(const node_set&) = delete;

  void start();

  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  /// A question can be sent to it right now.
  [[nodiscard]] bool reachable(std::size_t node) const noexcept;
  /// It can be asked, and voted when it was asked last.
  [[nodiscard]] bool votes(std::size_t node) const noexcept;
  /// Nodes that voted when they were asked last, and can be asked.
  [[nodiscard]] std::size_t voting() const noexcept;
  /// Nodes that have every write on disk before they answer, and vote.
  [[nodiscard]] std::size_t safe() const noexcept;
  /// Questions without an answer.
  [[nodiscard]] std::size_t open() const noexcept;
  [[nodiscard]] std::string trouble() const;
  /// Everything is asked for, and nothing is under way.
  [[nodiscard]] bool at_rest() const noexcept { return open() == 0 && !surveying_; }

  /// Runs the verb of lua/ with these words on one node. Null: no answer came within `patience`, or none that
  /// makes sense. Answers never come from inside of the call, and not after the end of this object.
  void ask(std::size_t node, std::string_view verb, std::string_view lock_key, std::string_view record_key,
           std::span<const std::string> words, duration patience, answered done);
  /// The node's time after which a question that is sent now is of no use; 0 while its clock is unknown.
  [[nodiscard]] std::int64_t no_later(std::size_t node, duration patience) const noexcept;

  /// To be called at `next()`.
  void wake();
  [[nodiscard]] instant next() const noexcept { return next_survey_; }

 private:
  struct node;

  node_set(loop& where, const clock& network_time, node_settings settings, nodes_listener& listener);
  void survey();
  void surveyed();
  void survey_soon() { next_survey_ = std::min(next_survey_, loop_.now()); }

  const node_settings settings_;
  loop& loop_;
  const clock& network_time_;
  nodes_listener& listener_;
  std::vector<std::unique_ptr<node>> nodes_;
  std::vector<node_memory> found_;  // by the survey under way
  std::size_t awaited_ = 0;         // answers of it
  int in_a_row_ = 0;                // surveys that had something to do
  bool surveying_ = false, again_ = false, over_ = false;
  instant next_survey_ = never, started_{};
};

}  // namespace dislock::redlock
