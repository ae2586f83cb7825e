#include "engines/redis/wire/command.hpp"

#include "base/assert.hpp"

#include <openssl/evp.h>

#include <charconv>

namespace dislock::redis {
namespace {

void append_head(std::string& out, char sign, std::size_t number) {
  char digits[24];
  digits[0] = sign;
  const auto end = std::to_chars(digits + 1, digits + sizeof digits - 2, number).ptr;
  end[0] = '\r';
  end[1] = '\n';
  out.append(digits, end + 2);
}

}  // namespace

void append_count(std::string& out, std::size_t count) {
  append_head(out, '*', count);
}

void append_word(std::string& out, std::string_view word) {
  append_head(out, '$', word.size());
  out.append(word).append("\r\n");
}

void append_number(std::string& out, std::size_t number) {
  char digits[20];
  append_word(out, {digits, std::to_chars(digits, digits + sizeof digits, number).ptr});
}

void append_command(std::string& out, std::span<const std::string_view> words) {
  append_count(out, words.size());
  for (const auto word : words) append_word(out, word);
}

std::size_t append_call(std::string& out, std::size_t& count, const script_call& what) {
  constexpr std::string_view no_incarnation = "0000000000000000000000000000000000000000";
  count = 1 + what.keys.size() + (what.stamped ? 1 : 0) + what.arguments.size();
  append_number(out, what.keys.size());
  for (const auto key : what.keys) append_word(out, key);
  std::size_t stamp = 0;
  if (what.stamped) {
    append_word(out, no_incarnation);
    stamp = out.size() - no_incarnation.size() - 2;
  }
  for (const auto word : what.arguments) append_word(out, word);
  return stamp;
}

std::string sha1_hex(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  DISLOCK_ASSERT(EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) == 1,
                 "SHA-1 is there");
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += digits[digest[i] >> 4];
    out += digits[digest[i] & 15];
  }
  return out;
}

}  // namespace dislock::redis
