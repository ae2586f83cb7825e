#include "base/text.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace dislock {
namespace {

TEST(HashOfNames, TellsNumberedNamesApart) {
  std::set<std::size_t> seen;
  for (const std::string kind : {"", "a", "jobs/", "orders/invoice-", "host-4711-0a1b2c3d/"})
    for (int i = 0; i < 50'000; ++i) seen.insert(hash_of(kind + std::to_string(i)));

  EXPECT_EQ(seen.size(), 250'000u);
}

TEST(HashOfNames, DependsOnEveryCharacter) {
  for (std::size_t size = 1; size <= 40; ++size) {
    const std::string name(size, 'x');
    for (std::size_t i = 0; i < size; ++i) {
      auto other = name;
      other[i] = 'y';
      EXPECT_NE(hash_of(other), hash_of(name)) << other;
    }
  }
}

TEST(HashOfNames, DependsOnTheLength) {
  EXPECT_NE(hash_of(std::string(3, '\0')), hash_of(std::string(2, '\0')));
  EXPECT_NE(hash_of(std::string(16, 'x')), hash_of(std::string(24, 'x')));
}

}  // namespace
}  // namespace dislock
