#include "text/piece_trie.h"

#include <algorithm>

namespace triptych::text {

PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, int32_t>> pieces) {
  std::ranges::sort(pieces);
  struct Range {
    std::size_t begin, end;  // pieces that share the way to the node
  };
  std::vector<Range> ranges{{0, pieces.size()}};
  nodes_.emplace_back();
  // Level by level, so that the children of a node are in a row.
  std::size_t first = 0;
  for (std::size_t depth = 0; first < nodes_.size(); ++depth) {
    const std::size_t end = nodes_.size();
    for (std::size_t node = first; node < end; ++node) {
      auto [begin, last] = ranges[node];
      if (begin < last && pieces[begin].first.size() == depth) nodes_[node].value = pieces[begin++].second;
      nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
      while (begin < last) {
        const char byte = pieces[begin].first[depth];
        std::size_t next = begin;
        while (next < last && pieces[next].first[depth] == byte) ++next;
        nodes_.push_back({.byte = static_cast<uint8_t>(byte)});
        ranges.push_back({begin, next});
        ++nodes_[node].num_children;
        begin = next;
      }
    }
    first = end;
  }
}

uint32_t PieceTrie::child(uint32_t node, uint8_t byte) const {
  if (nodes_.empty()) return 0;
  uint32_t begin = nodes_[node].first_child, end = begin + nodes_[node].num_children;
  while (begin < end) {
    const uint32_t middle = begin + (end - begin) / 2;
    if (nodes_[middle].byte < byte) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  const bool found = begin < nodes_[node].first_child + nodes_[node].num_children && nodes_[begin].byte == byte;
  return found ? begin : 0;
}

}  // namespace triptych::text
