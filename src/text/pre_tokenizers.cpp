#include "text/pre_tokenizers.h"

#include <algorithm>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

using nlohmann::json;

// Source: Radford et al. 2019, GPT-2, encoder.py.
constexpr const char* kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Each character that `is` is a match.
template <typename Is>
std::vector<Match> find_characters(std::string_view text, const Is& is) {
  std::vector<Match> matches;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (!is(next_character(text, at))) continue;
    if (done < begin) matches.push_back({done, begin, false});
    matches.push_back({begin, at, true});
    done = at;
  }
  if (done < text.size()) matches.push_back({done, text.size(), false});
  return matches;
}

SplitBehavior read_behavior(JsonObject& options) {
  const std::string name = options.text("behavior");
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  options.refuse("behavior", fmt::format("must be one of Removed, Isolated, MergedWithPrevious, MergedWithNext and "
                                         "Contiguous, found `{:.100}`",
                                         name));
}

/// Splits at single characters of a class.
template <bool (*is)(char32_t)>
class CharacterSplit : public PreTokenizer {
 public:
  explicit CharacterSplit(SplitBehavior behavior) : behavior_(behavior) {}
  void apply(TextParts& text) const override {
    text.split_each([&](const TextPart& part, std::vector<TextPart>& parts) {
      append_split(part, find_characters(part.text, is), behavior_, parts);
    });
  }

 private:
  SplitBehavior behavior_;
};

class DelimiterSplit : public PreTokenizer {
 public:
  explicit DelimiterSplit(JsonObject& options)
      : delimiter_(Pattern::literal(options.text("delimiter"), options.where())) {}
  void apply(TextParts& text) const override {
    text.split_each([&](const TextPart& part, std::vector<TextPart>& parts) {
      append_split(part, delimiter_.find(part.text), SplitBehavior::kRemoved, parts);
    });
  }

 private:
  Pattern delimiter_;
};

/// Words, and what lies between words and spaces: `\w+|[^\w\s]+`.
class WhitespaceWords : public PreTokenizer {
 public:
  void apply(TextParts& text) const override {
    text.split_each([&](const TextPart& part, std::vector<TextPart>& parts) {
      std::size_t begin = 0;
      int kind = 0;  // 0: spaces, 1: a word, 2: other
      for (std::size_t at = 0; at < part.text.size();) {
        const std::size_t start = at;
        const char32_t c = next_character(part.text, at);
        const int now = is_word(c) ? 1 : is_white_space(c) ? 0 : 2;
        if (now != kind) {
          if (kind != 0) parts.push_back({part.text.substr(begin, start - begin), part.is_first && begin == 0});
          begin = start;
          kind = now;
        }
      }
      if (kind != 0) parts.push_back({part.text.substr(begin), part.is_first && begin == 0});
    });
  }
};

class BertWords : public PreTokenizer {
 public:
  void apply(TextParts& text) const override {
    spaces_.apply(text);
    punctuation_.apply(text);
  }

 private:
  CharacterSplit<is_white_space> spaces_{SplitBehavior::kRemoved};
  CharacterSplit<is_punctuation> punctuation_{SplitBehavior::kIsolated};
};

class PatternSplit : public PreTokenizer {
 public:
  explicit PatternSplit(JsonObject& options)
      : pattern_(read_pattern(options, "pattern")),
        behavior_(read_behavior(options)),
        invert_(options.flag("invert", false)) {}

