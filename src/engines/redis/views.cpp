// What there is.
#include "engines/redis/script_engine.hpp"

#include <utility>

namespace dislock::redis {

void script_engine::status(lock_name name, std::size_t holders, std::size_t waiters,
                           completion<answer<lock_view>> done) {
  auto q = question("status");
  q.put("name", name.view())
      .put("holders", static_cast<std::int64_t>(holders))
      .put("waiters", static_cast<std::int64_t>(waiters));
  simple<lock_view>(std::move(q), std::move(done), [](const reply& row, const time_relation& time) {
    return answer<lock_view>(read_view(row, time));
  });
}

void script_engine::validate(lock_name name, fencing_token token, completion<answer<validity>> done) {
  auto q = question("validate");
  q.put("name", name.view()).put("token", static_cast<std::int64_t>(to_number(token)));
  simple<validity>(std::move(q), std::move(done), [](const reply& row, const time_relation&) {
    validity v;
    v.current = row.at(0).number != 0;
    if (row.at(1).number > 0) v.latest = fencing_token{static_cast<std::uint64_t>(row.at(1).number)};
    return answer<validity>(v);
  });
}

void script_engine::places(ticket id, completion<answer<std::optional<std::vector<place>>>> done) {
  auto q = question("places");
  q.put("waiter", std::string_view(std::to_string(static_cast<std::uint64_t>(id))));
  simple<std::optional<std::vector<place>>>(
      std::move(q), std::move(done), [](const reply& rows, const time_relation& time) {
        using found = std::optional<std::vector<place>>;
        if (rows.items.empty()) return answer<found>(found());
        std::vector<place> out;
        for (const auto& row : rows.items)
          out.push_back({row.at(0).text, static_cast<std::size_t>(row.at(1).number),
                         read_holders(row.at(2), time), static_cast<std::size_t>(row.at(3).number)});
        return answer<found>(found(std::move(out)));
      });
}

void script_engine::list(const lock_filter& filter, std::uint64_t cursor, std::size_t limit,
                         completion<answer<page<lock_view>>> done) {
  if (cursor >= fencing_token_limit) return done(page<lock_view>());
  index();  // what was granted here is in the list from now on
  auto q = question("list");
  q.put("prefix", filter.prefix)
      .put("client", filter.client)
      .put("cursor", static_cast<std::int64_t>(cursor))
      .put("limit", static_cast<std::int64_t>(limit));
  simple<page<lock_view>>(std::move(q), std::move(done), [](const reply& row, const time_relation& time) {
    page<lock_view> out;
    if (row.at(0).number > 0) out.next = static_cast<std::uint64_t>(row.at(0).number);
    for (const auto& view : row.at(1).items) out.items.push_back(read_view(view, time));
    return answer<page<lock_view>>(std::move(out));
  });
}

void script_engine::sessions(std::uint64_t cursor, std::size_t limit,
                             completion<answer<page<session_view>>> done) {
  if (cursor >= fencing_token_limit) return done(page<session_view>());
  auto q = question("sessions");
  q.put("cursor", static_cast<std::int64_t>(cursor)).put("limit", static_cast<std::int64_t>(limit));
  simple<page<session_view>>(std::move(q), std::move(done), [](const reply& row, const time_relation& time) {
    page<session_view> out;
    if (row.at(0).number > 0) out.next = static_cast<std::uint64_t>(row.at(0).number);
    for (const auto& s : row.at(1).items)
      out.items.push_back({static_cast<std::uint64_t>(s.at(0).number), s.at(1).text,
                           time.ours(s.at(2).number), duration(s.at(3).number),
                           static_cast<std::size_t>(s.at(4).number)});
    return answer<page<session_view>>(std::move(out));
  });
}

void script_engine::edges(std::size_t limit, completion<answer<std::vector<wait_edge>>> done) {
  index();
  list_edges(0, limit, {}, std::move(done));
}

void script_engine::list_edges(std::uint64_t cursor, std::size_t limit, std::vector<wait_edge> found,
                               completion<answer<std::vector<wait_edge>>> done) {
  auto q = question("edges");
  q.put("cursor", static_cast<std::int64_t>(cursor))
      .put("limit", static_cast<std::int64_t>(limit - found.size()));
  decide(std::move(q).text(),
         [this, limit, found = std::move(found), done = std::move(done)](const outcome& o) mutable {
           if (!o) return done(refuse(o.error()));
           const auto& row = o->out().at(1);
           for (const auto& e : row.at(1).items)
             found.push_back({e.at(0).text, e.at(1).text, e.at(2).text, e.at(3).number != 0});
           const auto next = row.at(0).number;
           if (next == 0 || found.size() >= limit) return done(std::move(found));
           list_edges(static_cast<std::uint64_t>(next), limit, std::move(found), std::move(done));
         });
}

void script_engine::for_each_auto_renewed(
    const std::function<void(const lease_proof&, duration, instant)>& visit) {
  for (const auto& [key, l] : auto_renewed_) visit({lock_name(l.lock), l.id, {}}, l.ttl, l.end);
}

}  // namespace dislock::redis
