#include "http/trace_id.hpp"

#include <algorithm>
#include <random>

namespace dislock::http {
namespace {

bool is_lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool all_zero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

}  // namespace

std::string_view trace_id_of(std::string_view header) noexcept {
  // W3C Trace Context, 3.2: versions after 00 may append fields, version ff is invalid.
  if (header.size() < 55 || header[2] != '-' || header[35] != '-' || header[52] != '-') return {};
  const auto version = header.substr(0, 2);
  const auto trace = header.substr(3, 32);
  const auto parent = header.substr(36, 16);
  if (!is_lower_hex(version) || !is_lower_hex(trace) || !is_lower_hex(parent) ||
      !is_lower_hex(header.substr(53, 2))) {
    return {};
  }
  if (version == "ff" || all_zero(trace) || all_zero(parent)) return {};
  if (header.size() > 55 && (version == "00" || header[55] != '-')) return {};
  return trace;
}

trace_id_source::trace_id_source() {
  std::random_device entropy;
  state_ = (std::uint64_t{entropy()} << 32) | entropy();
}

std::uint64_t trace_id_source::next() noexcept {  // splitmix64
  auto z = state_ += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

void trace_id_source::make(std::string_view traceparent, std::array<char, 32>& out) noexcept {
  if (const auto given = trace_id_of(traceparent); !given.empty()) {
    std::copy(given.begin(), given.end(), out.begin());
    return;
  }
  for (std::size_t half = 0; half < 2; ++half) {
    auto bits = next() | 1;  // an all-zero id would be invalid
    for (std::size_t i = 0; i < 16; ++i, bits >>= 4) out[half * 16 + i] = "0123456789abcdef"[bits & 15];
  }
}

}  // namespace dislock::http
