// What the standard streams are connected to.
#pragma once

#include "settings.hpp"

#include <optional>
#include <string_view>
#include <termios.h>

namespace dislock::cli {

[[nodiscard]] environment environment_of(char** entries);
/// Whether a stream is a terminal, and what it can show. Pipes and files get neither colours nor progress.
[[nodiscard]] printer::stream_abilities abilities_of(int descriptor, const environment& env);

struct screen_size {
  int rows = 24, columns = 80;
};
[[nodiscard]] screen_size size_of(int descriptor) noexcept;

/// The whole screen, for as long as this lives: alternate screen, no cursor, keys as they are pressed. The
/// destructor restores what was there. Needs a terminal at both descriptors.
class full_screen {
 public:
  full_screen(int in, int out);
  full_screen(const full_screen&) = delete;
  full_screen& operator=(const full_screen&) = delete;
  ~full_screen();

  /// Repaints: lines beyond the screen are cut, the rest of it is blanked, nothing flickers.
  void show(std::string_view text);

 private:
  int in_, out_;
  std::optional<termios> before_;
};

}  // namespace dislock::cli
