#include "parallel/rank_status.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include <fmt/core.h>

namespace triptych::parallel {

void RankStatus::set(std::string_view text) {
  std::array<uint64_t, kWords> words{};
  std::memcpy(words.data(), text.data(), std::min(text.size(), sizeof words - 1));
  for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
}

std::string RankStatus::text() const {
  std::array<uint64_t, kWords> words{};
  for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
  const std::string_view bytes(reinterpret_cast<const char*>(words.data()), sizeof words);
  return std::string(bytes.substr(0, bytes.find('\0')));
}

std::string process_state(int process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string line;
  // The name may have blanks and brackets; the state follows its last bracket.
  if (!std::getline(file, line)) return "has ended";
  const std::size_t name_end = line.rfind(") ");
  switch (name_end == std::string::npos ? '?' : line[name_end + 2]) {
    case 'T':
    case 't':
      return "is stopped by a signal";
    case 'D':
      return "waits for a disk or the network";
    case 'Z':
    case 'X':
      return "has ended";
    default:
      return "runs or sleeps";
  }
}

}  // namespace triptych::parallel
