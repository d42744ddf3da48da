#include "text/tokenizer.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "text/byte_level.h"
#include "text/clip_model.h"
#include "text/json_model.h"
#include "text/sentencepiece_model.h"
#include "text/token_model.h"

namespace triptych::text {
namespace {

std::unique_ptr<const TokenModel> read_model(const std::string& bytes, std::string_view where) {
  if (is_clip_merges(bytes)) return read_clip_model(bytes, where);
  if (is_json_tokenizer(bytes)) return read_json_model(bytes, where);
  return read_sentencepiece_model(bytes, where);
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const TokenModel> model, std::string bytes, std::string where)
    : model_(std::move(model)),
      bytes_(std::move(bytes)),
      where_(std::move(where)),
      hash_(hash128(std::as_bytes(std::span(bytes_)))) {}

Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::from_bytes(std::string bytes, std::string_view where) {
  std::unique_ptr<const TokenModel> model = read_model(bytes, where);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(model), std::move(bytes), std::string(where)));
}

std::shared_ptr<const Tokenizer> Tokenizer::from_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw UserError(path.string(),
                    "is no file that can be read. Name a tokenizer: one that `triptych tokenizer train` made, a "
                    "SentencePiece model, a tokenizer.json, or CLIP's bpe_simple_vocab_16e6.txt.gz.");
  }
  return from_bytes(read_text_file(path, kMaxTokenizerBytes), path.string());
}

std::string Tokenizer::kind() const {
  return model_->kind();
}
int64_t Tokenizer::size() const {
  return model_->size();
}
const SpecialTokens& Tokenizer::special() const {
  return model_->special();
}
std::span<const int32_t> Tokenizer::before() const {
  return model_->before();
}
std::span<const int32_t> Tokenizer::after() const {
  return model_->after();
}

bool Tokenizer::is_special(int32_t id) const {
  return std::ranges::binary_search(special().all, id);
}

int32_t Tokenizer::begin() const {
  if (special().begin) return *special().begin;
  throw UserError(where_,
                  fmt::format("a text that is written needs a token to begin with; this tokenizer, {}, has none. Take "
                              "one that has, or a task that only reads texts.",
                              kind()));
}

int32_t Tokenizer::end() const {
  if (special().end) return *special().end;
  throw UserError(where_,
                  fmt::format("a text that is written needs a token to end with; this tokenizer, {}, has none. Take "
                              "one that has, or a task that only reads texts.",
                              kind()));
}

void Tokenizer::check_fits(int64_t model_vocabulary) const {
  if (size() <= model_vocabulary) return;
  throw UserError(where_, fmt::format("the model's vocabulary must hold the tokenizer's pieces: {} pieces, found a "
                                      "vocabulary of {}. Set it to {} or more, or train a smaller tokenizer.",
                                      size(), model_vocabulary, size()));
}

void Tokenizer::check_text(std::string_view text) const {
  if (is_utf8(text)) return;
  throw UserError(where_, fmt::format("text must be UTF-8; {} bytes are not. Convert the text.", text.size()));
}

void Tokenizer::check_ids(std::span<const int32_t> ids) const {
  for (const int32_t id : ids) {
    if (id >= 0 && id < size()) continue;
    throw UserError(where_, fmt::format("an id must be in [0, {}), found {}. Use ids of this tokenizer.", size(), id));
  }
}

int32_t Tokenizer::encode(std::string_view text, std::span<int32_t> ids) const {
  const std::vector<int32_t>&before = model_->before(), &after = model_->after();
  TRIPTYCH_CHECK(ids.size() >= num_around(), "{} tokens have no room for the {} around a text", ids.size(),
                 num_around());
  const std::vector<int32_t> all = pieces(text);
  std::size_t room = ids.size();
  if (model_->max_tokens() > 0) room = std::max(std::min(room, model_->max_tokens()), num_around());
  const std::size_t count = std::min(all.size(), room - num_around());
  auto next = std::ranges::copy(before, ids.begin()).out;
  next = std::copy_n(all.begin(), count, next);
  next = std::ranges::copy(after, next).out;
  std::fill(next, ids.end(), special().pad);
  return narrow<int32_t>(next - ids.begin());
}

std::vector<int32_t> Tokenizer::pieces(std::string_view text) const {
  check_text(text);
  std::vector<int32_t> ids;
  model_->append_pieces(text, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  check_ids(ids);
  const std::span<const int32_t> begins = before();
  if (!begins.empty() && ids.size() >= begins.size() && std::ranges::equal(ids.first(begins.size()), begins)) {
    ids = ids.subspan(begins.size());
  }
  const bool ends_by_token = !is_special(special().pad);  // which then is a piece too
  std::vector<int32_t> text;
  for (const int32_t id : ids) {
    if (ends_by_token && id == special().end) break;
    if (model_->shows(id)) text.push_back(id);
  }
  return model_->decode(text);
}

std::string Tokenizer::normalized(std::string_view text) const {
  check_text(text);
  return model_->normalized(text);
}

std::string Tokenizer::piece(int32_t id) const {
  check_ids(std::span(&id, 1));
  return model_->piece(id);
}

std::vector<TokenWord> Tokenizer::words(std::span<const int32_t> ids) const {
  check_ids(ids);
  std::vector<TokenWord> words;
  bool begins = true;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const ShownPiece shown = model_->shown(ids[i]);
    if (begins || shown.begins_word || is_special(ids[i])) words.push_back({.text = "", .first = i, .count = 0});
    words.back().text += shown.text;
    ++words.back().count;
    begins = shown.ends_word || is_special(ids[i]);
  }
  for (TokenWord& word : words) word.text = repaired_utf8(word.text);
  return words;
}

}  // namespace triptych::text
