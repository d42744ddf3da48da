#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/word_model.h"

namespace triptych::text {

/// Which two pieces become which, the lowest rank first.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = 0;
    int32_t id = -1;
  };

  /// For up to `count` pairs.
  explicit MergeTable(std::size_t count);
  /// A pair that is there already gets the new merge.
  void set(int32_t left, int32_t right, Merge merge);
  /// Null if the pair does not merge.
  const Merge* find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t pair = ~uint64_t{0};
    Merge merge;
  };

  std::vector<Slot> slots_;
  std::size_t mask_ = 0;
};

/// Merges neighbours until none is left to merge; of those of the lowest rank the leftmost first.
void merge_pieces(std::vector<int32_t>& ids, const MergeTable& merges);

/// Byte-pair encoding. Source: Sennrich et al. 2016.
struct BpeOptions {
  PieceTable pieces;
  std::vector<std::pair<std::string, std::string>> merges;  ///< by rank
  std::optional<std::string> unknown;                       ///< the piece for characters without one; none: they go
  std::string continuing_prefix, end_of_word;
  bool fuse_unknown = false;   ///< neighbours without a piece make one unknown token
  bool byte_fallback = false;  ///< characters without a piece are written by their bytes
  bool ignore_merges = false;  ///< a word that is a piece is that piece
};

/// Throws UserError if a merge names what is no piece, or the unknown piece is none.
std::unique_ptr<const WordModel> make_bpe(BpeOptions options, std::string_view where);

/// The model of type BPE of a tokenizer.json.
std::unique_ptr<const WordModel> read_bpe(JsonObject& options);

}  // namespace triptych::text
