#include "engines/redis/asking.hpp"

#include "core/request_memory.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>

namespace dislock::redis {
namespace {

std::string_view word_for(lock_mode m) {
  switch (m) {
    case lock_mode::exclusive:
      return "exclusive";
    case lock_mode::shared:
      return "shared";
    case lock_mode::semaphore:
      return "semaphore";
  }
  return {};
}

// Names and identities need no escapes; text of people may.
void append_quoted(std::string& out, std::string_view text) {
  const auto plain = [](char c) { return c >= ' ' && c != '"' && c != '\\' && c != 0x7f; };
  if (std::all_of(text.begin(), text.end(), plain)) {
    out.append(1, '"').append(text).append(1, '"');
  } else {
    out += boost::json::serialize(boost::json::string_view(text.data(), text.size()));
  }
}

}  // namespace

std::string ask::common(const house_rules& rules) {
  ask out("", "");
  out.text_ = "{";
  out.text_ += "\"tag\":";
  append_quoted(out.text_, rules.side_prefix);
  out.put("canonical", rules.canonical_prefix)
      .put("me", rules.replica)
      .put("grace", rules.waiter_grace)
      .put("memory", rules.request_memory)
      .put("lapse", rules.replica_lapse)
      .put("ahead", rules.ahead)
      .put("covered", rules.covered)
      .put("queue_max", static_cast<std::int64_t>(rules.queue_max));
  if (rules.callers_are_here) out.put("here", std::int64_t{1});
  if (rules.exclusive_failover) out.put("exclusive", std::int64_t{1});
  if (rules.cluster) out.put("cluster", std::int64_t{1});
  if (rules.plain_counter) out.put("counter", std::int64_t{1});
  return std::move(out.text_);
}

ask::ask(std::string_view rules, std::string_view verb) : text_(rules) {
  put("verb", verb);
}

void ask::name(std::string_view n) {
  text_.append(",\"").append(n).append("\":");
}

ask& ask::put(std::string_view n, std::string_view text) {
  name(n);
  append_quoted(text_, text);
  return *this;
}

ask& ask::put(std::string_view n, std::int64_t number) {
  name(n);
  text_ += std::to_string(number);
  return *this;
}

ask& ask::put(std::string_view n, const std::vector<std::string>& texts) {
  name(n);
  text_ += '[';
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) text_ += ',';
    append_quoted(text_, texts[i]);
  }
  text_ += ']';
  return *this;
}

ask& ask::put(std::string_view n, const std::vector<cycle_step>& cycle) {
  name(n);
  text_ += '[';
  for (std::size_t i = 0; i < cycle.size(); ++i) {
    const auto& step = cycle[i];
    if (i > 0) text_ += ',';
    text_ += "{\"client\":";
    append_quoted(text_, step.client);
    text_ += ",\"lock\":";
    append_quoted(text_, step.lock);
    text_ += ",\"blocker\":";
    append_quoted(text_, step.blocker);
    if (step.behind) text_ += ",\"behind\":true";
    text_ += '}';
  }
  text_ += ']';
  return *this;
}

ask& ask::put(std::span<const lock_want> wants) {
  name("wants");
  text_ += '[';
  for (std::size_t i = 0; i < wants.size(); ++i) {
    const auto& w = wants[i];
    if (i > 0) text_ += ',';
    text_ += "{\"name\":";
    append_quoted(text_, w.name.view());
    const bool counts = w.mode == lock_mode::semaphore;
    text_.append(",\"mode\":\"").append(word_for(w.mode)).append("\",\"limit\":");
    text_ += std::to_string(counts ? w.limit : 0);
    text_ += ",\"permits\":";
    text_ += std::to_string(counts ? w.permits : 1);
    text_ += '}';
  }
  text_ += ']';
  return *this;
}

ask& ask::put(std::span<const lease_proof> leases) {
  name("leases");
  text_ += '[';
  for (std::size_t i = 0; i < leases.size(); ++i) {
    const auto& p = leases[i];
    if (i > 0) text_ += ',';
    text_ += "{\"name\":";
    append_quoted(text_, p.name.view());
    text_ += ",\"id\":\"";
    if (!p.id.empty()) p.id.append_to(text_);
    text_ += "\",\"renewal\":\"";
    if (!p.renewal.empty()) p.renewal.append_to(text_);
    text_ += "\"}";
  }
  text_ += ']';
  return *this;
}

ask& ask::put_secrets(std::span<const std::pair<lock_id, renewal_token>> secrets) {
  name("secrets");
  text_ += '[';
  for (std::size_t i = 0; i < secrets.size(); ++i) {
    if (i > 0) text_ += ',';
    text_ += "[\"";
    secrets[i].first.append_to(text_);
    text_ += "\",\"";
    secrets[i].second.append_to(text_);
    text_ += "\"]";
  }
  text_ += ']';
  return *this;
}

ask& ask::put_call(const call_id& call, std::uint64_t print) {
  put("request", call.request.view());
  put("scope", call.table_wide ? std::string_view() : call.lock.view());
  put("client", call.client.view());
  auto digits = std::to_string(print);
  digits.insert(0, 20 - std::min<std::size_t>(digits.size(), 20), '0');  // as in the plain case
  return put("print", std::string_view(digits));
}

std::uint64_t print_of(const acquire_request& r) {
  core::fingerprint f("acquire");
  f.add(std::uint64_t{r.multi});
  for (const auto& w : r.wants)
    f.add(w.name.view())
        .add(static_cast<std::uint64_t>(w.mode))
        .add(std::uint64_t{w.limit})
        .add(std::uint64_t{w.permits});
  f.add(r.ttl).add(r.lock_delay).add(r.max_hold.value_or(duration(-1))).add(std::uint64_t{r.auto_renew});
  return f.add(r.session).add(r.reentry).add(r.metadata).value();
}

std::uint64_t print_of(std::string_view verb, std::span<const lease_proof> leases,
                       std::optional<duration> ttl) {
  core::fingerprint f(verb);
  for (const auto& p : leases) f.add(p.name.view()).add(p.id).add(p.renewal);
  return f.add(ttl.value_or(duration(-1))).value();
}

}  // namespace dislock::redis
