#include "data/shard_format.h"

#include <algorithm>

#include <fmt/core.h>

namespace triptych::data {

std::string shard_file_name(uint64_t number) {
  return fmt::format("shard_{:05}.h5", number);
}

bool is_data_set_id(std::string_view id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !id.empty() && id.size() <= kMaxDataSetIdBytes && std::all_of(id.begin(), id.end(), allowed);
}

}  // namespace triptych::data
