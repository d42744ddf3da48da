#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/json_object.h"

namespace triptych::text {

inline constexpr int64_t kMaxVocabulary = 1 << 24;

/// Pieces and their ids. Not every id below size() need have a piece.
class PieceTable {
 public:
  PieceTable() = default;
  /// An object of pieces and ids. Throws UserError if it is none, or two pieces have one id.
  static PieceTable from_json(JsonObject& options, const std::string& key);

  /// The id must be in [0, kMaxVocabulary). Returns false if it has a piece already, or the piece an id.
  bool add(std::string piece, int32_t id);

  std::optional<int32_t> find(std::string_view piece) const {
    const auto found = ids_.find(piece);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  bool has(int32_t id) const { return id < size() && has_[static_cast<std::size_t>(id)]; }
  /// "" if the id has none.
  const std::string& piece(int32_t id) const;
  int32_t size() const { return static_cast<int32_t>(pieces_.size()); }
  std::size_t num_pieces() const { return ids_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::vector<std::string> pieces_;  // by id
  std::vector<bool> has_;
};

}  // namespace triptych::text
