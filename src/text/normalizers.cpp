#include "text/normalizers.h"

#include <vector>

#include "base/error.h"
#include "text/base64.h"
#include "text/byte_level.h"
#include "text/chars_map.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

using nlohmann::json;

/// Keeps the characters that `map` gives a character for; it gives 0 for those that go.
template <typename Map>
void map_characters(StagedText& staged, const Map& map) {
  std::string result;
  result.reserve(staged.text.size());
  bool is_begin = true;
  for (std::size_t at = 0; at < staged.text.size();) {
    const char32_t c = map(next_character(staged.text, at));
    if (c != 0) {
      append_character(result, c);
    } else if (is_begin) {
      staged.is_first = false;
    }
    is_begin = false;
  }
  staged.text = std::move(result);
}

/// NFC, NFD, NFKC, NFKD.
class FormNormalizer : public Normalizer {
 public:
  explicit FormNormalizer(NormalForm form) : form_(form) {}
  void apply(StagedText& staged) const override { staged.text = normal_form(staged.text, form_); }

 private:
  NormalForm form_;
};

class LowercaseNormalizer : public Normalizer {
 public:
  void apply(StagedText& staged) const override { staged.text = lowercase_characters(staged.text); }
};

class StripAccentsNormalizer : public Normalizer {
 public:
  void apply(StagedText& staged) const override {
    map_characters(staged, [](char32_t c) { return is_mark(c) ? 0 : c; });
  }
};

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(JsonObject& options)
      : clean_(options.flag("clean_text", true)),
        spaces_cjk_(options.flag("handle_chinese_chars", true)),
        lowercases_(options.flag("lowercase", true)),
        strips_(options.flag("strip_accents", lowercases_)) {}

  void apply(StagedText& staged) const override {
    if (clean_) map_characters(staged, cleaned);
    if (spaces_cjk_) put_spaces(staged.text);
    if (strips_) {
      staged.text = normal_form(staged.text, NormalForm::kNfd);
      map_characters(staged, [](char32_t c) { return is_nonspacing_mark(c) ? 0 : c; });
    }
    if (lowercases_) staged.text = lowercase_characters(staged.text);
  }

 private:
  static char32_t cleaned(char32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return ' ';
    if (c == 0xfffd || is_other(c)) return 0;
    return is_white_space(c) ? ' ' : c;
  }
  static void put_spaces(std::string& text) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      const bool is_cjk = is_cjk_ideograph(next_character(text, at));
      if (is_cjk) result += ' ';
      result.append(text, begin, at - begin);
      if (is_cjk) result += ' ';
    }
    text = std::move(result);
  }

  bool clean_, spaces_cjk_, lowercases_, strips_;
};

class StripNormalizer : public Normalizer {
 public:
  explicit StripNormalizer(JsonObject& options)
      : left_(options.flag("strip_left", true)), right_(options.flag("strip_right", true)) {}

  void apply(StagedText& staged) const override {
    std::size_t begin = 0, end = 0;  // of what is no space
    bool found = false;
    for (std::size_t at = 0; at < staged.text.size();) {
      const std::size_t start = at;
      if (is_white_space(next_character(staged.text, at))) continue;
      if (!found) begin = start;
      found = true;
      end = at;
    }
    if (!found) begin = end = left_ ? staged.text.size() : 0;
    if (right_) staged.text.resize(end);
    if (left_ && begin > 0) {
      staged.is_first = false;
      staged.text.erase(0, begin);
    }
  }

