#include "lock_flags.hpp"

#include "wording.hpp"

#include <CLI/CLI.hpp>
#include <boost/json/serialize.hpp>

namespace dislock::cli {

void declare_lock_flags(CLI::App& app, lock_flags& into) {
  const auto group = "The lock";
  add_duration(app, "-w,--wait", into.wait, "How long to wait for the lock (10m, which is the longest)")
      ->group(group);
  app.add_flag("-n,--try", into.only_try, "Do not wait")->group(group);
  app.add_flag("-s,--shared", into.shared, "Together with other readers")->group(group);
  app.add_flag("-x,--exclusive", into.exclusive, "Alone (the default)")->group(group);
  app.add_option_function<std::uint32_t>(
         "--limit", [&](std::uint32_t v) { into.limit = v; }, "A semaphore: how many permits there are")
      ->type_name("N")
      ->group(group);
  app.add_option_function<std::uint32_t>(
         "--permits", [&](std::uint32_t v) { into.permits = v; }, "A semaphore: how many permits to take (1)")
      ->type_name("K")
      ->group(group);
  add_duration(app, "--lock-delay", into.lock_delay,
               "The lock stays closed so long after an end that was not a release")
      ->group(group);
  app.add_option("-m,--meta", into.metadata, "What everybody who looks at the lock can see; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->group(group);
}

lock_wish wish_of(const lock_flags& flags) {
  lock_wish out;
  auto& o = out.options;
  if (flags.wait && flags.only_try) out.wrong = "--wait and --try exclude each other.";
  if (flags.shared && (flags.limit || flags.exclusive))
    out.wrong =
        std::string("--shared and ") + (flags.limit ? "--limit" : "--exclusive") + " exclude each other.";
  if (flags.exclusive && flags.limit) out.wrong = "--exclusive and --limit exclude each other.";
  if (flags.permits && !flags.limit) out.wrong = "--permits needs --limit: how many there are in all.";
  if (flags.limit &&
      (*flags.limit == 0 || flags.permits.value_or(1) == 0 || flags.permits.value_or(1) > *flags.limit))
    out.wrong = "--permits must be from 1 to --limit.";
  o.wait = flags.only_try ? duration::zero() : flags.wait.value_or(longest_wait);
  if (o.wait > longest_wait) out.wrong = "--wait is at most " + in_words(longest_wait) + ".";
  if (flags.lock_delay) o.lock_delay = *flags.lock_delay;
  if (flags.shared) o.mode = lock_mode::shared;
  if (flags.limit) {
    o.mode = lock_mode::semaphore;
    o.limit = *flags.limit;
    o.permits = flags.permits.value_or(1);
  }
  boost::json::object metadata;
  for (const auto& pair : flags.metadata) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      out.wrong = "--meta must be KEY=VALUE, not '" + pair + "'.";
      return out;
    }
    metadata[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  if (!metadata.empty()) o.metadata = boost::json::serialize(metadata);
  return out;
}

}  // namespace dislock::cli
