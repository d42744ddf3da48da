#include "text/added_tokens.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "text/json_object.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxTokens = 1 << 20, kMaxTokenBytes = 4096;

AddedToken read_token(const json& value, const std::string& path, std::string_view where) {
  JsonObject options(value, path, where);
  AddedToken token{.content = options.text("content"),
                   .id = static_cast<int32_t>(options.integer("id", 0, kMaxVocabulary - 1)),
                   .single_word = options.flag("single_word", false),
                   .left_strip = options.flag("lstrip", false),
                   .right_strip = options.flag("rstrip", false),
                   .special = options.flag("special", false)};
  token.normalized = options.flag("normalized", !token.special);
  options.done();
  if (token.content.empty() || token.content.size() > kMaxTokenBytes) {
    options.refuse("content", fmt::format("must be of 1 to {} bytes, found {}", kMaxTokenBytes, token.content.size()));
  }
  return token;
}

/// Of several alike the first is kept.
PieceTrie trie_of(const std::vector<std::pair<std::string, int32_t>>& contents) {
  std::map<std::string_view, int32_t> distinct;
  for (const auto& [content, place] : contents) distinct.emplace(content, place);
  return PieceTrie({distinct.begin(), distinct.end()});
}

std::size_t last_character(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  std::size_t at = last_character(text);
  return is_word(next_character(text, at));
}

bool starts_with_word(std::string_view text) {
  std::size_t at = 0;
  return !text.empty() && is_word(next_character(text, at));
}

std::size_t without_spaces_at_end(std::string_view text) {
  while (!text.empty()) {
    std::size_t at = last_character(text);
    const std::size_t begin = at;
    if (!is_white_space(next_character(text, at))) break;
    text = text.substr(0, begin);
  }
  return text.size();
}

std::size_t num_space_bytes_at_start(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t next = at;
    if (!is_white_space(next_character(text, next))) break;
    at = next;
  }
  return at;
}

}  // namespace

AddedTokens::AddedTokens(const json* value, const PieceTable& pieces, const Normalizer* normalizer,
                         std::string_view where) {
  if (value == nullptr) return;
  if (!value->is_array() || value->size() > kMaxTokens) {
    throw UserError(where,
                    fmt::format("its `added_tokens` must be a list of at most {}. Get the file again.", kMaxTokens));
  }
  const auto num_pieces = static_cast<int32_t>(pieces.num_pieces());
  std::vector<std::pair<std::string, int32_t>> raw, normalized;
  for (std::size_t i = 0; i < value->size(); ++i) {
    const std::string path = fmt::format("added_tokens[{}]", i);
    AddedToken token = read_token((*value)[i], path, where);
    const auto id = pieces.find(token.content);
    const int32_t expected = id ? *id : std::max(num_pieces, max_id() + 1);
    if (token.id != expected) {
      JsonObject((*value)[i], path, where)
          .refuse("id", fmt::format("must be {}, where loading it puts `{:.100}`, found {}", expected, token.content,
                                    token.id));
    }
    max_id_ = std::max(max_id_, token.id);
    const auto place = static_cast<int32_t>(tokens_.size());
    if (token.normalized) {
      StagedText staged{token.content};
      if (normalizer != nullptr) normalizer->apply(staged);
      if (staged.text.empty()) {
        JsonObject((*value)[i], path, where).refuse("content", "must leave something when it is normalised");
      }
      normalized.emplace_back(std::move(staged.text), place);
    } else {
      raw.emplace_back(token.content, place);
    }
    tokens_.push_back(std::move(token));
  }
  raw_ = trie_of(raw);
  normalized_ = trie_of(normalized);
}

std::vector<FoundToken> AddedTokens::find_in(std::string_view text, const PieceTrie& trie) const {
  std::vector<FoundToken> parts;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 0;
    int32_t place = -1;
    trie.for_prefixes(text.substr(at), [&](std::size_t count, int32_t value) {  // the longest is the last
      length = count;
      place = value;
    });
    if (place < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(place)];
    std::size_t begin = at, end = at + length;
    at = end;
    if (token.single_word && (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) continue;
    if (token.left_strip) begin = std::max(without_spaces_at_end(text.substr(0, begin)), done);
    if (token.right_strip) end += num_space_bytes_at_start(text.substr(end));
    if (done < begin) parts.push_back({done, begin, std::nullopt});
    parts.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), std::nullopt});
  return parts;
}

void AddedTokens::split(std::string_view text, const Normalizer* normalizer,
                        const std::function<void(const StagedText& staged, std::optional<int32_t> id)>& see) const {
  for (const FoundToken& part : find_in(text, raw_)) {
    if (part.id) {
      see({}, part.id);
      continue;
    }
    StagedText staged{std::string(text.substr(part.begin, part.end - part.begin)), part.begin == 0};
    if (normalizer != nullptr) normalizer->apply(staged);
    for (const FoundToken& inner : find_in(staged.text, normalized_)) {
      if (inner.id) {
        see({}, inner.id);
      } else {
        see({staged.text.substr(inner.begin, inner.end - inner.begin), staged.is_first && inner.begin == 0},
            std::nullopt);
      }
    }
  }
}

}  // namespace triptych::text
