#include "text/json_model.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/error.h"
#include "base/strict_json.h"
#include "text/added_tokens.h"
#include "text/byte_level.h"
#include "text/decoders.h"
#include "text/json_object.h"
#include "text/normalizers.h"
#include "text/post_processors.h"
#include "text/pre_tokenizers.h"
#include "text/unicode.h"
#include "text/word_model.h"

namespace triptych::text {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxJsonBytes = std::size_t{64} << 20;
constexpr int kMaxDepth = 32;
constexpr std::string_view kSpaceMark = "\u2581";

// Names of special tokens, for what a file has a token but no place: the first that there is.
constexpr std::array<std::string_view, 6> kBeginNames{"<s>",   "<bos>",        "<|startoftext|>", "<|begin_of_text|>",
                                                      "[CLS]", "<|endoftext|>"};
constexpr std::array<std::string_view, 5> kEndNames{"</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "[SEP]"};
constexpr std::array<std::string_view, 5> kPadNames{"[PAD]", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>",
                                                    "<|endofpad|>"};
constexpr std::array<std::string_view, 2> kMaskNames{"[MASK]", "<mask>"};

bool names_type(const json& value, const char* type) {
  if (!value.is_structured()) return false;
  const auto found = value.is_object() ? value.find("type") : value.end();
  if (value.is_object() && found != value.end() && *found == type) return true;
  return std::ranges::any_of(value, [&](const json& inner) { return names_type(inner, type); });
}

class JsonModel : public TokenModel {
 public:
  JsonModel(const json& root, std::string_view where) {
    JsonObject file(root, "tokenizer.json", where);
    if (const std::string version = file.text("version", "1.0"); version != "1.0") {
      file.refuse("version", fmt::format("must be 1.0, found {:.100}", version));
    }
    if (const json* value = file.find("normalizer")) normalizer_ = read_normalizer(*value, "normalizer", where);
    if (const json* value = file.find("pre_tokenizer")) {
      pre_tokenizer_ = read_pre_tokenizer(*value, "pre_tokenizer", where);
      is_byte_level_ = names_type(*value, "ByteLevel");
    }
    if (const json* value = file.find("normalizer")) {
      is_byte_level_ = is_byte_level_ || names_type(*value, "ByteLevel");
    }
    model_ = read_word_model(file.need("model"), where);
    added_ = std::make_unique<AddedTokens>(file.find("added_tokens"), model_->pieces(), normalizer_.get(), where);
    if (const json* value = file.find("decoder")) decoder_ = read_decoder(*value, "decoder", where);
    frame_ = read_post_processor(file.find("post_processor"), where);
    collect_pieces();
    read_truncation(file);
    find_special(file);
    file.done();
  }

  std::string kind() const override { return fmt::format("tokenizer.json ({})", model_->name()); }
  int64_t size() const override { return static_cast<int64_t>(pieces_.size()); }
  const SpecialTokens& special() const override { return special_; }
  const std::vector<int32_t>& before() const override { return frame_.before; }
  const std::vector<int32_t>& after() const override { return frame_.after; }
  std::size_t max_tokens() const override { return max_tokens_; }

  void append_pieces(std::string_view text, std::vector<int32_t>& ids) const override {
    added_->split(text, normalizer_.get(), [&](const StagedText& staged, std::optional<int32_t> id) {
      if (id) {
        ids.push_back(*id);
        return;
      }
      TextParts parts;
      parts.parts.push_back({staged.text, staged.is_first});
      if (pre_tokenizer_ != nullptr) pre_tokenizer_->apply(parts);
      for (const TextPart& part : parts.parts) model_->append(part.text, ids);
    });
  }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::vector<std::string> pieces;
    for (const int32_t id : ids) pieces.push_back(piece(id));
    std::string text;
    if (decoder_ != nullptr) {
      for (const std::string& part : decoder_->apply(std::move(pieces))) text += part;
      return text;
    }
    for (const std::string& part : pieces) {
      if (&part != pieces.data()) text += ' ';
      text += part;
    }
    return text;
  }

  std::string normalized(std::string_view text) const override {
    std::vector<int32_t> ids;
    append_pieces(text, ids);
    std::erase_if(ids, [&](int32_t id) { return !shows(id); });
    return decode(ids);
  }

  std::string piece(int32_t id) const override { return pieces_[static_cast<std::size_t>(id)]; }
  bool shows(int32_t id) const override { return !std::ranges::binary_search(skipped_, id); }

  ShownPiece shown(int32_t id) const override {
    ShownPiece result{.text = piece(id)};
    const std::string prefix = model_->continuing_prefix(), suffix = model_->end_of_word();
    if (!suffix.empty()) {
      result.ends_word = result.text.ends_with(suffix);
      if (result.ends_word) result.text.resize(result.text.size() - suffix.size());
    }
    if (is_byte_level_ && shows(id)) result.text = bytes_of(result.text);
    if (!prefix.empty()) {
      result.begins_word = !result.text.starts_with(prefix);
      if (!result.begins_word) result.text.erase(0, prefix.size());
      return result;
    }
    for (const std::string_view mark : {kSpaceMark, std::string_view(" ")}) {
      if (!result.text.starts_with(mark)) continue;
      result.begins_word = true;
      result.text.erase(0, mark.size());
    }
    return result;
  }

 private:
  static std::string bytes_of(const std::string& letters) {
    std::string bytes;
    for (std::size_t at = 0; at < letters.size();) {
      const auto byte = byte_of_character(next_character(letters, at));
      if (!byte) return letters;
      bytes += static_cast<char>(*byte);
    }
    return bytes;
  }

  void collect_pieces() {
    pieces_.resize(static_cast<std::size_t>(std::max(model_->pieces().size(), added_->max_id() + 1)));
    for (int32_t id = 0; id < model_->pieces().size(); ++id) {
      pieces_[static_cast<std::size_t>(id)] = model_->pieces().piece(id);
    }
    for (const AddedToken& token : added_->all()) pieces_[static_cast<std::size_t>(token.id)] = token.content;
  }

  void read_truncation(JsonObject& file) {
    if (file.find("truncation") == nullptr) return;
    JsonObject options = file.object("truncation");
    const std::string direction = options.text("direction", "Right");
    if (direction != "Right") options.refuse("direction", fmt::format("must be Right, found `{:.100}`", direction));
    max_tokens_ = static_cast<std::size_t>(options.integer("max_length", 1, int64_t{1} << 40));
    options.pass_over({"strategy", "stride"});  // of two texts, and of what goes over
    options.done();
  }

  std::optional<int32_t> read_pad(JsonObject& file) {
    if (file.find("padding") == nullptr) return std::nullopt;
    JsonObject options = file.object("padding");
    const std::string direction = options.text("direction", "Right");
    if (direction != "Right") options.refuse("direction", fmt::format("must be Right, found `{:.100}`", direction));
    const auto pad = static_cast<int32_t>(options.integer("pad_id", 0, size() - 1));
    options.pass_over(
        {"strategy", "pad_to_multiple_of", "pad_type_id", "pad_token"});  // rows are as long as a config says
    options.done();
    return pad;
  }

  void find_special(JsonObject& file) {
    std::unordered_map<std::string_view, int32_t> names;
    for (const AddedToken& token : added_->all()) {
      if (!token.special) continue;
      skipped_.push_back(token.id);
      names.emplace(token.content, token.id);
    }
    const auto first_of = [&](auto candidates) -> std::optional<int32_t> {
      for (const std::string_view name : candidates) {
        if (const auto found = names.find(name); found != names.end()) return found->second;
      }
      return std::nullopt;
    };
    std::vector<int32_t>&before = frame_.before, &after = frame_.after;
    for (const std::vector<int32_t>* side : {&before, &after}) {
      for (const int32_t id : *side) {
        if (id >= size()) file.refuse("post_processor", fmt::format("must put pieces around a text, found id {}", id));
      }
    }
    if (before.empty()) {
      if (const auto begin = first_of(kBeginNames)) before = {*begin};
    }
    if (after.empty()) {
      if (const auto end = first_of(kEndNames)) after = {*end};
    }
    if (!before.empty()) special_.begin = before.front();
    if (!after.empty()) special_.end = after.back();
    special_.unknown = model_->unknown();
    special_.mask = first_of(kMaskNames);
    std::optional<int32_t> pad = read_pad(file);
    if (!pad) pad = first_of(kPadNames);
    special_.pad = pad.value_or(special_.end.value_or(0));
    special_.all = skipped_;
    for (const std::vector<int32_t>* side : {&before, &after}) {
      special_.all.insert(special_.all.end(), side->begin(), side->end());
    }
    if (special_.unknown) special_.all.push_back(*special_.unknown);
    if (pad) special_.all.push_back(*pad);
    for (std::vector<int32_t>* ids : {&special_.all, &skipped_}) {
      std::ranges::sort(*ids);
      ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
    }
  }

  std::unique_ptr<const Normalizer> normalizer_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  std::unique_ptr<const WordModel> model_;
  std::unique_ptr<const AddedTokens> added_;
  std::unique_ptr<const Decoder> decoder_;
  TextFrame frame_;
  std::vector<std::string> pieces_;  // by id, added tokens with them
  SpecialTokens special_;
  std::vector<int32_t> skipped_;  // ascending
  std::size_t max_tokens_ = 0;
  bool is_byte_level_ = false;
};

}  // namespace

bool is_json_tokenizer(std::string_view bytes) {
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && bytes[first] == '{';
}

std::unique_ptr<const TokenModel> read_json_model(const std::string& bytes, std::string_view where) {
  if (bytes.size() > kMaxJsonBytes) {
    throw UserError(where, fmt::format("a tokenizer.json must have at most {} bytes, found {}. Take a smaller one.",
                                       kMaxJsonBytes, bytes.size()));
  }
  return std::make_unique<JsonModel>(parse_strict_json(bytes, kMaxDepth, where), where);
}

}  // namespace triptych::text
