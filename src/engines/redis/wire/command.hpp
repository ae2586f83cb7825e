// Commands as Redis reads them.
#pragma once

#include "engines/redis/wire/call.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace dislock::redis {

/// `*count\r\n`: that many words follow.
void append_count(std::string& out, std::size_t count);
/// `$size\r\nword\r\n`.
void append_word(std::string& out, std::string_view word);
void append_number(std::string& out, std::size_t number);
/// A whole command.
void append_command(std::string& out, std::span<const std::string_view> words);

/// What follows `EVALSHA digest` or `EVAL body`: the number of keys, the keys, the arguments. Returns where
/// the incarnation goes, if the call wants one; else 0. `count` is of these words.
std::size_t append_call(std::string& out, std::size_t& count, const script_call& what);

/// 40 lower-case hex digits, as Redis names scripts.
[[nodiscard]] std::string sha1_hex(std::string_view text);

}  // namespace dislock::redis