 private:
  bool left_, right_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(JsonObject& options) : prefix_(options.text("prepend")) {}
  void apply(StagedText& staged) const override {
    if (!staged.text.empty()) staged.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  explicit ReplaceNormalizer(JsonObject& options)
      : pattern_(read_pattern(options, "pattern")), content_(options.text("content")) {}

  void apply(StagedText& staged) const override {
    std::string result;
    for (const Match& part : pattern_.find(staged.text)) {
      const std::string_view text = std::string_view(staged.text).substr(part.begin, part.end - part.begin);
      if (!part.is_match) {
        result += text;
        continue;
      }
      if (part.begin == 0 && !text.empty()) {  // what stands for several characters stands for the last of them
        std::size_t first = 0;
        next_character(text, first);
        if (content_.empty() || first < text.size()) staged.is_first = false;
      }
      result += content_;
    }
    staged.text = std::move(result);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// The cleaning of Google's NMT, which SentencePiece's models were trained with.
class NmtNormalizer : public Normalizer {
 public:
  void apply(StagedText& staged) const override {
    map_characters(staged, [](char32_t c) -> char32_t {
      const bool goes =
          (c >= 0x1 && c <= 0x8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
      if (goes) return 0;
      const bool is_space = c == 0x9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                            (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff ||
                            c == 0xfffd;
      return is_space ? ' ' : c;
    });
  }
};

/// SentencePiece's table, applied as `tokenizers` applies it: to a short grapheme cluster as a whole, or else to each
/// of its characters.
class PrecompiledNormalizer : public Normalizer {
 public:
  explicit PrecompiledNormalizer(JsonObject& options) : map_(bytes_of(options), options.where()) {}

  void apply(StagedText& staged) const override {
    constexpr std::size_t kLongCluster = 6;
    std::string result;
    result.reserve(staged.text.size());
    const std::string_view text = staged.text;
    std::size_t begin = 0;
    for (const std::size_t end : grapheme_ends(text)) {
      const std::string_view cluster = text.substr(begin, end - begin);
      begin = end;
      if (cluster.size() < kLongCluster) {
        if (const auto other = map_.replacement(cluster)) {
          result += *other;
          continue;
        }
      }
      for (std::size_t at = 0; at < cluster.size();) {
        const std::size_t first = at;
        next_character(cluster, at);
        const std::string_view character = cluster.substr(first, at - first);
        result += map_.replacement(character).value_or(character);
      }
    }
    staged.text = std::move(result);
  }

 private:
  static std::string bytes_of(JsonObject& options) {
    const std::optional<std::string> bytes = decode_base64(options.text("precompiled_charsmap"));
    if (!bytes || bytes->empty()) options.refuse("precompiled_charsmap", "must be a table in base 64");
    return *bytes;
  }

  CharsMap map_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  void apply(StagedText& staged) const override {
    std::string result;
    append_bytes_as_characters(result, staged.text);
    staged.text = std::move(result);
  }
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(JsonObject& options) {
    const json& all = options.need("normalizers");
    if (!all.is_array()) options.refuse("normalizers", "must be a list");
    for (std::size_t i = 0; i < all.size(); ++i) {
      steps_.push_back(read_normalizer(all[i], fmt::format("{}.normalizers[{}]", options.path(), i), options.where()));
    }
  }
  void apply(StagedText& staged) const override {
    for (const auto& step : steps_) step->apply(staged);
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> steps_;
};

std::unique_ptr<const Normalizer> make_normalizer(const std::string& type, JsonObject& options) {
  if (type == "Sequence") return std::make_unique<NormalizerSequence>(options);
  if (type == "NFC") return std::make_unique<FormNormalizer>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<FormNormalizer>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<FormNormalizer>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<FormNormalizer>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "StripAccents") return std::make_unique<StripAccentsNormalizer>();
  if (type == "BertNormalizer") return std::make_unique<BertNormalizer>(options);
  if (type == "Strip") return std::make_unique<StripNormalizer>(options);
  if (type == "Prepend") return std::make_unique<PrependNormalizer>(options);
  if (type == "Replace") return std::make_unique<ReplaceNormalizer>(options);
  if (type == "Nmt") return std::make_unique<NmtNormalizer>();
  if (type == "Precompiled") return std::make_unique<PrecompiledNormalizer>(options);
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  options.refuse("type", fmt::format("must be a normalizer that is supported, found `{:.100}`", type));
}

}  // namespace

std::unique_ptr<const Normalizer> read_normalizer(const json& value, const std::string& path, std::string_view where) {
  JsonObject options(value, path, where);
  std::unique_ptr<const Normalizer> normalizer = make_normalizer(options.text("type"), options);
  options.done();
  return normalizer;
}

}  // namespace triptych::text
