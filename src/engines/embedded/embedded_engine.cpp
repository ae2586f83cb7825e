#include "engines/embedded/embedded_engine.hpp"

#include "engines/memory/table_engine.hpp"

namespace dislock {
namespace {

using embedded::journal;
using embedded::journal_error;
using embedded::journal_result;

class journal_log final : public commit_log {
 public:
  explicit journal_log(std::unique_ptr<journal> where) : journal_(std::move(where)) {}

  void put(std::string_view key, std::string_view value) override {
    journal_->append(journal::kind::put, key, value);
  }
  void remove(std::string_view key) override { journal_->append(journal::kind::remove, key, {}); }
  void remove_first(std::string_view key) override { journal_->append(journal::kind::remove_first, key, {}); }
  void put_passing(std::string_view key, std::string_view value) override {
    journal_->append(journal::kind::put_passing, key, value);
  }
  void pass(std::string_view key) override { journal_->pass(key); }
  std::uint64_t pending() const noexcept override { return journal_->pending_sequence(); }
  std::uint64_t committed() noexcept override { return journal_->poll().committed; }
  void submit() override { journal_->submit(); }
  bool backlogged() const noexcept override { return journal_->backlogged(); }
  std::string_view failure() const noexcept override { return journal_->failure(); }
  void close() override { (void)journal_->close(); }  // health() has shown a failure already

 private:
  std::unique_ptr<journal> journal_;
};

capabilities what_it_can(embedded::durability mode) {
  capabilities about;
  about.engine = "embedded";
  // Answers that a power failure can undo make exclusion a matter of luck.
  about.grade = mode == embedded::durability::sync ? guarantee_class::a : guarantee_class::c;
  about.fifo = about.shared = about.semaphore = about.multi = about.sessions = about.lock_delay = true;
  about.durable = about.durable_fence = mode == embedded::durability::sync;
  return about;
}

}  // namespace

journal_result<std::unique_ptr<engine>> open_embedded_engine(const embedded_engine_options& options,
                                                             loop& where, clock& time) {
  embedded::journal_options how;
  how.path = options.path;
  how.mode = options.mode;
  how.notify = [&where] { where.notify(); };
  auto records = journal::open(std::move(how));
  if (!records) return records.error();
  auto& source = **records;

  table_engine_options all;
  all.table = options.table;
  all.event_log_size = options.event_log_size;
  all.about = what_it_can(options.mode);
  all.plant_answer_before_commit = options.plant_answer_before_commit;
  auto made = std::make_unique<table_engine>(where, std::move(all),
                                             std::make_unique<journal_log>(std::move(*records)));

  auto& table = made->table();
  bool whole = true;
  const auto read = source.load(
      [&](std::string_view key, std::string_view value) { whole = whole && table.load(key, value); });
  if (!read) return read.error();
  if (const auto latest = table.latest_known(); latest > instant::min()) {
    // Event ids run ahead of the time when more than one event falls into a microsecond; never by a second.
    made->events().start_after(
        static_cast<std::uint64_t>(microseconds_since_1970(later(latest, std::chrono::seconds(1)))));
    time.not_before(later(latest, duration(1)));
  }
  if (!whole || !table.start(where.now())) {
    return journal_error{journal_error::reason::damaged,
                         "The store in " + options.path +
                             " holds records that this version cannot put together; it was left as it is."};
  }
  return std::unique_ptr<engine>(std::move(made));
}

}  // namespace dislock
