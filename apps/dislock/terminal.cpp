#include "terminal.hpp"

#include <sys/ioctl.h>

#include <cerrno>
#include <string>
#include <unistd.h>

namespace dislock::cli {
namespace {

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const auto n = ::write(descriptor, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // the terminal is gone
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

// The first `columns` characters of a line. Colour sequences take no room and are kept.
std::string cut(std::string_view line, int columns) {
  std::string out;
  int width = 0;
  for (std::size_t i = 0; i < line.size();) {
    if (line[i] == '\x1b') {
      const auto end = line.find('m', i);
      if (end == std::string_view::npos) break;
      out.append(line.substr(i, end - i + 1));
      i = end + 1;
      continue;
    }
    if ((static_cast<unsigned char>(line[i]) & 0xc0) != 0x80 && ++width > columns) {
      ++i;
      while (i < line.size() && line[i] != '\x1b') ++i;
      continue;
    }
    if (width <= columns) out += line[i];
    ++i;
  }
  return out;
}

}  // namespace

environment environment_of(char** entries) {
  environment out;
  for (; entries && *entries; ++entries) {
    const std::string_view both(*entries);
    if (const auto equals = both.find('='); equals != std::string_view::npos)
      out.emplace(both.substr(0, equals), both.substr(equals + 1));
  }
  return out;
}

screen_size size_of(int descriptor) noexcept {
  winsize size{};
  screen_size out;
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
    out = {size.ws_row, size.ws_col};
  return out;
}

printer::stream_abilities abilities_of(int descriptor, const environment& env) {
  printer::stream_abilities out;
  out.is_terminal = ::isatty(descriptor) == 1;
  const auto term = env.find("TERM");
  out.colours = out.is_terminal && term != env.end() && !term->second.empty() && term->second != "dumb";
  if (out.is_terminal) out.columns = size_of(descriptor).columns;
  return out;
}

full_screen::full_screen(int in, int out) : in_(in), out_(out) {
  termios now{};
  if (tcgetattr(in_, &now) == 0) {
    before_ = now;
    // Keys come at once and are not echoed; Ctrl-C still is a signal.
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    now.c_cc[VMIN] = 0;
    now.c_cc[VTIME] = 0;
    tcsetattr(in_, TCSADRAIN, &now);
  }
  write_all(out_, "\x1b[?1049h\x1b[?25l\x1b[2J");
}

full_screen::~full_screen() {
  write_all(out_, "\x1b[?25h\x1b[?1049l");
  if (before_) tcsetattr(in_, TCSADRAIN, &*before_);
}

void full_screen::show(std::string_view text) {
  const auto size = size_of(out_);
  std::string frame = "\x1b[H";
  for (int row = 0; row < size.rows; ++row) {
    const auto end = text.find('\n');
    frame += cut(text.substr(0, end), size.columns) + "\x1b[K";
    if (row + 1 < size.rows) frame += "\r\n";
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  write_all(out_, frame);
}

}  // namespace dislock::cli