  void apply(TextParts& text) const override {
    text.split_each([&](const TextPart& part, std::vector<TextPart>& parts) {
      std::vector<Match> matches = pattern_.find(part.text);
      for (Match& match : matches) match.is_match = match.is_match != invert_;
      append_split(part, std::move(matches), behavior_, parts);
    });
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

/// The bytes of words as characters.
class ByteLevelWords : public PreTokenizer {
 public:
  explicit ByteLevelWords(JsonObject& options)
      : adds_space_(options.flag("add_prefix_space", true)),
        splits_(options.flag("use_regex", true)),
        words_(Pattern::regex(kGpt2Words, options.where())) {
    options.pass_over({"trim_offsets"});
  }

  void apply(TextParts& text) const override {
    text.split_each([&](TextPart part, std::vector<TextPart>& parts) {
      if (adds_space_ && !part.text.starts_with(' ')) part.text = text.keep(" " + std::string(part.text));
      std::vector<Match> words = splits_ ? words_.find(part.text) : std::vector{Match{0, part.text.size(), true}};
      std::string letters;
      for (Match& word : words) {
        const std::size_t begin = letters.size();
        append_bytes_as_characters(letters, part.text.substr(word.begin, word.end - word.begin));
        word = {begin, letters.size(), true};
      }
      append_split({text.keep(std::move(letters)), part.is_first}, std::move(words), SplitBehavior::kIsolated, parts);
    });
  }

 private:
  bool adds_space_, splits_;
  Pattern words_;
};

/// Spaces as a mark that belongs to the word behind it.
class MetaspaceWords : public PreTokenizer {
 public:
  explicit MetaspaceWords(JsonObject& options)
      : mark_(options.text("replacement", "\u2581")),
        scheme_(options.text("prepend_scheme", options.flag("add_prefix_space", true) ? "always" : "never")),
        splits_(options.flag("split", true)),
        marks_(Pattern::literal(mark_, options.where())) {
    options.pass_over({"str_rep"});
    std::size_t end = 0;
    next_character(mark_, end);
    if (end != mark_.size()) options.refuse("replacement", "must be one character");
    if (scheme_ != "always" && scheme_ != "never" && scheme_ != "first") {
      options.refuse("prepend_scheme", fmt::format("must be always, never or first, found `{:.100}`", scheme_));
    }
  }

  void apply(TextParts& text) const override {
    text.split_each([&](const TextPart& part, std::vector<TextPart>& parts) {
      std::string marked;
      marked.reserve(part.text.size() + mark_.size());
      for (const char c : part.text) {
        if (c == ' ') {
          marked += mark_;
        } else {
          marked += c;
        }
      }
      const bool prepends = scheme_ == "always" || (scheme_ == "first" && part.is_first);
      if (prepends && !marked.starts_with(mark_)) marked.insert(0, mark_);
      const TextPart whole{text.keep(std::move(marked)), part.is_first};
      if (splits_) {
        append_split(whole, marks_.find(whole.text), SplitBehavior::kMergedWithNext, parts);
      } else {
        parts.push_back(whole);
      }
    });
  }

 private:
  std::string mark_, scheme_;
  bool splits_;
  Pattern marks_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(JsonObject& options) {
    const json& all = options.need("pretokenizers");
    if (!all.is_array()) options.refuse("pretokenizers", "must be a list");
    for (std::size_t i = 0; i < all.size(); ++i) {
      steps_.push_back(
          read_pre_tokenizer(all[i], fmt::format("{}.pretokenizers[{}]", options.path(), i), options.where()));
    }
  }
  void apply(TextParts& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> steps_;
};

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const std::string& type, JsonObject& options) {
  if (type == "Sequence") return std::make_unique<PreTokenizerSequence>(options);
  if (type == "ByteLevel") return std::make_unique<ByteLevelWords>(options);
  if (type == "Whitespace") return std::make_unique<WhitespaceWords>();
  if (type == "WhitespaceSplit") return std::make_unique<CharacterSplit<is_white_space>>(SplitBehavior::kRemoved);
  if (type == "BertPreTokenizer") return std::make_unique<BertWords>();
  if (type == "Metaspace") return std::make_unique<MetaspaceWords>(options);
  if (type == "Split") return std::make_unique<PatternSplit>(options);
  if (type == "CharDelimiterSplit") return std::make_unique<DelimiterSplit>(options);
  if (type == "Punctuation") {
    const bool says = options.find("behavior") != nullptr;
    return std::make_unique<CharacterSplit<is_punctuation>>(says ? read_behavior(options) : SplitBehavior::kIsolated);
  }
  if (type == "Digits") {
    return std::make_unique<CharacterSplit<is_number>>(
        options.flag("individual_digits", false) ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  options.refuse("type", fmt::format("must be a pre-tokenizer that is supported, found `{:.100}`", type));
}

// Joins what belongs together; `joins` says whether a part goes to the one before it.
template <typename Joins>
std::vector<Match> joined(const std::vector<Match>& matches, const Joins& joins) {
  std::vector<Match> result;
  bool previous = false;
  for (const Match& match : matches) {
    if (joins(match.is_match, previous) && !result.empty()) {
      result.back().begin = std::min(result.back().begin, match.begin);
      result.back().end = std::max(result.back().end, match.end);
    } else {
      result.push_back(match);
    }
    previous = match.is_match;
  }
  return result;
}

}  // namespace

void append_split(const TextPart& part, std::vector<Match> matches, SplitBehavior behavior,
                  std::vector<TextPart>& parts) {
  const auto is_new_match = [](bool is_match, bool previous) { return is_match && !previous; };
  if (behavior == SplitBehavior::kRemoved) {
    std::erase_if(matches, [](const Match& match) { return match.is_match; });
  } else if (behavior == SplitBehavior::kContiguous) {
    matches = joined(matches, [](bool is_match, bool previous) { return is_match == previous; });
  } else if (behavior == SplitBehavior::kMergedWithPrevious) {
    matches = joined(matches, is_new_match);
  } else if (behavior == SplitBehavior::kMergedWithNext) {
    std::ranges::reverse(matches);
    matches = joined(matches, is_new_match);
    std::ranges::reverse(matches);
  }
  for (const Match& match : matches) {
    parts.push_back({part.text.substr(match.begin, match.end - match.begin), part.is_first && match.begin == 0});
  }
}

std::unique_ptr<const PreTokenizer> read_pre_tokenizer(const json& value, const std::string& path,
                                                       std::string_view where) {
  JsonObject options(value, path, where);
  std::unique_ptr<const PreTokenizer> pre_tokenizer = make_pre_tokenizer(options.text("type"), options);
  options.done();
  return pre_tokenizer;
}

}  // namespace triptych::text
