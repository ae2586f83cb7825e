#include "settings.hpp"

#include <gtest/gtest.h>

namespace dislock::cli {
namespace {

using namespace std::chrono_literals;

const setting& named(const resolved& r, std::string_view name) {
  for (const auto& s : r.in_force.explained)
    if (s.name == name) return s;
  throw std::runtime_error("no such setting");
}

TEST(Settings, HaveADefaultForEverything) {
  const auto r = resolve({}, {});
  EXPECT_EQ(r.wrong, "");
  EXPECT_EQ(r.in_force.address, "http://127.0.0.1:5000");
  EXPECT_EQ(r.in_force.timeout, 5s);
  EXPECT_EQ(r.in_force.output, format::table);
  for (const auto& s : r.in_force.explained) EXPECT_EQ(s.source, "default") << s.name;
}

TEST(Settings, PreferFlagsToTheEnvironmentAndSayWhatDoesNotCount) {
  shared_flags flags;
  flags.address = "memory:";
  const auto r = resolve(flags, {{"DISLOCK_URL", "http://a:1"}, {"DISLOCK_ADDR", "http://b:2"}});
  EXPECT_EQ(r.in_force.address, "memory:");
  EXPECT_EQ(named(r, "address").source, "--addr");
  EXPECT_EQ(named(r, "address").overridden,
            (std::vector<std::string>{"DISLOCK_URL=http://a:1", "DISLOCK_ADDR=http://b:2"}));
}

TEST(Settings, TakeTheUrlBeforeTheAddress) {
  const auto r = resolve({}, {{"DISLOCK_URL", "http://a:1"}, {"DISLOCK_ADDR", "http://b:2"}});
  EXPECT_EQ(r.in_force.address, "http://a:1");
  EXPECT_EQ(named(r, "address").source, "DISLOCK_URL");
}

TEST(Settings, CountAnEmptyVariableAsNotSet) {
  const auto r = resolve({}, {{"DISLOCK_URL", ""}, {"DISLOCK_ADDR", "b:2"}, {"NO_COLOR", ""}});
  EXPECT_EQ(r.in_force.address, "http://b:2");
  EXPECT_TRUE(r.in_force.colours_wanted);
}

TEST(Settings, TakeAHostAndAPortForHttp) {
  EXPECT_EQ(url_of("localhost:5000"), "http://localhost:5000");
  EXPECT_EQ(url_of("memory:"), "memory:");
  EXPECT_EQ(url_of("embedded:/var/lib/x"), "embedded:/var/lib/x");
  EXPECT_EQ(url_of("redis://h"), "redis://h");
}

TEST(Settings, NeverShowAPassword) {
  EXPECT_EQ(without_password("redis://u:secret@h/0"), "redis://u:***@h/0");
  EXPECT_EQ(without_password("http://h:5000"), "http://h:5000");
  EXPECT_EQ(without_password("http://h:5000/a@b"), "http://h:5000/a@b");
  const auto r = resolve({}, {{"DISLOCK_URL", "http://u:secret@a"}, {"DISLOCK_ADDR", "http://u:hidden@b"}});
  EXPECT_EQ(r.in_force.address, "http://u:secret@a");
  EXPECT_EQ(named(r, "address").value, "http://u:***@a");
  EXPECT_EQ(named(r, "address").overridden, (std::vector<std::string>{"DISLOCK_ADDR=http://u:***@b"}));
}

TEST(Settings, NameWhatIsWrong) {
  EXPECT_EQ(resolve({}, {{"DISLOCK_OUTPUT", "yaml"}}).wrong,
            "DISLOCK_OUTPUT must be table, wide, json, jsonl or env, not 'yaml'.");
  EXPECT_EQ(resolve({}, {{"DISLOCK_TIMEOUT", "soon"}}).wrong,
            "DISLOCK_TIMEOUT must be a time like 5s or 500ms, not 'soon'.");
}

TEST(Settings, TurnColoursOff) {
  EXPECT_FALSE(resolve({}, {{"NO_COLOR", "1"}}).in_force.colours_wanted);
  EXPECT_FALSE(resolve({}, {{"TERM", "dumb"}}).in_force.colours_wanted);
  shared_flags flags;
  flags.no_colour = true;
  EXPECT_FALSE(resolve(flags, {}).in_force.colours_wanted);
}

}  // namespace
}  // namespace dislock::cli
