#include "base/name_pattern.h"

#include <set>

#include "base/text.h"

namespace triptych::base {

std::optional<std::vector<std::string>> match_pattern(std::string_view pattern, std::string_view name) {
  struct Piece {
    std::size_t begin, end;  // in the name
  };
  std::vector<Piece> pieces;
  std::size_t star = std::string_view::npos;  // the last one met: the only one that may have to take more
  std::size_t p = 0, n = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      pieces.push_back({n, n});
      star = p++;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      n = ++pieces.back().end;
      p = star + 1;
    } else {
      return std::nullopt;
    }
  }
  for (; p < pattern.size() && pattern[p] == '*'; ++p) pieces.push_back({n, n});
  if (p < pattern.size()) return std::nullopt;
  std::vector<std::string> texts;
  for (const Piece& piece : pieces) texts.emplace_back(name.substr(piece.begin, piece.end - piece.begin));
  return texts;
}

std::string nearest_pattern(std::string_view pattern, const std::vector<std::string>& names) {
  std::set<std::string> candidates;
  for (const std::string& name : names) {
    candidates.insert(name);
    for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
      candidates.insert(name.substr(0, dot) + ".*");
    }
  }
  return nearest_word(pattern, std::vector<std::string>(candidates.begin(), candidates.end()));
}

}  // namespace triptych::base
