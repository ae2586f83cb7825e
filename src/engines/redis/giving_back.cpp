// Release, renew, cancel, settle and force.
#include "core/request_memory.hpp"
#include "engines/redis/script_engine.hpp"

#include <algorithm>
#include <utility>

namespace dislock::redis {
namespace {

// How long somebody tries to settle an acquire.
constexpr duration longest_doubt = std::chrono::hours(25);

// A row for each lease: what became of it, or why nothing did.
template <class T, class Read>
answer<T> read_row(const reply& row, Read read) {
  if (row.at(0).number == 1) return read(row);
  auto why = std::make_shared<dislock::refusal>();
  why->code = read_code(row.at(1));
  why->ended = read_end(row.at(2));
  return refusal_ptr(std::move(why));
}

}  // namespace

void script_engine::release(const release_request& r, completion<answer<release_answers>> done) {
  for (const auto& p : r.leases) auto_renewed_.erase(p.id.bits[1]);
  const auto print = print_of("release", r.leases, std::nullopt);
  const auto read = [](const outcome& o) -> answer<release_answers> {
    if (!o) return o.error();
    if (o->verdict() == "refused") return read_refusal(o->out(), o->time());
    release_answers out;
    for (const auto& row : o->out().at(1).items)
      out.push_back(read_row<released>(row, [](const reply& did) {
        return released{did.at(1).number != 0, static_cast<std::uint32_t>(did.at(2).number)};
      }));
    return out;
  };
  // Its memory counts from the store's time, which somebody has to have told us.
  if (relation_.now == 0 || !is_plain(plain_, r)) {
    const call_id call{r.multi, r.multi ? lock_name() : r.leases[0].name, r.client, r.request};
    auto q = question("release");
    q.put_call(call, print).put(r.leases);
    if (r.multi) q.put("multi", std::int64_t{1});
    return decide(std::move(q).text(),
                  [read, done = std::move(done)](const outcome& o) mutable { done(read(o)); });
  }
  auto answered = std::make_shared<completion<answer<release_answers>>>(std::move(done));
  const std::string lock(r.leases[0].name.view());
  gathered one{
      lock,
      {},
      std::make_shared<script_words>(plain_release(plain_, r, print, store_time())),
      [this, lock, client = std::string(r.client.view()), answered](const plain_answer& got, instant) {
        gave_back(lock, client.empty() ? got.client : client, got);
        (*answered)(release_answers{released{true, 0}});
      },
      [read, answered](const outcome& o) { (*answered)(read(o)); }};
  // Where somebody waits for it, what else is asked in this turn can be decided while he is told.
  const bool awaited = looks_.contains(lock);
  if (take_plain(r.leases[0].id) && !awaited) return gather(plain_kind::release, std::move(one));
  ask_next(std::move(one), awaited);
}

void script_engine::gave_back(const std::string& lock, const std::string& client, const plain_answer& got) {
  if (unlisted_.erase(lock) == 0) {
    unlist_.push_back(lock);
    next_index_ = std::min(next_index_, later(now(), indexing));
    wake_later();
  }
  told_event e;
  e.type = event_type::released;
  e.lock = lock;
  e.client = client;
  e.token = got.token;
  e.mode = lock_mode::exclusive;
  e.reason = "released";
  e.took = duration(std::max<std::int64_t>(0, store_time() - got.at));
  happened(std::move(e), store_time());
}

void script_engine::renew(const renew_request& r, completion<answer<renew_answers>> done) {
  auto answered = std::make_shared<completion<answer<renew_answers>>>(std::move(done));
  std::vector<std::uint64_t> kept;
  if (r.by_service)
    for (const auto& p : r.leases) kept.push_back(p.id.bits[1]);
  auto read = [this, kept = std::move(kept), answered](const outcome& o) {
    if (!o) return (*answered)(refuse(o.error()));
    if (o->verdict() == "refused") return (*answered)(read_refusal(o->out(), o->time()));
    renew_answers out;
    instant last{};
    for (const auto& row : o->out().at(1).items) {
      out.push_back(read_row<renewed>(row, [&](const reply& did) {
        return renewed{o->time().ours(did.at(1).number),
                       fencing_token{static_cast<std::uint64_t>(did.at(2).number)}};
      }));
      const auto& one = out.back();
      if (one) last = std::max(last, one->end);
      if (out.size() > kept.size()) continue;
      const auto it = auto_renewed_.find(kept[out.size() - 1]);
      if (it == auto_renewed_.end()) continue;
      if (one) {
        it->second.end = one->end;
      } else {
        auto_renewed_.erase(it);
      }
    }
    if (last > instant{}) in_use(last);
    if (is_safe(last, *o)) return (*answered)(std::move(out));
    when_safe(last, *o, [out = std::move(out), answered](bool safe) mutable {
      if (!safe) return (*answered)(refuse(errc::outcome_unknown));
      (*answered)(std::move(out));
    });
  };
  if (!is_plain(plain_, r)) {
    const call_id call{r.multi, r.multi ? lock_name() : r.leases[0].name, r.client, r.request};
    auto q = question("renew");
    q.put_call(call, print_of("renew", r.leases, r.ttl)).put(r.leases);
    if (r.multi) q.put("multi", std::int64_t{1});
    if (r.ttl) q.put("ttl", *r.ttl);
    if (r.by_service) q.put("by_service", std::int64_t{1});
    return decide(std::move(q).text(), std::move(read));
  }
  ask_store(
      std::make_shared<script_words>(plain_renew(plain_, r)),
      [this, answered](const plain_answer& got, instant sent) {
        note_time({sent, got.at});
        const auto end = later(sent, got.ttl);
        in_use(end);
        (*answered)(renew_answers{renewed{end, got.token}});
      },
      std::move(read));
}

void script_engine::cancel(const call_id& call, completion<answer<cancelled>> done) {
  auto q = question("cancel");
  q.put_call(call, 0);
  simple<cancelled>(std::move(q), std::move(done), [](const reply& did, const time_relation&) {
    return answer<cancelled>(cancelled{did.number != 0});
  });
}

// Nobody decides an acquire after the latest instant that the store's clock can have shown when it was sent,
// so that it cannot come about any more when nothing of it is there after that. Until then it may be on its
// way.
void script_engine::settle(lock_name name, lock_id id, completion<answer<cancelled>> done) {
  ask_gathered();  // the acquire may be among it: what bounds it is known when it is asked
  const auto present = now();
  settled_.emplace_back(id, later(present, 2 * options_.call_timeout));
  while (!unsettled_.empty() && unsettled_.front().forget <= present) unsettled_.pop_front();
  auto it = std::ranges::find(unsettled_, id, &doubt::id);
  if (it == unsettled_.end()) {
    unsettled_.push_back({id, shown_at_most_, later(present, longest_doubt)});
    it = std::prev(unsettled_.end());
  }
  auto q = question("settle");
  q.put("name", name.view()).put("id", id).put("bound", it->bound);
  simple<cancelled>(std::move(q), std::move(done), [this, id](const reply& row, const time_relation&) {
    const bool settled = row.at(0).number != 0;
    if (settled) std::erase_if(unsettled_, [&](const doubt& d) { return d.id == id; });
    return answer<cancelled>(cancelled{settled});
  });
}

void script_engine::force_release(lock_name name, std::optional<fencing_token> token, request_id request,
                                  std::string_view reason, completion<answer<forced>> done) {
  auto q = question("force");
  const auto print = core::fingerprint("force").add(token ? to_number(*token) : 0).value();
  q.put_call({false, name, {}, request}, print).put("name", name.view()).put("reason", reason);
  if (token) q.put("token", static_cast<std::int64_t>(to_number(*token)));
  simple<forced>(std::move(q), std::move(done), [](const reply& rows, const time_relation&) {
    forced out;
    for (const auto& row : rows.items)
      out.tokens.push_back(fencing_token{static_cast<std::uint64_t>(row.number)});
    return answer<forced>(std::move(out));
  });
}

}  // namespace dislock::redis
