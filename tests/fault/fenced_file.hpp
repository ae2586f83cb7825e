// A resource that protects itself: it takes no write of an older token than the newest that it has seen.
#pragma once

#include <sys/file.h>

#include <charconv>
#include <cstdint>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <unistd.h>

namespace dislock::test {

/// Lines of `TOKEN WRITER`, appended by any number of processes. The file's own lock makes looking and
/// writing one step, as a transaction would in a database.
class fenced_file {
 public:
  explicit fenced_file(const std::string& path)
      : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {}
  fenced_file(const fenced_file&) = delete;
  fenced_file& operator=(const fenced_file&) = delete;
  ~fenced_file() {
    if (file_ >= 0) ::close(file_);
  }

  [[nodiscard]] bool usable() const noexcept { return file_ >= 0; }

  /// False: a newer token has written already, and nothing was written now. `checks` false plants the bug
  /// that the test has to find.
  [[nodiscard]] bool append(std::uint64_t token, std::string_view writer, bool checks = true) const {
    while (::flock(file_, LOCK_EX) != 0) {
    }
    const bool allowed = !checks || token >= newest();
    bool written = false;
    if (allowed) {
      const auto line = std::to_string(token).append(" ").append(writer).append("\n");
      written = ::write(file_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
    }
    ::flock(file_, LOCK_UN);
    return written;
  }

 private:
  // Tokens never go down in here, so the last line has the newest.
  [[nodiscard]] std::uint64_t newest() const {
    char tail[512];
    const auto size = ::lseek(file_, 0, SEEK_END);
    const auto from = size > static_cast<off_t>(sizeof tail) ? size - static_cast<off_t>(sizeof tail) : 0;
    const auto count = ::pread(file_, tail, sizeof tail, from);
    if (count <= 1) return 0;
    const std::string_view text(tail, static_cast<std::size_t>(count) - 1);
    const auto line = text.substr(text.rfind('\n') + 1);
    std::uint64_t token = 0;
    std::from_chars(line.data(), line.data() + line.size(), token);
    return token;
  }

  int file_;
};

}  // namespace dislock::test
