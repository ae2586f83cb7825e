// A Sentinel of a test's own, which knows one primary by the name of "prod".
#pragma once

#include "engines/redis/wire/test_redis.hpp"

namespace dislock::redis {

class test_sentinel {
 public:
  test_sentinel(const address& primary, int quorum, const std::string& more = {}) : port_(free_port()) {
    std::ofstream(folder_.path("conf"))
        << "port " << port_ << "\nbind 127.0.0.1\ndir " << folder_.path() << "\nlogfile "
        << folder_.path("log") << "\nsentinel monitor prod 127.0.0.1 " << primary.port << " " << quorum
        << "\nsentinel down-after-milliseconds prod 600\nsentinel failover-timeout prod "
           "1000\n"
        << more;
    process_ =
        std::make_unique<test_process>(std::vector<std::string>{"redis-sentinel", folder_.path("conf")});
    EXPECT_TRUE(comes_true([&] { return say({"PING"}).is != reply::kind::nil; }));
  }
  reply say(std::initializer_list<std::string_view> words) const {
    test_line line(port_);
    return line.open() ? line.say(words) : reply{};
  }
  /// A field of what it says of the master.
  std::string sees(std::string_view name) const {
    const auto all = say({"SENTINEL", "MASTER", "prod"});
    for (std::size_t i = 0; i + 1 < all.items.size(); i += 2)
      if (all.items[i].text == name) return all.items[i + 1].text;
    return {};
  }
  [[nodiscard]] std::string place() const { return "127.0.0.1:" + std::to_string(port_); }
  test_process& process() { return *process_; }

 private:
  test_folder folder_;
  std::uint16_t port_;
  std::unique_ptr<test_process> process_;
};

}  // namespace dislock::redis
