#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/shard_format.h"

namespace triptych::data {

/// One line of a captions file, as docs/shard-format.md describes it.
struct PairLine {
  std::string image;               ///< empty if the sample has none
  std::vector<std::string> texts;  ///< captions, question, answers, and each phrase once
  std::vector<TextRole> roles;     ///< of the texts
  std::vector<BoxRecord> boxes;    ///< whether they lie in the image is not known yet
  std::optional<uint64_t> id;
  std::optional<int64_t> label;
  std::vector<std::string> ignored_keys;  ///< that mean nothing here, for messages: long ones are cut
};

/// Parses and checks one line. Throws UserError with the rule alone; the caller adds file and line.
PairLine parse_pair_line(std::string_view line);

}  // namespace triptych::data
