#include "text/unigram.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/error.h"
#include "text/piece_trie.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

using nlohmann::json;

constexpr double kUnknownPenalty = 10;  // below the least score, as in SentencePiece

// A score as `tokenizers` reads it, so that what is equally likely there is so here: its JSON reader rounds twice, the
// digits as a whole number and then their quotient by a power of ten (serde_json without `float_roundtrip`).
double as_serde_reads(double score) {
  char text[32] = {};
  const char* end = std::to_chars(text, text + sizeof text - 1, std::abs(score), std::chars_format::scientific).ptr;
  uint64_t digits = 0;
  int exponent = 0;
  const char* at = text;
  for (bool is_fraction = false; at != end && *at != 'e'; ++at) {
    if (*at == '.') {
      is_fraction = true;
      continue;
    }
    digits = 10 * digits + static_cast<uint64_t>(*at - '0');
    exponent -= is_fraction ? 1 : 0;
  }
  exponent += std::atoi(at + 1);
  if (std::abs(exponent) > 300) return score;  // as no likelihood is
  const double power = std::strtod(fmt::format("1e{}", std::abs(exponent)).c_str(), nullptr);
  const double value = exponent < 0 ? static_cast<double>(digits) / power : static_cast<double>(digits) * power;
  return score < 0 ? -value : value;
}

class Unigram : public WordModel {
 public:
  explicit Unigram(JsonObject& options) {
    const json& all = options.need("vocab");
    if (!all.is_array() || all.empty() || all.size() > static_cast<std::size_t>(kMaxVocabulary)) {
      options.refuse("vocab", fmt::format("must be a list of 1 to {} pieces", kMaxVocabulary));
    }
    double least = std::numeric_limits<double>::max();
    for (const json& entry : all) {
      const bool is_sound = entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number() &&
                            !entry[0].get_ref<const std::string&>().empty() && std::isfinite(entry[1].get<double>());
      if (!is_sound) options.refuse("vocab", "must have a piece and its score, [\"a\", -1.5], in each place");
      const auto& piece = entry[0].get_ref<const std::string&>();
      if (!pieces_.add(piece, static_cast<int32_t>(scores_.size()))) {
        options.refuse("vocab", fmt::format("must have distinct pieces, found `{:.100}` twice", piece));
      }
      scores_.push_back(as_serde_reads(entry[1].get<double>()));
      least = std::min(least, scores_.back());
    }
    unknown_score_ = least - kUnknownPenalty;
    if (options.find("unk_id") != nullptr) {
      unknown_ = static_cast<int32_t>(options.integer("unk_id", 0, pieces_.size() - 1));
    }
    if (options.flag("byte_fallback", false)) bytes_ = find_byte_pieces(pieces_);
    where_ = options.where();
    std::vector<std::pair<std::string_view, int32_t>> entries;
    entries.reserve(scores_.size());
    for (int32_t id = 0; id < pieces_.size(); ++id) entries.emplace_back(pieces_.piece(id), id);
    trie_ = PieceTrie(std::move(entries));
  }

  std::string name() const override { return "Unigram"; }
  const PieceTable& pieces() const override { return pieces_; }
  std::optional<int32_t> unknown() const override { return unknown_; }

  void append(std::string_view word, std::vector<int32_t>& ids) const override {
    struct Step {
      double score = 0;
      std::size_t begin = kNone;
      int32_t id = 0;
    };
    std::vector<Step> best(word.size() + 1);  // the likeliest way to each place
    const auto offer = [&](std::size_t begin, std::size_t end, double score, int32_t id) {
      Step& step = best[end];
      score += best[begin].score;
      if (step.begin == kNone || score > step.score) step = {score, begin, id};
    };
    for (std::size_t at = 0; at < word.size();) {
      std::size_t next = at;
      next_character(word, next);
      bool has_character = false;
      trie_.for_prefixes(word.substr(at), [&](std::size_t length, int32_t id) {
        offer(at, at + length, scores_[static_cast<std::size_t>(id)], id);
        has_character = has_character || at + length == next;
      });
      if (!has_character) offer(at, next, unknown_score_, unknown_or_refuse(word));
      at = next;
    }
    struct Cut {
      std::size_t begin, end;
      bool is_unknown;
    };
    std::vector<Cut> cuts;  // from the end; unknown neighbours are one
    for (std::size_t end = word.size(); end > 0; end = best[end].begin) {
      const bool is_unknown = best[end].id == unknown_;
      if (is_unknown && !cuts.empty() && cuts.back().is_unknown) {
        cuts.back().begin = best[end].begin;
      } else {
        cuts.push_back({best[end].begin, end, is_unknown});
      }
    }
    for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {
      append_piece(word.substr(cut->begin, cut->end - cut->begin), ids);
    }
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  int32_t unknown_or_refuse(std::string_view word) const {
    if (unknown_) return *unknown_;
    throw UserError(where_,
                    fmt::format("has no unknown piece, and no piece for a character of a text of {} bytes. Leave "
                                "that text out.",
                                word.size()));
  }

  void append_piece(std::string_view piece, std::vector<int32_t>& ids) const {
    if (const auto id = pieces_.find(piece)) {
      ids.push_back(*id);
      return;
    }
    const auto has_byte = [&](char c) { return bytes_[static_cast<uint8_t>(c)].has_value(); };
    if (bytes_.empty() || !std::ranges::all_of(piece, has_byte)) {
      ids.push_back(unknown_or_refuse(piece));
      return;
    }
    for (const char c : piece) ids.push_back(*bytes_[static_cast<uint8_t>(c)]);
  }

  PieceTable pieces_;
  std::vector<double> scores_;
  PieceTrie trie_;
  double unknown_score_ = 0;
  std::optional<int32_t> unknown_;
  std::vector<std::optional<int32_t>> bytes_;
  std::string where_;
};

}  // namespace

std::unique_ptr<const WordModel> read_unigram(JsonObject& options) {
  return std::make_unique<Unigram>(options);
}

}  // namespace triptych::text
