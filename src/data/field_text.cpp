#include <algorithm>

#include "base/error.h"
#include "base/philox.h"
#include "data/field_sources.h"
#include "data/synthetic_rows.h"
#include "text/own_model.h"

namespace triptych::data {
namespace {

enum Row : std::size_t { kTokens, kLengths, kFirstOption };

// What is made of a text beside its tokens, in the order of the fields.
struct TextParts {
  TextOptions options;
  MaskVocabulary vocabulary;

  // Of a row whose tokens and length are there; `first_target` is the first position whose next token is learned.
  void fill(uint64_t seed, uint64_t position, bool has_caption, int64_t first_target, FieldRows rows) const;
};

// targets[t] = tokens[t + 1] from `first` on where that is one of the `length` tokens; see TextOptions.
void fill_targets(std::span<const int32_t> tokens, int64_t length, int64_t first, std::span<int32_t> targets) {
  std::ranges::fill(targets, -1);
  for (auto t = static_cast<std::size_t>(first); t + 1 < static_cast<std::size_t>(length); ++t) {
    targets[t] = tokens[t + 1];
  }
}

void TextParts::fill(uint64_t seed, uint64_t position, bool has_caption, int64_t first_target, FieldRows rows) const {
  const std::span<int32_t> tokens = values_of<int32_t>(rows[kTokens]);
  const int32_t length = values_of<int32_t>(rows[kLengths])[0];
  std::size_t row = kFirstOption;
  if (options.targets) {
    fill_targets(tokens, length, has_caption ? first_target : length, values_of<int32_t>(rows[row++]));
  }
  if (options.masking) {
    mask_tokens(tokens, has_caption ? length : 0, *options.masking, vocabulary, seed, position,
                values_of<int32_t>(rows[row]), values_of<int32_t>(rows[row + 1]));
  }
}

class TextFiller : public RowFiller {
 public:
  TextFiller(std::shared_ptr<const Tokenizer> tokenizer, const TextParts& parts)
      : tokenizer_(std::move(tokenizer)), parts_(parts) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    Pending& row = add_pending(rows);
    row.caption = sample.caption_text();
    row.has_caption = sample.caption.has_value();
    row.seed = sample.seed;
    row.position = sample.position;
    row.is_prompt = parts_.options.with_answer && !sample.has_targets;
    row.has_answer = false;
    if (!parts_.options.with_answer || row.is_prompt) return;
    const std::vector<std::string_view> answers = sample.answers();
    row.has_answer = !answers.empty();
    if (row.has_answer) row.answer = answers.front();
  }

  void clear(FieldRows rows) override {
    Pending& row = add_pending(rows);
    row.caption.clear();
    row.has_caption = row.has_answer = row.is_prompt = false;
  }

  // Together, so that the tokenizer's tables are loaded into the cache once for all these rows.
  void finish() override {
    for (const Pending& row : std::span(pending_).first(num_pending_)) {
      int32_t& length = values_of<int32_t>(row.rows[kLengths])[0];
      const int64_t first_target = encode(row, values_of<int32_t>(row.rows[kTokens]), length);
      parts_.fill(row.seed, row.position, row.has_caption, first_target, row.rows);
    }
    num_pending_ = 0;
  }

 private:
  struct Pending {
    std::string caption, answer;
    bool has_caption = false, has_answer = false;
    bool is_prompt = false;  // the caption alone, to be gone on with
    uint64_t seed = 0, position = 0;
    std::vector<std::span<std::byte>> rows;
  };

  // Gives the first position whose next token is learned.
  int64_t encode(const Pending& row, std::span<int32_t> ids, int32_t& length) {
    if (!row.has_answer) {
      length = tokenizer_->encode(row.caption, ids);
      if (row.is_prompt) {  // no end: it goes on
        length -= static_cast<int32_t>(tokenizer_->after().size());
        std::fill(ids.begin() + length, ids.end(), tokenizer_->special().pad);
      }
      return parts_.options.with_answer ? length : 0;
    }
    // Apart, so that a question's tokens are those that it has as a prompt. What stands around the answer is left out
    // of what the question leaves free, since it has the same around it.
    const std::size_t before = tokenizer_->before().size(), after = tokenizer_->after().size();
    answer_.resize(ids.size());
    const auto num_answer = static_cast<std::size_t>(tokenizer_->encode(row.answer, answer_)) - before - after;
    const auto num_question =
        static_cast<std::size_t>(tokenizer_->encode(row.caption, ids.first(ids.size() - num_answer)));
    const std::span<const int32_t> rest = std::span(answer_).subspan(before, num_answer + after);
    const auto end = std::ranges::copy(rest, ids.begin() + static_cast<std::ptrdiff_t>(num_question - after)).out;
    std::fill(end, ids.end(), tokenizer_->special().pad);
    length = static_cast<int32_t>(num_question + num_answer);
    return std::max<int64_t>(0, static_cast<int64_t>(num_question - after) - 1);
  }

