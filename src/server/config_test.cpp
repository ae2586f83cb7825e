#include "server/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace dislock::server {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

class Config : public testing::Test {
 protected:
  [[nodiscard]] parse_result parsed(const std::vector<std::string>& args) const {
    return parse(
        args, env_,
        [this](const std::string& path) -> std::optional<std::string> {
          const auto found = files_.find(path);
          return found == files_.end() ? std::nullopt : std::optional(found->second);
        },
        "1.2.3");
  }

  [[nodiscard]] config accepted(const std::vector<std::string>& args = {}) const {
    auto result = parsed(args);
    if (const auto* refused = std::get_if<refusal>(&result)) {
      ADD_FAILURE() << "refused: " << testing::PrintToString(refused->problems);
      return {};
    }
    EXPECT_TRUE(std::holds_alternative<config>(result));
    return std::holds_alternative<config>(result) ? std::get<config>(result) : config{};
  }

  [[nodiscard]] std::vector<std::string> problems(const std::vector<std::string>& args = {}) const {
    auto result = parsed(args);
    EXPECT_TRUE(std::holds_alternative<refusal>(result));
    return std::holds_alternative<refusal>(result) ? std::get<refusal>(result).problems
                                                   : std::vector<std::string>{};
  }

  [[nodiscard]] std::string printed(const std::vector<std::string>& args) const {
    auto result = parsed(args);
    EXPECT_TRUE(std::holds_alternative<printout>(result));
    return std::holds_alternative<printout>(result) ? std::get<printout>(result).text : std::string();
  }

  environment env_{{"HOME", "/users/ada"}, {"PATH", "/bin"}};
  std::map<std::string, std::string> files_;
};

TEST_F(Config, WithoutAnySettingTheDefaultsHold) {
  const auto settings = accepted();

  EXPECT_EQ(settings.engine, "embedded:/users/ada/.local/share/dislock");
  EXPECT_EQ(settings.listen, "127.0.0.1");
  EXPECT_EQ(settings.port, 5000);
  EXPECT_EQ(settings.durability, durability_mode::sync);
  EXPECT_EQ(settings.default_timeout, 30s);
  EXPECT_EQ(settings.max_timeout, 300s);
  EXPECT_EQ(settings.renewal_interval, 5s);
  EXPECT_TRUE(settings.deadlock_detection);
  EXPECT_FALSE(settings.insecure);
}

TEST_F(Config, FlagsGoBeforeTheEnvironmentAndThatBeforeTheFile) {
  files_["d.toml"] = "port = 1\nmax_connections = 11\nevent_log_size = 111\n";
  env_["DISLOCK_PORT"] = "2";
  env_["DISLOCK_MAX_CONNECTIONS"] = "22";

  const auto settings = accepted({"--config", "d.toml", "--port", "3"});

  EXPECT_EQ(settings.port, 3);
  EXPECT_EQ(settings.max_connections, 22U);
  EXPECT_EQ(settings.event_log_size, 111U);
}

TEST_F(Config, TheNamesThatUsersOfSuchServicesKnowAreRead) {
  env_["DEFAULT_TIMEOUT"] = "20";
  env_["MAX_TIMEOUT"] = "120";
  env_["RENEWAL_INTERVAL"] = "2.5";
  env_["DEADLOCK_DETECTION"] = "False";

  const auto settings = accepted();

  EXPECT_EQ(settings.default_timeout, 20s);
  EXPECT_EQ(settings.max_timeout, 120s);
  EXPECT_EQ(settings.renewal_interval, 2500ms);
  EXPECT_FALSE(settings.deadlock_detection);
}

TEST_F(Config, TheLongNameGoesBeforeThePlainOne) {
  env_["DEFAULT_TIMEOUT"] = "20";
  env_["DISLOCK_DEFAULT_TIMEOUT"] = "21";
  EXPECT_EQ(accepted().default_timeout, 21s);
}

TEST_F(Config, AVariableSetToNothingIsNotSet) {
  env_["DISLOCK_PORT"] = "";
  env_["REDIS_HOST"] = "";
  EXPECT_EQ(accepted().port, 5000);
}

TEST_F(Config, EveryKindOfValueCanComeFromTheFile) {
  files_["d.toml"] =
      "engine = 'memory:'\n"
      "durability = 'async'\n"
      "insecure = true\n"
      "listen = '::'\n"
      "poll_slice = 2.125\n"
      "waiter_grace = 7\n"
      "allowed_hosts = ['locks.example', 'locks']\n"
      "log_level = 'debug'\n"
      "log_format = 'json'\n";
  env_["DISLOCK_CONFIG"] = "d.toml";

  const auto settings = accepted();

  EXPECT_EQ(settings.engine, "memory:");
  EXPECT_EQ(settings.durability, durability_mode::async);
  EXPECT_EQ(settings.listen, "::");
  EXPECT_EQ(settings.poll_slice, 2125ms);
  EXPECT_EQ(settings.waiter_grace, 7s);
  EXPECT_THAT(settings.allowed_hosts, ElementsAre("locks.example", "locks"));
  EXPECT_EQ(settings.log_level, log::level::debug);
  EXPECT_EQ(settings.log_format, log::format::json);
}

