#include "command.hpp"
#include "completion.hpp"
#include "lock_flags.hpp"
#include "supervision/locked_run.hpp"

#include <gmock/gmock.h>

#include <csignal>
#include <set>
#include <sstream>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

struct ran {
  exit_code code{};
  std::string out, err;
};

ran run(const std::vector<std::string>& arguments, const environment& env = {}) {
  std::ostringstream out, err;
  const auto code = run_program(arguments, env, out, err, {}, {});
  return {code, out.str(), err.str()};
}

TEST(Program, NamesTheFlagThatItDoesNotKnow) {
  const auto r = run({"ls", "--wating"});
  EXPECT_EQ(r.code, exit_code::usage);
  EXPECT_EQ(r.err, "dislock: ls: there is no flag --wating. Did you mean --waiting?\n");
}

TEST(Program, NamesTheCommandThatItDoesNotKnow) {
  const auto r = run({"aquire"});
  EXPECT_EQ(r.code, exit_code::usage);
  EXPECT_EQ(r.err, "dislock: there is no command 'aquire'. Did you mean acquire?\n");
}

TEST(Program, NamesWhatIsMissing) {
  EXPECT_EQ(run({"get"}).err, "dislock: get: NAME is missing.\n");
  EXPECT_EQ(run({"run", "a"}).err, "dislock: run: the command is missing; write it behind --.\n");
  EXPECT_EQ(run({"run", "a", "--"}).err, "dislock: the command is missing; write it behind --.\n");
}

TEST(Program, SaysInOneSentenceWhatIsWrongWithAValue) {
  for (const auto& [arguments, sentence] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"run", "a", "--ttl", "5x", "--", "true"},
            "run: --ttl: '5x' is not a time; write 30, 30s, 500ms, 5m or 1h."},
           {{"run", "a", "--ttl", "5s", "--kill-after", "5s", "--", "true"},
            "--ttl (5.0s) must be longer than --kill-after (5.0s) and 250ms: the command has to be gone "
            "before the "
            "lock can be another's."},
           {{"run", "a", "--signal", "BANG", "--", "true"},
            "--signal must be the name or number of a signal, not 'BANG'."},
           {{"run", "a", "--on-loss", "cry", "--", "true"},
            "run: --on-loss: must be kill, signal or ignore, not 'cry'."},
           {{"run", "a", "-w", "1h", "--", "true"}, "--wait is at most 10m."},
           {{"run", "a", "-w", "5", "-n", "--", "true"}, "--wait and --try exclude each other."},
           {{"run", "a", "--permits", "2", "--", "true"},
            "--permits needs --limit: how many there are in all."},
           {{"run", "a", "--lost-fd", "1", "--", "true"}, "--lost-fd must be a descriptor from 3 to 1023."},
           {{"ls", "--", "true"}, "ls: takes no command behind --."},
           {{"acquire", "a", "b", "-o", "env"}, "acquire: -o env is for one lock; take -o json for several."},
           {{"release"},
            "release: the lock's id is missing: set DISLOCK_LOCK_ID, or name a file with --lock-id-file."},
           {{"revoke", "a", "-y"}, "revoke: --reason is missing: why the lock is taken away."},
           {{"elect", "a"}, "elect: VALUE is missing: what the others see of this candidate."},
           {{"ls", "-o", "yaml"}, "--output must be table, wide, json, jsonl or env, not 'yaml'."},
           {{"config", "lie"}, "config: there is 'config explain', not 'config lie'."}}) {
    const auto r = run(arguments);
    EXPECT_EQ(r.code, exit_code::usage) << sentence;
    EXPECT_EQ(r.err, "dislock: " + sentence + "\n");
    EXPECT_EQ(r.out, "");
  }
}

TEST(Program, LeavesWhatStandsBehindTheDashesAlone) {
  const auto r = run({"run", "--ttl", "1x", "a", "--", "ls", "--addr"});
  EXPECT_THAT(r.err, HasSubstr("--ttl")) << "the --addr is not ours";
}

TEST(Program, HelpsWithEveryCommand) {
  const auto all = run({"--help"});
  EXPECT_EQ(all.code, exit_code::ok);
  for (const auto& c : all_commands()) {
    EXPECT_THAT(all.out, HasSubstr(std::string(c.name)));
    const auto one = run({std::string(c.name), "--help"});
    EXPECT_EQ(one.code, exit_code::ok);
    EXPECT_THAT(one.out, HasSubstr(std::string(c.help)));
  }
  EXPECT_THAT(all.out, HasSubstr("122 lost"));
}

TEST(Program, ShowsTheHelpWhenAskedForNothing) {
  const auto r = run({});
  EXPECT_EQ(r.code, exit_code::usage);
  EXPECT_THAT(r.err, HasSubstr("run"));
}