  // Rows that are filled again are there twice; the later one is written last.
  Pending& add_pending(FieldRows rows) {
    if (num_pending_++ == pending_.size()) pending_.emplace_back();
    Pending& row = pending_[num_pending_ - 1];
    row.rows.assign(rows.begin(), rows.end());
    return row;
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  TextParts parts_;
  std::vector<int32_t> answer_;   // its tokens
  std::vector<Pending> pending_;  // the first num_pending_; the others keep their memory
  std::size_t num_pending_ = 0;
};

void synthesize_text(const TextParts& parts, uint64_t num_tokens, uint64_t seed, int64_t global_row, FieldRows rows) {
  const auto row = static_cast<uint64_t>(global_row);
  const std::span<int32_t> tokens = values_of<int32_t>(rows[kTokens]);
  const auto longest = static_cast<uint32_t>(tokens.size() - 1);
  const uint32_t length = 2 + philox_word(random_key(seed, "synthetic/lengths", 0), row) % longest;
  const RandomKey key = random_key(seed, "synthetic/tokens", 0);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const uint32_t word = philox_word(key, row * tokens.size() + t);
    tokens[t] = t < length ? static_cast<int32_t>(word % num_tokens) : 0;
  }
  values_of<int32_t>(rows[kLengths])[0] = static_cast<int32_t>(length);
  const uint32_t first_target = philox_word(random_key(seed, "synthetic/answers", 0), row) % (length - 1);
  parts.fill(seed, row, !synthetic_row_lacks(kSyntheticTextAbsent, seed, global_row),
             parts.options.with_answer ? first_target : 0, rows);
}

}  // namespace

FieldSource text_fields(std::shared_ptr<const Tokenizer> tokenizer, int64_t length, int64_t vocabulary,
                        const TextOptions& options) {
  const int64_t num_around = tokenizer == nullptr ? 2 : static_cast<int64_t>(tokenizer->num_around());
  if (length < std::max<int64_t>(num_around, 2) || length > 65536 || vocabulary < (options.masking ? 2 : 1)) {
    throw UserError("text", fmt::format("the text length must be {} to 65536 and the vocabulary positive, found {} and "
                                        "{}. Correct the configuration.",
                                        std::max<int64_t>(num_around, 2), length, vocabulary));
  }
  // Where the tokenizer has no mask token, the last row stands for it, which is no piece.
  const bool adds_mask = options.masking && (tokenizer == nullptr || !tokenizer->special().mask);
  const int64_t num_tokens = adds_mask ? vocabulary - 1 : vocabulary;
  if (tokenizer != nullptr) tokenizer->check_fits(num_tokens);
  if (num_around == 0) tokenizer->begin();        // which refuses: an empty text would have no token
  if (tokenizer != nullptr && options.targets) {  // who learns to write must be told of the beginning and of the end
    tokenizer->begin();
    tokenizer->end();
  }
  FieldSource source{.fields = {{.name = "tokens", .dtype = DType::kInt32, .dims = {length}},
                                {.name = "lengths", .dtype = DType::kInt32}},
                     .reads = SampleParts::kCaptions};
  if (options.targets) source.fields.push_back({.name = "targets", .dtype = DType::kInt32, .dims = {length}});
  TextParts parts{options,
                  {.num_pieces = static_cast<int32_t>(num_tokens),
                   .mask_token = static_cast<int32_t>(num_tokens),
                   .special = {kOwnPadId, kOwnUnknownId, kOwnBeginId, kOwnEndId}}};
  if (options.masking) {
    const int64_t count = std::max<int64_t>(1, masked_token_count(length - 2, options.masking->share));
    source.fields.push_back({.name = "masked_positions", .dtype = DType::kInt32, .dims = {count}});
    source.fields.push_back({.name = "masked_targets", .dtype = DType::kInt32, .dims = {count}});
  }
  source.synthesize = [parts, num_tokens](uint64_t seed, int64_t global_row, FieldRows rows) {
    synthesize_text(parts, static_cast<uint64_t>(num_tokens), seed, global_row, rows);
  };
  if (tokenizer != nullptr) {
    MaskVocabulary& pieces = parts.vocabulary;
    pieces.num_pieces = static_cast<int32_t>(tokenizer->size());
    pieces.mask_token = tokenizer->special().mask.value_or(pieces.mask_token);
    pieces.special = tokenizer->special().all;
    pieces.num_before = static_cast<int32_t>(tokenizer->before().size());
    pieces.num_after = static_cast<int32_t>(tokenizer->after().size());
  }
  source.make = [tokenizer, parts] {
    if (tokenizer == nullptr) throw UserError("text", "text needs a tokenizer, found none. Name one.");
    return std::make_unique<TextFiller>(tokenizer, parts);
  };
  return source;
}

}  // namespace triptych::data