TEST_F(Config, EveryKindOfValueCanComeFromFlags) {
  const auto settings =
      accepted({"--engine=memory:", "--insecure", "--listen", "0.0.0.0", "--deadlock-detection", "false",
                "--allowed-hosts", "a.example, b.example", "--log-format=json", "--drain-timeout", "0"});

  EXPECT_TRUE(settings.insecure);
  EXPECT_FALSE(settings.deadlock_detection);
  EXPECT_THAT(settings.allowed_hosts, ElementsAre("a.example", "b.example"));
  EXPECT_EQ(settings.drain_timeout, 0s);
}

TEST_F(Config, AFlagThatIsRepeatedCountsTheLastTime) {
  EXPECT_EQ(accepted({"--port", "1", "--port", "2"}).port, 2);
}

TEST_F(Config, ASwitchMayStandAloneOrSayItsValue) {
  EXPECT_TRUE(accepted({"--insecure", "--port", "1"}).insecure);
  EXPECT_TRUE(accepted({"--insecure", "yes"}).insecure);
  EXPECT_FALSE(accepted({"--insecure=false"}).insecure);
  EXPECT_TRUE(accepted({"--insecure=false", "--insecure"}).insecure);
}

TEST_F(Config, ASwitchWithAnEmptyValueIsNotSwitchedOn) {
  EXPECT_THAT(problems({"--insecure", ""}),
              ElementsAre("insecure = \"\" (flag --insecure) must be true or false"));
  EXPECT_THAT(problems({"--insecure="}), SizeIs(1));
}

// --- where the embedded engine keeps its files

TEST_F(Config, TheDataDirectoryFollowsSystemdThenXdgThenHome) {
  env_["STATE_DIRECTORY"] = "/var/lib/dislock:/var/lib/other";
  env_["XDG_DATA_HOME"] = "/data";
  EXPECT_EQ(accepted().engine, "embedded:/var/lib/dislock");
  env_.erase("STATE_DIRECTORY");
  EXPECT_EQ(accepted().engine, "embedded:/data/dislock");
  env_["XDG_DATA_HOME"] = "relative";
  EXPECT_EQ(accepted().engine, "embedded:/users/ada/.local/share/dislock");
  env_.erase("HOME");
  EXPECT_EQ(accepted().engine, "embedded:/var/lib/dislock");
}

// --- Redis by its plain names

TEST_F(Config, ARedisHostAloneChoosesRedis) {
  env_["REDIS_HOST"] = "cache";
  EXPECT_EQ(accepted().engine, "redis://cache:6379/0");
  env_["REDIS_PORT"] = "6400";
  env_["REDIS_DB"] = "3";
  EXPECT_EQ(accepted().engine, "redis://cache:6400/3");
  env_["REDIS_HOST"] = "fd00::7";
  EXPECT_EQ(accepted().engine, "redis://[fd00::7]:6400/3");
}

TEST_F(Config, ANamedEngineGoesBeforeARedisHost) {
  env_["REDIS_HOST"] = "cache";
  EXPECT_EQ(accepted({"--engine", "memory:"}).engine, "memory:");
}

TEST_F(Config, TheRedisPortMayHaveTheFormThatKubernetesGivesIt) {
  env_["REDIS_PORT"] = "tcp://10.0.0.1:6380";
  const auto settings = accepted();
  EXPECT_EQ(settings.redis_port, 6380);
  EXPECT_EQ(settings.engine, "embedded:/users/ada/.local/share/dislock") << "a port alone chooses nothing";
}

TEST_F(Config, WhatKubernetesInjectsForAServiceNamedDislockIsNotOurs) {
  env_["DISLOCK_SERVICE_HOST"] = "10.0.0.2";
  env_["DISLOCK_SERVICE_PORT"] = "80";
  env_["DISLOCK_SERVICE_PORT_HTTP"] = "80";
  env_["DISLOCK_PORT"] = "tcp://10.0.0.2:80";
  env_["DISLOCK_PORT_80_TCP"] = "tcp://10.0.0.2:80";
  env_["DISLOCK_PORT_80_TCP_ADDR"] = "10.0.0.2";
  env_["DISLOCK_DASHBOARD_SERVICE_HOST"] = "10.0.0.3";
  env_["DISLOCK_DASHBOARD_PORT"] = "tcp://10.0.0.3:81";
  env_["DISLOCK_DASHBOARD_PORT_81_TCP_PROTO"] = "tcp";

  EXPECT_EQ(accepted().port, 5000);
}

