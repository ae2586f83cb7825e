// Who serves which slot: asks the nodes of a Cluster.
#pragma once

#include "engines/redis/wire/question.hpp"
#include "engines/redis/wire/slots.hpp"

#include <memory>
#include <string>
#include <vector>

namespace dislock::redis {

/// Told, and asked, by the reader. No member may destroy it.
class map_reader_user {
 public:
  /// Every node that is known, with `connected` for those that are well.
  virtual void name_nodes(std::vector<address>& connected, std::vector<address>& others) const = 0;
  virtual void on_map(slot_map&& map) = 0;

 protected:
  ~map_reader_user() = default;
};

/// Asks one node after the other until one knows: those that are connected first, not always the same one,
/// and those that the URL names last. When nobody does, it begins again after a rest.
class map_reader {
 public:
  map_reader(wiring& w, map_reader_user& user)
      : wiring_(w), user_(user), alarm_(w.io, w.time, [this] { begin(); }) {}

  void begin();
  /// Unless it is at it, or was a moment ago: then in a moment.
  void begin_soon();
  void stop();
  /// Why the last node that was asked could not say.
  [[nodiscard]] const std::string& trouble() const noexcept { return trouble_; }

 private:
  void ask();
  void on_answer(const address& asked, question::result&& got);

  wiring& wiring_;
  map_reader_user& user_;
  bool stopped_ = false;
  std::unique_ptr<question> question_;
  std::vector<address> candidates_;  // the last one is asked first
  std::string trouble_ = "not connected yet";
  unsigned failures_ = 0;
  instant not_before_{};
  alarm alarm_;
};

}  // namespace dislock::redis
