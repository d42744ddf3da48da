#include "text/piece_table.h"

#include "base/error.h"

namespace triptych::text {

PieceTable PieceTable::from_json(JsonObject& options, const std::string& key) {
  const nlohmann::json& pieces = options.need(key);
  if (!pieces.is_object()) options.refuse(key, "must be an object of pieces and ids");
  // Ids are bounded by the number of pieces, so that a few bytes cannot ask for a large table; real files leave few
  // out.
  const auto most = std::min<int64_t>(kMaxVocabulary, 4 * static_cast<int64_t>(pieces.size()) + 4096) - 1;
  PieceTable table;
  table.ids_.reserve(pieces.size());
  for (const auto& [piece, id] : pieces.items()) {
    const bool fits = id.is_number_unsigned() && id.get<uint64_t>() <= static_cast<uint64_t>(most);
    if (!fits || !table.add(piece, id.get<int32_t>())) {
      options.refuse(
          key, fmt::format("must give each piece an id of its own, 0 to {}, found another for `{:.100}`", most, piece));
    }
  }
  return table;
}

bool PieceTable::add(std::string piece, int32_t id) {
  const auto place = static_cast<std::size_t>(id);
  if (place >= pieces_.size()) {
    pieces_.resize(place + 1);
    has_.resize(place + 1);
  }
  if (has_[place] || !ids_.emplace(piece, id).second) return false;
  has_[place] = true;
  pieces_[place] = std::move(piece);
  return true;
}

const std::string& PieceTable::piece(int32_t id) const {
  static const std::string kNone;
  return has(id) ? pieces_[static_cast<std::size_t>(id)] : kNone;
}

}  // namespace triptych::text