// --- refusals

TEST_F(Config, AnUnknownKeyOfTheFileIsRefusedWithTheNearest) {
  files_["d.toml"] = "port = 1\ndefault_timout = 3\n";
  EXPECT_THAT(problems({"--config", "d.toml"}),
              ElementsAre("unknown key \"default_timout\" (d.toml:2); the nearest is default_timeout"));
}

TEST_F(Config, ASectionOfTheFileIsRefused) {
  files_["d.toml"] = "[redis]\nhost = 'x'\n";
  EXPECT_THAT(problems({"--config", "d.toml"}), ElementsAre(HasSubstr("the file has no sections")));
}

TEST_F(Config, AnUnknownFlagIsRefusedWithTheNearest) {
  EXPECT_THAT(problems({"--prot", "5000"}),
              ElementsAre("unknown flag \"--prot\"; the nearest is --port (see --help)"));
  EXPECT_THAT(problems({"--max_timeout=3"}),
              ElementsAre("unknown flag \"--max_timeout\"; the nearest is --max-timeout (see --help)"));
}

TEST_F(Config, AnUnknownVariableOfOursIsRefusedWithTheNearest) {
  env_["DISLOCK_DEADLOCK_DETECTOIN"] = "true";
  EXPECT_THAT(problems(), ElementsAre("unknown environment variable \"DISLOCK_DEADLOCK_DETECTOIN\"; the "
                                      "nearest is DISLOCK_DEADLOCK_DETECTION"));
}

TEST_F(Config, AnArgumentThatBelongsToNoFlagIsRefused) {
  EXPECT_THAT(problems({"5000"}), ElementsAre("unexpected argument \"5000\" (see --help)"));
}

TEST_F(Config, AFlagWithoutItsValueIsRefused) {
  EXPECT_THAT(problems({"--port"}), ElementsAre("flag --port needs a value: a whole number from 0 to 65535"));
  EXPECT_THAT(problems({"--config"}), ElementsAre(HasSubstr("--config")));
  EXPECT_THAT(problems({"--listen", "--insecure"}), ElementsAre(HasSubstr("flag --listen needs a value")));
}

TEST_F(Config, ABadValueNamesTheKeyTheSourceAndWhatIsAllowed) {
  files_["d.toml"] = "\nmax_connections = 0\nwaiter_grace = '5s'\n";
  env_["DISLOCK_LOG_LEVEL"] = "loud";
  env_["REDIS_PORT"] = "none";

  EXPECT_THAT(
      problems({"--config", "d.toml", "--port", "65536", "--insecure", "perhaps"}),
      testing::UnorderedElementsAre(
          "port = \"65536\" (flag --port) must be a whole number from 0 to 65535",
          "insecure = \"perhaps\" (flag --insecure) must be true or false",
          "max_connections = \"0\" (d.toml:2) must be a whole number from 1 to 1000000000",
          "waiter_grace (d.toml:3) must be a number of seconds from 0.1 to 600",
          "redis_port = \"none\" (environment REDIS_PORT) must be a whole number from 1 to 65535",
          "log_level = \"loud\" (environment DISLOCK_LOG_LEVEL) must be debug, info, warn, error or off"));
}

TEST_F(Config, NumbersAreTakenLiterally) {
  for (const auto* const bad : {"", " 1", "1 ", "0x10", "1e3", "+1", "-1", "1.5", "nan", "5000tcp"}) {
    EXPECT_THAT(problems({std::string("--port=") + bad}), SizeIs(1)) << bad;
  }
  for (const auto* const bad : {"nan", "inf", "-1", "30s", "", "1e300", "0.05"}) {
    EXPECT_THAT(problems({std::string("--max-timeout=") + bad}), SizeIs(1)) << bad;
  }
}

TEST_F(Config, AnEngineMustBeAUrl) {
  for (const auto* const bad : {"embedded", "/var/lib/dislock", ":x", "Memory:"}) {
    EXPECT_THAT(problems({"--engine", bad}), ElementsAre(HasSubstr("must be a URL such as embedded:/path")))
        << bad;
  }
}

TEST_F(Config, ANonLoopbackAddressNeedsInsecureAndSaysSo) {
  EXPECT_THAT(problems({"--listen", "0.0.0.0"}),
              ElementsAre(AllOf(HasSubstr("flag --listen"), HasSubstr("--insecure"),
                                HasSubstr("DISLOCK_INSECURE=true"))));
  EXPECT_EQ(accepted({"--listen", "0.0.0.0", "--insecure"}).listen, "0.0.0.0");
  for (const auto* const loopback : {"127.0.0.1", "127.8.9.10", "::1", "localhost"}) {
    EXPECT_EQ(accepted({"--listen", loopback}).listen, loopback);
  }
  EXPECT_THAT(problems({"--listen", "example.org"}), Contains(HasSubstr("an IP address or localhost")));
}