TEST(Program, ExplainsEveryErrorCode) {
  const auto all = run({"errors", "-o", "jsonl"});
  EXPECT_EQ(all.code, exit_code::ok);
  EXPECT_THAT(all.out, HasSubstr(R"("code":"lock_not_acquired")"));
  EXPECT_THAT(all.out, HasSubstr(R"("code":"internal_error")"));
  EXPECT_EQ(run({"errors", "deadlock_detected"}).code, exit_code::ok);
  const auto wrong = run({"errors", "deadlock_detect"});
  EXPECT_EQ(wrong.code, exit_code::negative);
  EXPECT_THAT(wrong.err, HasSubstr("deadlock_detected"));
}

TEST(Program, ExplainsItsSettings) {
  const auto r = run({"config", "explain", "-o", "jsonl", "-a", "x:1"}, {{"DISLOCK_URL", "http://y"}});
  EXPECT_THAT(
      r.out,
      HasSubstr(
          R"("name":"address","value":"http://x:1","source":"--addr","overridden":["DISLOCK_URL=http://y"])"));
}

TEST(Program, HasTheSameExitCodesForEver) {
  // docs/guide/cli.md promises these.
  EXPECT_EQ(static_cast<int>(exit_code_of(errc::lock_not_acquired)), 3);
  EXPECT_EQ(static_cast<int>(exit_code_of(errc::lock_not_held)), 4);
  EXPECT_EQ(static_cast<int>(exit_code_of(errc::engine_unavailable)), 5);
  EXPECT_EQ(static_cast<int>(exit_code_of(errc::outcome_unknown)), 5);
  EXPECT_EQ(static_cast<int>(exit_code_of(errc::deadlock_detected)), 7);
  EXPECT_EQ(static_cast<int>(exit_code_of(errc::queue_full)), 8);
  EXPECT_EQ(static_cast<int>(exit_code_of(errc::invalid_lock_name)), 2);
  EXPECT_EQ(static_cast<int>(exit_code::run_lost), 122);
  EXPECT_EQ(static_cast<int>(exit_code::run_not_acquired), 124);
  EXPECT_EQ(static_cast<int>(exit_code::run_failed), 125);
  EXPECT_EQ(static_cast<int>(after_signal(SIGINT)), 130);
}

TEST(Completion, KnowsEveryCommandAndFlag) {
  for (const auto* shell : {"bash", "zsh", "fish"}) {
    const auto r = run({"completion", shell});
    EXPECT_EQ(r.code, exit_code::ok);
    for (const auto& c : all_commands()) EXPECT_THAT(r.out, HasSubstr(std::string(c.name))) << shell;
    EXPECT_THAT(r.out, HasSubstr(std::string(shell) == "fish" ? "-l kill-after" : "--kill-after")) << shell;
    EXPECT_THAT(r.out, HasSubstr(std::string(shell) == "fish" ? "-l addr" : "--addr")) << shell;
  }
}

TEST(RunTimes, LeaveRoomToEndTheCommandBeforeTheLeaseEnds) {
  const auto normal = times_of({});
  EXPECT_EQ(normal.ttl, 30s);
  EXPECT_EQ(normal.kill_after, 5s);
  EXPECT_EQ(normal.stop_margin, 5250ms);
  EXPECT_EQ(normal.renewal, 10s);
  command_flags quick;
  quick.ttl = 3s;
  EXPECT_EQ(times_of(quick).kill_after, 1s);
  EXPECT_LT(times_of(quick).renewal, 3s - times_of(quick).stop_margin) << "renewed before the margin begins";
}

TEST(RunTimes, RenewBeforeTheMarginEvenWhenItIsMostOfTheTtl) {
  command_flags tight;
  tight.ttl = 6s;
  tight.kill_after = 5s;
  const auto t = times_of(tight);
  EXPECT_EQ(t.wrong, "");
  EXPECT_EQ(t.renewal, 375ms);
}

TEST(LockFlags, MakeASemaphoreOfALimit) {
  lock_flags flags;
  flags.limit = 3;
  flags.permits = 2;
  flags.metadata = {"host=a", "note=b=c"};
  const auto w = wish_of(flags);
  EXPECT_EQ(w.wrong, "");
  EXPECT_EQ(w.options.mode, lock_mode::semaphore);
  EXPECT_EQ(w.options.permits, 2U);
  EXPECT_EQ(w.options.metadata, R"({"host":"a","note":"b=c"})");
  flags.permits = 4;
  EXPECT_NE(wish_of(flags).wrong, "");
}

}  // namespace
}  // namespace dislock::cli
