#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "base/error.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

using nlohmann::json;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

std::size_t hash_of(uint64_t pair) {
  return (pair ^ pair >> 29) * 0x9e3779b97f4a7c15u >> 20;
}

}  // namespace

MergeTable::MergeTable(std::size_t count) : slots_(std::bit_ceil(2 * count + 1)), mask_(slots_.size() - 1) {}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  const uint64_t pair = pair_of(left, right);
  std::size_t place = hash_of(pair) & mask_;
  while (slots_[place].merge.id >= 0 && slots_[place].pair != pair) place = (place + 1) & mask_;
  slots_[place] = {pair, merge};
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (std::size_t place = hash_of(pair) & mask_; slots_[place].merge.id >= 0; place = (place + 1) & mask_) {
    if (slots_[place].pair == pair) return &slots_[place].merge;
  }
  return nullptr;
}

void merge_pieces(std::vector<int32_t>& ids, const MergeTable& merges) {
  struct Symbol {
    int32_t id;
    int32_t previous, next;  // -1: none
    bool is_gone;
  };
  struct Candidate {
    uint32_t rank;
    int32_t place;
    int32_t id;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : place > other.place;
    }
  };
  const auto count = static_cast<int32_t>(ids.size());
  std::vector<Symbol> symbols;
  symbols.reserve(ids.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols.push_back({ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, false});
  }
  std::vector<Candidate> storage;
  storage.reserve(ids.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue({}, std::move(storage));
  const auto at = [&](int32_t place) -> Symbol& { return symbols[static_cast<std::size_t>(place)]; };
  const auto offer = [&](int32_t left, int32_t right) {
    const MergeTable::Merge* merge = merges.find(at(left).id, at(right).id);
    if (merge != nullptr) queue.push({merge->rank, left, merge->id});
  };
  for (int32_t i = 0; i + 1 < count; ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = at(best.place);
    if (left.is_gone || left.next < 0) continue;
    Symbol& right = at(left.next);
    // One of these has changed since; what they make now may still be the same.
    const MergeTable::Merge* merge = merges.find(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;
    left.id = best.id;
    left.next = right.next;
    right.is_gone = true;
    if (left.next >= 0) at(left.next).previous = best.place;
    if (left.previous >= 0) offer(left.previous, best.place);
    if (left.next >= 0) offer(best.place, left.next);
  }
  ids.clear();
  for (const Symbol& symbol : symbols) {
    if (!symbol.is_gone) ids.push_back(symbol.id);
  }
}

namespace {

class Bpe : public WordModel {
 public:
  Bpe(BpeOptions options, std::string_view where) : options_(std::move(options)), merges_(options_.merges.size()) {
    if (options_.unknown) {
      unknown_ = options_.pieces.find(*options_.unknown);
      if (!unknown_) refuse(where, "the unknown piece", *options_.unknown);
    }
    if (options_.byte_fallback) bytes_ = find_byte_pieces(options_.pieces);
    const std::size_t prefix = options_.continuing_prefix.size();
    uint32_t rank = 0;
    for (const auto& [left, right] : options_.merges) {
      const auto left_id = options_.pieces.find(left), right_id = options_.pieces.find(right);
      if (!left_id) refuse(where, "what a merge joins", left);
      if (!right_id || right.size() < prefix) refuse(where, "what a merge joins", right);
      const std::string whole = left + right.substr(prefix);
      const auto id = options_.pieces.find(whole);
      if (!id) refuse(where, "what a merge makes", whole);
      merges_.set(*left_id, *right_id, {rank++, *id});
    }
    options_.merges = {};
  }

  std::string name() const override { return "BPE"; }
  const PieceTable& pieces() const override { return options_.pieces; }
  std::optional<int32_t> unknown() const override { return unknown_; }
  std::string continuing_prefix() const override { return options_.continuing_prefix; }
  std::string end_of_word() const override { return options_.end_of_word; }

  void append(std::string_view word, std::vector<int32_t>& ids) const override {
    if (options_.ignore_merges) {
      if (const auto id = options_.pieces.find(word)) {
        ids.push_back(*id);
        return;
      }
    }
    std::vector<int32_t> letters = letters_of(word);
    if (letters.size() > 1) merge_pieces(letters, merges_);
    ids.insert(ids.end(), letters.begin(), letters.end());
  }

 private:
  [[noreturn]] static void refuse(std::string_view where, const char* what, const std::string& piece) {
    throw UserError(
        where, fmt::format("{} must be a piece of the vocabulary, found `{:.100}`. Get the file again.", what, piece));
  }

  // Ids of the characters, before anything is merged.
  std::vector<int32_t> letters_of(std::string_view word) const {
    std::vector<int32_t> letters;
    letters.reserve(word.size());
    bool has_unknown = false;  // waits to be put before the next letter
    std::string affixed;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t begin = at;
      next_character(word, at);
      std::string_view letter = word.substr(begin, at - begin);
      const bool has_prefix = begin > 0 && !options_.continuing_prefix.empty();
      const bool has_suffix = at == word.size() && !options_.end_of_word.empty();
      if (has_prefix || has_suffix) {
        affixed.clear();
        if (has_prefix) affixed += options_.continuing_prefix;
        affixed += letter;
        if (has_suffix) affixed += options_.end_of_word;
        letter = affixed;
      }
      if (const auto id = options_.pieces.find(letter)) {
        if (has_unknown) letters.push_back(*unknown_);
        has_unknown = false;
        letters.push_back(*id);
      } else if (!append_bytes(letter, letters) && unknown_) {
        if (has_unknown && !options_.fuse_unknown) letters.push_back(*unknown_);
        has_unknown = true;
      }
    }
    if (has_unknown) letters.push_back(*unknown_);
    return letters;
  }

  // False if one of the bytes has no piece. As in `tokenizers`, an unknown character before them stays behind them.
  bool append_bytes(std::string_view letter, std::vector<int32_t>& letters) const {
    if (!options_.byte_fallback) return false;
    for (const char c : letter) {
      if (!bytes_[static_cast<uint8_t>(c)]) return false;
    }
    for (const char c : letter) letters.push_back(*bytes_[static_cast<uint8_t>(c)]);
    return true;
  }

  BpeOptions options_;
  MergeTable merges_;
  std::optional<int32_t> unknown_;
  std::vector<std::optional<int32_t>> bytes_;
};

// "a b", or ["a", "b"].
std::pair<std::string, std::string> read_merge(JsonObject& options, const json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const std::size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  options.refuse("merges", "must be pairs of pieces, as \"a b\" or [\"a\", \"b\"]");
}

}  // namespace

