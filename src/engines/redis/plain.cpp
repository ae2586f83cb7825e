#include "engines/redis/plain.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

namespace dislock::redis {
namespace {

// A number with leading zeros, to be compared as text.
template <std::size_t Width>
class padded {
 public:
  explicit padded(std::uint64_t number) noexcept {
    for (auto i = Width; i > 0; number /= 10) text_[--i] = static_cast<char>('0' + number % 10);
  }
  operator std::string_view() const noexcept { return {text_.data(), Width}; }

 private:
  std::array<char, Width> text_;
};
padded<16> instant_text(std::int64_t at) noexcept {
  return padded<16>(static_cast<std::uint64_t>(std::max<std::int64_t>(at, 0)));
}

template <class Tag>
class secret_text {
 public:
  explicit secret_text(const secret<Tag>& s) noexcept {
    constexpr char digits[] = "0123456789abcdef";
    auto* out = text_.data();
    for (const auto word : s.bits)
      for (int shift = 60; shift >= 0; shift -= 4) *out++ = digits[(word >> shift) & 15];
    length_ = s.empty() ? 0 : text_.size();
  }
  operator std::string_view() const noexcept { return {text_.data(), length_}; }

 private:
  std::array<char, 32> text_;
  std::size_t length_;
};

class decimal {
 public:
  explicit decimal(std::int64_t number) noexcept
      : end_(std::to_chars(text_.data(), text_.data() + text_.size(), number).ptr) {}
  operator std::string_view() const noexcept {
    return {text_.data(), static_cast<std::size_t>(end_ - text_.data())};
  }

