#pragma once

#include "dislock/options.hpp"
#include "library/backend.hpp"
#include "library/thread_strand.hpp"

#include <memory>
#include <string>

namespace dislock::library {

/// `memory:` An engine in this process, on the client's strand.
[[nodiscard]] std::unique_ptr<backend> open_memory_backend(thread_strand& on);

/// `embedded:path`. `time`, which `on` reads, is raised to what the store has seen.
/// `engine_unavailable`: another process has the store, or it cannot be used; `detail` says which.
[[nodiscard]] result<std::unique_ptr<backend>> open_embedded_backend(const std::string& path,
                                                                     const client_options& options,
                                                                     thread_strand& on, clock& time);

}  // namespace dislock::library
