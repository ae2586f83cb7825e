#include "http/problem.hpp"

#include "http/json_writer.hpp"

namespace dislock::http {

void append_problem(std::string& out, const problem& p, std::string_view trace_id) {
  const auto code = to_string(p.code);
  out += R"({"type":"urn:dislock:error:)";
  out += code;
  out += R"(","title":)";
  append_json_string(out, title_of(p.code));
  out += R"(,"status":)";
  append_integer(out, http_status_of(p.code));
  out += R"(,"code":")";
  out += code;
  out += effect_of(p.code) == effect::none ? R"(","effect":"none")" : R"(","effect":"unknown")";
  if (!p.detail.empty()) {
    out += R"(,"detail":)";
    append_json_string(out, p.detail);
  }
  if (!trace_id.empty()) {
    out += R"(,"traceId":")";
    out += trace_id;
    out += '"';
  }
  if (!p.members.empty()) {
    out += ',';
    out += p.members;
  }
  out += '}';
}

delivery reply_problem(exchange& e, const problem& p, std::string_view headers) {
  e.body().clear();
  append_problem(e.body(), p, e.trace_id());
  return e.reply(http_status_of(p.code), content_type::problem_json, headers);
}

}  // namespace dislock::http
