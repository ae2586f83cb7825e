#include "exit_code.hpp"

namespace dislock::cli {

exit_code exit_code_of(errc code) noexcept {
  switch (code) {
    case errc::lock_not_acquired:
    case errc::lock_mode_conflict:  // it is in use, and will not be for ever
    case errc::request_cancelled:
      return exit_code::not_acquired;
    case errc::lock_not_held:
    case errc::session_not_found:
      return exit_code::not_held;
    case errc::deadlock_detected:
      return exit_code::deadlock;
    case errc::queue_full:
    case errc::request_memory_full:
    case errc::overloaded:
    case errc::body_too_large:
    case errc::headers_too_large:
      return exit_code::limit;
    case errc::invalid_json:
    case errc::invalid_field:
    case errc::invalid_lock_name:
    case errc::request_id_reused:
    case errc::unsupported_by_engine:
    case errc::forbidden_origin:
    case errc::unknown_host:
      return exit_code::usage;
    case errc::superseded:
    case errc::draining:
    case errc::engine_unavailable:
    case errc::outcome_unknown:
    case errc::request_timeout:
    case errc::internal_error:
    // From here on the other side does not speak our API.
    case errc::malformed_http:
    case errc::not_found:
    case errc::method_not_allowed:
    case errc::unsupported_media_type:
      return exit_code::unreachable;
  }
  return exit_code::unreachable;
}

}  // namespace dislock::cli
