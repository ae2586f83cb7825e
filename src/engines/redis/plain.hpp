// The plain case: calls that lua/plain.lua can decide in a few commands, as it is asked them.
#pragma once

#include "core/decision.hpp"
#include "engines/redis/asking.hpp"
#include "engines/redis/telling.hpp"

#include <boost/container/small_vector.hpp>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dislock::redis {

/// The keys and arguments of one call of a script, in one piece of memory.
class script_words {
 public:
  /// The keys come first.
  script_words& key(std::initializer_list<std::string_view> parts);
  script_words& word(std::initializer_list<std::string_view> parts);
  /// Valid until the next word, and while this lives.
  struct views {
    boost::container::small_vector<std::string_view, 4> keys;
    boost::container::small_vector<std::string_view, 12> arguments;
  };
  [[nodiscard]] views all() const;
  /// The same, as somebody asks who would rather wait than be told that nothing is granted right now.
  [[nodiscard]] script_words patient() const;

 private:
  std::string text_;
  boost::container::small_vector<std::uint32_t, 16> ends_;
  std::size_t keys_ = 0;
};

/// What all plain calls are told.
struct plain_terms {
  std::string side_prefix, canonical_prefix;
  std::string house_rules;  ///< as `house_words` makes it
  duration request_memory{};
  duration longest{};  ///< of the ttls: the end of such a lease is covered by the horizon that goes with the
                       ///< ceiling of its token (see fence_keeper)
  duration pause{};    ///< nothing may be granted for so long, and what was held lives on
  std::string nothing{};  ///< on a Cluster, a key that never exists; see lua/plain.lua
};

/// What every plain call is told after its verb, as lua/plain.lua reads it.
[[nodiscard]] std::string house_words(const house_rules& rules);

/// An exclusive lease of its own, with nothing that has to be kept beside it.
[[nodiscard]] bool is_plain(const plain_terms& terms, const acquire_request& r) noexcept;
[[nodiscard]] bool is_plain(const plain_terms& terms, const release_request& r) noexcept;
[[nodiscard]] bool is_plain(const plain_terms& terms, const renew_request& r) noexcept;

/// REQUIRES: is_plain.
[[nodiscard]] script_words plain_acquire(const plain_terms& terms, const acquire_request& r, lock_id id,
                                         renewal_token renewal, std::uint64_t print);
/// `at`: the store's time, as far as we know.
[[nodiscard]] script_words plain_release(const plain_terms& terms, const release_request& r,
                                         std::uint64_t print, std::int64_t at);
[[nodiscard]] script_words plain_renew(const plain_terms& terms, const renew_request& r);

/// The answer to a plain acquire: when it was, and the token; to a release: when the lease was granted, and
/// its token; to a renewal: when it was, the token and the ttl. Nothing: the rules have answered.
struct plain_answer {
  std::int64_t at = 0;
  fencing_token token{};
  duration ttl{};      ///< of a renewal
  std::string client;  ///< of a release that named none
};
[[nodiscard]] std::optional<plain_answer> read_plain(const reply& got);
[[nodiscard]] std::optional<plain_answer> read_plain(std::string_view text);

/// Several acquires, or several releases, as one call of the script; each as it would be asked alone. Of two
/// that are about one lock the second is left undecided. REQUIRES: at least two, all of one kind and one
/// engine.
[[nodiscard]] script_words together(std::span<const std::shared_ptr<const script_words>> calls);
/// What became of each; nothing: it was not decided, and is to be asked alone.
[[nodiscard]] std::vector<std::optional<plain_answer>> read_together(const reply& got, std::size_t calls);

}  // namespace dislock::redis
