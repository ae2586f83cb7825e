// Which request ids are remembered, and when they are forgotten.
#pragma once

#include "base/assert.hpp"
#include "core/entities.hpp"

#include <boost/unordered/unordered_flat_set.hpp>

#include <cstdint>
#include <deque>
#include <string_view>

namespace dislock::core {

/// A digest of a call's body: a repeated id must come with the same one. Not against adversaries, who could
/// only fool themselves. (FNV-1a over the fields, with a final mix.)
class fingerprint {
 public:
  explicit fingerprint(std::string_view verb) noexcept { add(verb); }
  fingerprint& add(std::uint64_t v) noexcept {
    value_ = (value_ ^ v) * 0x100000001b3u;
    value_ ^= value_ >> 29;
    return *this;
  }
  fingerprint& add(std::string_view s) noexcept {
    for (const char c : s) value_ = (value_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return add(s.size());
  }
  fingerprint& add(duration d) noexcept { return add(static_cast<std::uint64_t>(d.count())); }
  template <class Tag>
  fingerprint& add(const secret<Tag>& s) noexcept {
    return add(s.bits[0]).add(s.bits[1]);
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_ | 1; }  // zero: a body that nobody saw

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

/// The index of memos and the order in which they are forgotten. Owns nothing.
class request_memory {
 public:
  [[nodiscard]] memo* find(const lock* scope, const client* who, std::string_view request) const noexcept {
    const auto it = index_.find(key{scope, who, request});
    return it == index_.end() ? nullptr : *it;
  }
  void add(memo& m) { index_.insert(&m); }
  void remove(memo& m) noexcept { index_.erase(&m); }
  /// Once per memo. All memos live equally long, so the line is in the order in which they end.
  void forget_at(memo& m, instant at) {
    DISLOCK_ASSERT(!m.over, "a memo is put in line once");
    m.over = true;
    m.when = at;
    line_.push_back(&m);
  }
  /// Takes the memo out of the line whose time has come, if there is one.
  [[nodiscard]] memo* take_due(instant now) noexcept {
    if (next() > now) return nullptr;
    auto* first = line_.front();
    line_.pop_front();
    return first;
  }
  [[nodiscard]] instant next() const noexcept { return line_.empty() ? never : line_.front()->when; }
  [[nodiscard]] std::size_t size() const noexcept { return index_.size(); }
  template <class Visit>
  void for_each(Visit visit) const {
    for (auto* m : index_) visit(*m);
  }

 private:
  struct key {
    const lock* scope;
    const client* who;
    std::string_view request;
  };
  static std::size_t hash(const lock* scope, const client* who, std::string_view request) noexcept {
    auto h = hash_of(request);
    h ^= reinterpret_cast<std::uintptr_t>(scope) * 0x9e3779b97f4a7c15u;
    h ^= (reinterpret_cast<std::uintptr_t>(who) >> 4) * 0xc2b2ae3d27d4eb4fu;
    return h ^ (h >> 32);
  }
  struct hasher {
    using is_transparent = void;
    std::size_t operator()(const memo* m) const noexcept { return hash(m->scope, m->who, m->request.view()); }
    std::size_t operator()(const key& k) const noexcept { return hash(k.scope, k.who, k.request); }
  };
  struct equal {
    using is_transparent = void;
    bool operator()(const memo* a, const memo* b) const noexcept { return a == b; }
    bool operator()(const key& k, const memo* m) const noexcept {
      return k.scope == m->scope && k.who == m->who && k.request == m->request.view();
    }
    bool operator()(const memo* m, const key& k) const noexcept { return (*this)(k, m); }
  };

  boost::unordered_flat_set<memo*, hasher, equal> index_;
  std::deque<memo*> line_;
};

}  // namespace dislock::core
