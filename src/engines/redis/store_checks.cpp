#include "engines/redis/store_checks.hpp"

#include <charconv>

namespace dislock::redis {
namespace {

error wrong(std::string detail) {
  error e;
  e.code = errc::invalid_field;
  e.detail = "url: " + std::move(detail);
  return e;
}

// 6.2 and whatever is newer.
bool is_new_enough(std::string_view version) {
  unsigned major = 0, minor = 0;
  const auto* const end = version.data() + version.size();
  const auto [dot, bad] = std::from_chars(version.data(), end, major);
  if (bad != std::errc() || dot == end || *dot != '.') return false;
  if (std::from_chars(dot + 1, end, minor).ec != std::errc()) return false;
  return major > 6 || (major == 6 && minor >= 2);
}

bool may_evict(const server_facts& said) {
  const auto policy = said.field("maxmemory_policy");
  return said.number("maxmemory") > 0 && !policy.empty() && policy != "noeviction";
}

}  // namespace

result<failover_terms> read_failover_terms(const store_url& url, failover_terms terms) {
  for (const auto& [name, value] : url.others) {
    if (name == "acks") {
      if (value == "at-least-one") {
        terms.acks = acks_policy::at_least_one;
      } else if (value == "all") {
        terms.acks = acks_policy::all;
      } else if (value == "none") {
        terms.acks = acks_policy::none;
      } else {
        return wrong("acks is at-least-one, all or none");
      }
    } else if (name == "failover") {
      if (value != "exclusive" && value != "fence-only") return wrong("failover is exclusive or fence-only");
      terms.exclusive = value == "exclusive";
    } else if (name == "quarantine") {
      double seconds = 0;
      const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (ec != std::errc() || end != value.data() + value.size() || !(seconds >= 1 && seconds <= 300))
        return wrong("quarantine is a number of seconds from 1 to 300");
      terms.quarantine = std::chrono::round<duration>(std::chrono::duration<double>(seconds));
    } else if (name == "allow-eviction") {
      if (value != "true" && value != "false") return wrong("allow-eviction is true or false");
      terms.allow_eviction = value == "true";
    } else {
      return wrong("there is no parameter '" + name + "'");
    }
  }
  return terms;
}

std::string refuse_store(const server_facts& said, const failover_terms& terms) {
  if (!is_new_enough(said.version())) return "Redis " + std::string(said.version()) + " is older than 6.2";
  if (may_evict(said) && !terms.allow_eviction)
    return "maxmemory-policy is " + std::string(said.field("maxmemory_policy")) +
           ": locks would vanish when memory is full; set noeviction (or allow-eviction=true)";
  return {};
}

store_verdict judge_store(const server_facts& said, const store_settings& settings, store_url::kind what,
                          const failover_terms& terms) {
  store_verdict v;
  v.refusal = refuse_store(said, terms);
  if (may_evict(said))
    v.notes.push_back("maxmemory-policy is " + std::string(said.field("maxmemory_policy")) +
                      ": locks vanish when memory is full");
  const auto setting = [&](std::string_view name) -> std::string_view {
    if (!settings) return {};
    const auto found = settings->find(name);
    return found == settings->end() ? std::string_view() : found->second;
  };
  const bool appends = said.number("aof_enabled") != 0;
  const bool always = appends && setting("appendfsync") == "always";
  const bool snapshots = settings && !setting("save").empty();
  const bool replicated = what != store_url::kind::single || said.connected_replicas() > 0;
  v.keeps_data = appends || snapshots;
  v.durable = always && !may_evict(said);
  if (!settings) {
    v.notes.emplace_back("CONFIG is forbidden: what is kept on disk, and when, is not known");
    if (appends) v.notes.emplace_back("it is taken as if appendfsync were not always");
  } else if (!v.keeps_data) {
    v.notes.emplace_back(
        replicated ? "nothing is kept on disk: a primary that restarts by itself comes back empty, and "
                     "its replicas with it; turn on appendonly, or its restart off"
                   : "nothing is kept on disk: a restart forgets every lock");
  } else if (!always && !replicated) {
    v.notes.emplace_back(appends
                             ? "appendfsync is not always: a power failure loses the last second"
                             : "only snapshots are kept on disk: a restart loses what came after the last");
  }
  if (replicated && settings &&
      (setting("min-replicas-to-write").empty() || setting("min-replicas-to-write") == "0"))
    v.notes.emplace_back(
        "min-replicas-to-write is 0: a primary that was cut off goes on for others; not for locks");
  return v;
}

confirmation judge_acks(acks_policy policy, const replica_state& seen) noexcept {
  if (policy == acks_policy::none || seen.known <= 0) return {true, false};
  const bool all = seen.acked >= seen.known;
  if (policy == acks_policy::all) return {all, !all};
  return {seen.acked > 0, !all};
}

void grade(capabilities& about, const store_verdict& store, store_url::kind what, const failover_terms& terms,
           const confirmation& replicas, bool has_replicas) {
  // Sentinels, and the nodes of a Cluster, know all replicas; a single server only names those that are
  // connected now, and nobody takes its place by himself.
  const bool guarded = (what == store_url::kind::sentinel || what == store_url::kind::cluster) &&
                       has_replicas && terms.acks != acks_policy::none && replicas.confirmed &&
                       !replicas.degraded && store.keeps_data;
  const bool alone = what == store_url::kind::single && !has_replicas;
  about.durable = store.durable && alone;  // elsewhere a failover loses what the replicas had not got yet
  about.durable_fence = guarded || about.durable;
  about.failover_safe_exclusion = guarded && terms.exclusive;
  about.grade = about.failover_safe_exclusion ? guarantee_class::b : guarantee_class::c;
}

}  // namespace dislock::redis
