// DISLOCK_ASSERT: an invariant that holds in every build. A doubtful grant is worse than a dead process.
// Never for user input: that gets an error.
#pragma once

#include <cstdio>
#include <cstdlib>

#define DISLOCK_ASSERT(condition, sentence)                                                               \
  do {                                                                                                    \
    if (!(condition)) [[unlikely]] {                                                                      \
      std::fprintf(stderr, "dislock: invariant broken: %s (%s:%d)\n", sentence, __FILE_NAME__, __LINE__); \
      std::abort();                                                                                       \
    }                                                                                                     \
  } while (false)
