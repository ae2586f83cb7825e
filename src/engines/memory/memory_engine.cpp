#include "engines/memory/memory_engine.hpp"

#include "engines/memory/table_engine.hpp"

namespace dislock {

std::unique_ptr<engine> make_memory_engine(loop& where, const local_engine_options& options) {
  table_engine_options all;
  all.table = options.table;
  all.event_log_size = options.event_log_size;
  auto& about = all.about;
  about.engine = "memory";
  about.grade = guarantee_class::c;  // a restart forgets who holds what; tokens go on from the time
  about.fifo = about.shared = about.semaphore = about.multi = about.sessions = about.lock_delay = true;
  return std::make_unique<table_engine>(where, std::move(all), nullptr);
}

}  // namespace dislock