 private:
  std::array<char, 24> text_;
  char* end_;
};

std::int64_t in_ms(duration d) noexcept {
  return std::chrono::ceil<std::chrono::milliseconds>(d).count();
}
// How long the record of a lease outlives its key, so that a repeat can be told how it ended, and that nobody
// loses a lease while nothing is granted.
duration keep_for(const plain_terms& terms) {
  return terms.request_memory + std::max<duration>(std::chrono::seconds(30), terms.pause);
}
// Where a record has the client, counted from one.
constexpr std::int64_t client_at = 147;
// Where the common part has it, counted from zero.
constexpr std::size_t patient_at = 8;

void add_keys(script_words& out, const plain_terms& terms, lock_name name) {
  out.key({terms.side_prefix, "lock:", name.view()}).key({terms.canonical_prefix, name.view()});
}
// Three of each call that may come together with others.
constexpr std::size_t keys_of_a_call = 3;
void add_keys(script_words& out, const plain_terms& terms, lock_name name, client_id client,
              request_id request) {
  add_keys(out, terms, name);
  if (request.empty()) {
    out.key({terms.side_prefix, "lock:", name.view()});
  } else {
    out.key({terms.side_prefix, "m:", name.view(), "\n", client.view(), "\n", request.view()});
  }
}
void add_last_key(script_words& out, const plain_terms& terms) {
  if (!terms.nothing.empty()) out.key({terms.nothing});
}
// The client, if one is named, and where he ends.
void add_client(script_words& out, client_id client) {
  out.word({client.view(), client.empty() ? "" : "\n"})
      .word({decimal(client_at + static_cast<std::int64_t>(client.view().size()))});
}

}  // namespace

script_words& script_words::key(std::initializer_list<std::string_view> parts) {
  ++keys_;
  return word(parts);
}
script_words& script_words::word(std::initializer_list<std::string_view> parts) {
  if (text_.empty()) text_.reserve(896);
  for (const auto part : parts) text_ += part;
  ends_.push_back(static_cast<std::uint32_t>(text_.size()));
  return *this;
}
script_words::views script_words::all() const {
  views out;
  std::size_t from = 0;
  for (std::size_t i = 0; i < ends_.size(); from = ends_[i++]) {
    const auto one = std::string_view(text_).substr(from, ends_[i] - from);
    if (i < keys_) {
      out.keys.push_back(one);
    } else {
      out.arguments.push_back(one);
    }
  }
  return out;
}
script_words script_words::patient() const {
  const auto all = this->all();
  script_words out;
  for (const auto k : all.keys) out.key({k});
  const auto common = all.arguments.front();
  if (common.starts_with('{')) {
    out.word({common.substr(0, common.size() - 1), ",\"patient\":1}"});
  } else {
    out.word({common.substr(0, patient_at), "1", common.substr(patient_at + 1)});
  }
  for (auto w = all.arguments.begin() + 1; w != all.arguments.end(); ++w) out.word({*w});
  return out;
}

std::string house_words(const house_rules& rules) {
  std::string out(padded<3>(rules.side_prefix.size()));
  for (const bool flag :
       {rules.callers_are_here, rules.exclusive_failover, rules.cluster, rules.plain_counter, false})
    out += flag ? '1' : '0';
  for (const auto d :
       {rules.waiter_grace, rules.request_memory, rules.replica_lapse, rules.ahead, rules.covered})
    out += padded<12>(static_cast<std::uint64_t>(d.count()));
  out += padded<10>(rules.queue_max);
  // The store counts a life from its own millisecond.
  return out + rules.replica + '\n' + std::string(decimal(in_ms(rules.request_memory) + 1)) + '\n';
}

bool is_plain(const plain_terms& terms, const acquire_request& r) noexcept {
  return !r.multi && r.wants.size() == 1 && r.wants[0].mode == lock_mode::exclusive &&
         r.ttl <= terms.longest && r.lock_delay == duration::zero() && !r.max_hold && !r.auto_renew &&
         r.session.empty() && r.reentry.empty();
}
bool is_plain(const plain_terms&, const release_request& r) noexcept {
  return !r.multi && r.leases.size() == 1 && !r.leases[0].id.empty();
}
bool is_plain(const plain_terms& terms, const renew_request& r) noexcept {
  return !r.multi && r.leases.size() == 1 && r.request.empty() && !r.by_service &&
         (!r.ttl || *r.ttl <= terms.longest);
}

script_words plain_acquire(const plain_terms& terms, const acquire_request& r, lock_id id,
                           renewal_token renewal, std::uint64_t print) {
  const auto name = r.wants[0].name;
  script_words out;
  add_keys(out, terms, name, r.client, r.request);
  out.key({terms.side_prefix, "fence"});
  add_last_key(out, terms);
  const auto life = in_ms(r.ttl) + 1;  // the store counts it from its own millisecond
  out.word({"a", terms.house_rules});
  out.word({padded<12>(static_cast<std::uint64_t>(r.ttl.count())), secret_text(id), secret_text(renewal),
            padded<20>(print), r.client.view(), "\n", r.request.view(), "\n", r.metadata, "\n"});
  out.word({decimal(life)}).word({decimal(life + in_ms(keep_for(terms)))});
  out.word({decimal(r.wait.count())});
  return out;
}

script_words plain_release(const plain_terms& terms, const release_request& r, std::uint64_t print,
                           std::int64_t at) {
  const auto& lease = r.leases[0];
  script_words out;
  add_keys(out, terms, lease.name, r.client, r.request);
  add_last_key(out, terms);
  out.word({"r", terms.house_rules}).word({secret_text(lease.id)});
  const auto call_length = r.client.view().size() + 1 + r.request.view().size();
  out.word({r.client.view(), "\n", r.request.view(), padded<3>(call_length), padded<20>(print),
            instant_text(at), "T"});
  add_client(out, r.client);
  return out;
}

script_words plain_renew(const plain_terms& terms, const renew_request& r) {
  const auto& lease = r.leases[0];
  script_words out;
  add_keys(out, terms, lease.name);
  out.key({terms.side_prefix, "fence"});
  add_last_key(out, terms);
  out.word({"n", terms.house_rules});
  out.word({secret_text(lease.id)}).word({secret_text(lease.renewal)});
  add_client(out, r.client);
  if (r.ttl) {
    out.word({padded<12>(static_cast<std::uint64_t>(r.ttl->count()))});
  } else {
    out.word({});
  }
  out.word({decimal(in_ms(keep_for(terms)))});
  return out;
}

script_words together(std::span<const std::shared_ptr<const script_words>> calls) {
  script_words out;
  for (const auto& c : calls) {
    const auto all = c->all();
    for (std::size_t i = 0; i < keys_of_a_call; ++i) out.key({all.keys[i]});
  }
  const auto first = calls.front()->all();
  for (auto i = keys_of_a_call; i < first.keys.size(); ++i) out.key({first.keys[i]});
  out.word({first.arguments.front()});
  for (const auto& c : calls) {
    const auto all = c->all();
    for (std::size_t i = 1; i < all.arguments.size(); ++i) out.word({all.arguments[i]});
  }
  return out;
}

std::vector<std::optional<plain_answer>> read_together(const reply& got, std::size_t calls) {
  std::vector<std::optional<plain_answer>> out;
  out.reserve(calls);
  std::string_view left = got.text;
  while (out.size() < calls) {
    const auto end = std::min(left.find('\n'), left.size());
    out.push_back(read_plain(left.substr(0, end)));
    left.remove_prefix(std::min(end + 1, left.size()));
  }
  return out;
}

std::optional<plain_answer> read_plain(const reply& got) {
  return got.is == reply::kind::bulk ? read_plain(std::string_view(got.text)) : std::nullopt;
}
std::optional<plain_answer> read_plain(std::string_view text) {
  if (text.size() < 32 || text[0] < '0' || text[0] > '9') return std::nullopt;
  const auto number = [&](std::size_t from, std::size_t count) {
    std::int64_t n = 0;
    std::from_chars(text.data() + from, text.data() + from + count, n);
    return n;
  };
  const fencing_token token{static_cast<std::uint64_t>(number(16, 16))};
  plain_answer out{number(0, 16), token, {}, {}};
  if (text.substr(32).starts_with('t')) out.ttl = duration(number(33, 12));
  if (text.substr(32).starts_with('c')) out.client = text.substr(33);
  return out;
}

}  // namespace dislock::redis