std::unique_ptr<const WordModel> make_bpe(BpeOptions options, std::string_view where) {
  return std::make_unique<Bpe>(std::move(options), where);
}

std::unique_ptr<const WordModel> read_bpe(JsonObject& options) {
  BpeOptions bpe{.pieces = PieceTable::from_json(options, "vocab"),
                 .merges = {},
                 .unknown = options.optional_text("unk_token"),
                 .continuing_prefix = options.text("continuing_subword_prefix", ""),
                 .end_of_word = options.text("end_of_word_suffix", ""),
                 .fuse_unknown = options.flag("fuse_unk", false),
                 .byte_fallback = options.flag("byte_fallback", false),
                 .ignore_merges = options.flag("ignore_merges", false)};
  const json* dropout = options.find("dropout");
  if (dropout != nullptr && !(dropout->is_number() && dropout->get<double>() == 0)) {
    options.refuse("dropout", "must be null: a text's tokens are not drawn here");
  }
  const json& merges = options.need("merges");
  if (!merges.is_array()) options.refuse("merges", "must be a list");
  bpe.merges.reserve(merges.size());
  for (const json& merge : merges) bpe.merges.push_back(read_merge(options, merge));
  return make_bpe(std::move(bpe), options.where());
}

}  // namespace triptych::text
