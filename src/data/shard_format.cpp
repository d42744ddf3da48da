#include "data/shard_format.h"

#include <algorithm>
#include <array>

#include <fmt/core.h>

namespace triptych::data {

std::string shard_file_name(uint64_t number) {
  return fmt::format("shard_{:05}.h5", number);
}

std::string_view text_role_name(TextRole role) {
  static constexpr std::array<std::string_view, kNumTextRoles> kNames{"caption", "question", "answer", "phrase"};
  return kNames[static_cast<std::size_t>(role)];
}

std::optional<TextRole> text_role_of(uint8_t byte) {
  if (byte >= kNumTextRoles) return std::nullopt;
  return static_cast<TextRole>(byte);
}

bool is_ingest_id(std::string_view id) {
  if (id.size() != 36 || id[14] != '8' || std::string_view("89ab").find(id[19]) == std::string_view::npos) return false;
  for (std::size_t i = 0; i < id.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash ? id[i] != '-' : std::string_view("0123456789abcdef").find(id[i]) == std::string_view::npos)
      return false;
  }
  return true;
}

bool is_data_set_id(std::string_view id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !id.empty() && id.size() <= kMaxDataSetIdBytes && std::all_of(id.begin(), id.end(), allowed);
}

}  // namespace triptych::data