TEST_F(Config, AShortMaximumCutsTheDefaultTimeoutButNotOneThatWasChosen) {
  EXPECT_EQ(accepted({"--max-timeout", "10"}).default_timeout, 10s);
  env_["DEFAULT_TIMEOUT"] = "20";
  EXPECT_THAT(problems({"--max-timeout", "10"}),
              ElementsAre("default_timeout (environment DEFAULT_TIMEOUT) must not be above max_timeout (flag "
                          "--max-timeout)"));
}

TEST_F(Config, AFileThatCannotBeReadOrParsedIsRefusedByName) {
  EXPECT_THAT(problems({"--config", "absent.toml"}),
              ElementsAre("the configuration file \"absent.toml\" (flag --config) cannot be read"));
  files_["d.toml"] = "port = 1\nport = \n";
  EXPECT_THAT(problems({"--config", "d.toml"}), ElementsAre(HasSubstr("d.toml:2: ")));
}

TEST_F(Config, APasswordDoesNotShowInAnError) {
  env_["DISLOCK_ENGINE"] = "9redis://u:hunter2@h";
  EXPECT_THAT(problems(), ElementsAre(AllOf(HasSubstr("***"), Not(HasSubstr("hunter2")))));
}

// --- texts

TEST_F(Config, VersionAndHelpArePrintedWhateverElseIsWrong) {
  env_["DISLOCK_NONSENSE"] = "1";
  EXPECT_EQ(printed({"--version"}), "dislockd 1.2.3\n");
  EXPECT_THAT(printed({"--help"}),
              AllOf(HasSubstr("--default-timeout SECONDS"), HasSubstr("[30] (also DEFAULT_TIMEOUT)"),
                    HasSubstr("--config FILE"), HasSubstr("[\"127.0.0.1\"]")));
}

TEST_F(Config, PrintConfigShowsValuesWithTheirSourceAndNoPassword) {
  files_["d.toml"] = "poll_slice = 20.5\n";
  env_["DISLOCK_ENGINE"] = "redis://app:hunter2@cache:6379/1";
  env_["MAX_TIMEOUT"] = "60";

  const auto text = printed({"--print-config", "--config", "d.toml", "--port", "5001"});

  EXPECT_THAT(text, testing::ContainsRegex("port = 5001 +# flag --port\n"));
  EXPECT_THAT(text, testing::ContainsRegex("poll_slice = 20.5 +# d.toml:1\n"));
  EXPECT_THAT(text, testing::ContainsRegex("max_timeout = 60 +# environment MAX_TIMEOUT\n"));
  EXPECT_THAT(text, testing::ContainsRegex("waiter_grace = 5 +# default\n"));
  EXPECT_THAT(text, HasSubstr("engine = \"redis://app:***@cache:6379/1\""));
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
}

TEST_F(Config, WhatPrintConfigPrintsCanBeReadBack) {
  const std::vector<std::string> args{
      "--engine", R"(embedded:/a "b"\c)", "--allowed-hosts", "x,y", "--insecure", "--poll-slice", "0.125"};
  auto with_print = args;
  with_print.emplace_back("--print-config");
  files_["printed.toml"] = printed(with_print);

  const auto settings = accepted({"--config", "printed.toml"});

  EXPECT_EQ(settings.engine, R"(embedded:/a "b"\c)");
  EXPECT_THAT(settings.allowed_hosts, ElementsAre("x", "y"));
  EXPECT_EQ(settings.poll_slice, 125ms);
  EXPECT_TRUE(settings.insecure);
}

TEST(RedactUrl, HidesPasswordsWhereverTheyStand) {
  EXPECT_EQ(redact_url("redis://h:6379/0"), "redis://h:6379/0");
  EXPECT_EQ(redact_url("embedded:/data/a:b@c"), "embedded:/data/a:b@c");
  EXPECT_EQ(redact_url("redis://u:p@h:1/0"), "redis://u:***@h:1/0");
  EXPECT_EQ(redact_url("redis://:p@h"), "redis://:***@h");
  EXPECT_EQ(redact_url("redis://u:p/q?r@s@h"), "redis://u:***@h");
  EXPECT_EQ(redact_url("postgres://h/db?user=u&password=p&sslmode=require"),
            "postgres://h/db?user=u&password=***&sslmode=require");
  EXPECT_EQ(redact_url("etcd://h?authToken=t"), "etcd://h?authToken=***");
}

}  // namespace
}  // namespace dislock::server
