#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rooms.h"

namespace triptych::text {

/// Finds which of many pieces a text begins with. Immutable and thread-safe.
class PieceTrie {
 public:
  PieceTrie() = default;
  /// Of pieces that are distinct and not empty, with their values, 0 or more.
  explicit PieceTrie(std::vector<std::pair<std::string_view, int32_t>> pieces);

  /// Calls see(length, value) for each piece that the text begins with, the shortest first.
  template <typename See>
  void for_prefixes(std::string_view text, const See& see) const {
    uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (nodes_[node].value >= 0) see(i + 1, nodes_[node].value);
    }
  }

 private:
  struct Node {
    uint32_t first_child = 0;  // the children are in a row, by their bytes
    uint16_t num_children = 0;
    uint8_t byte = 0;
    int32_t value = -1;
  };
  uint32_t child(uint32_t node, uint8_t byte) const;

  std::vector<Node> nodes_;
};

}  // namespace triptych::text
