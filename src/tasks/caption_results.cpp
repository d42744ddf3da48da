#include "tasks/caption_results.h"

#include <algorithm>
#include <optional>

#include "data/field_sources.h"
#include "evaluation/chrf.h"
#include "evaluation/decoding.h"
#include "execution/batch_feeder.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

/// A text that captions begin with, such as a language's name.
struct Prompt {
  std::string text;
  std::vector<int32_t> tokens;  // the begin token first
};

std::vector<int32_t> tokens_of(const Tokenizer& tokenizer, std::string_view text, int64_t length) {
  std::vector<int32_t> ids(static_cast<std::size_t>(length));
  ids.resize(static_cast<std::size_t>(tokenizer.encode(text, ids)));
  return ids;
}

Prompt make_prompt(const Tokenizer& tokenizer, const std::string& text, int64_t length) {
  std::vector<int32_t> tokens = tokens_of(tokenizer, text, length);
  tokens.pop_back();  // the end token
  if (static_cast<int64_t>(tokens.size()) + 1 >= length) {
    throw UserError("decoding.prompts",
                    fmt::format("`{}` leaves no room for a text of {} tokens. Shorten it", text, length));
  }
  return {text, std::move(tokens)};
}

// What follows the prompt in those captions that begin with it.
std::vector<std::string> references_of(const Tokenizer& tokenizer, const std::vector<std::string>& captions,
                                       const std::string& prompt) {
  std::vector<std::string> references;
  for (const std::string& caption : captions) {
    if (!caption.starts_with(prompt)) continue;
    const std::string_view rest = std::string_view(caption).substr(prompt.size());
    references.push_back(tokenizer.normalized(rest.substr(std::min(rest.find_first_not_of(' '), rest.size()))));
  }
  return references;
}

DecodingOptions decoding_options(const Tokenizer& tokenizer, const CaptionOptions& options) {
  return {.length = options.text_length,
          .num_tokens = tokenizer.size(),
          .never = {kPadId, kUnknownId, kBeginId},
          .num_beams = options.beams,
          .alpha = options.alpha};
}

// Texts for all pictures of a set, by prompt and sample; none where the picture cannot be used.
std::vector<std::vector<std::optional<std::string>>> write_texts(
    Inference& inference, std::shared_ptr<const Dataset> dataset, std::span<const FieldSource> sources,
    const Tokenizer& tokenizer, const std::vector<Prompt>& prompts, const CaptionOptions& options) {
  const DecodingOptions decoding = decoding_options(tokenizer, options);
  LoaderOptions loading;
  loading.fields = {sources.begin(), sources.end()};
  loading.fields.push_back(presence_fields());
  loading.global_batch = std::min(inference.options().batch, static_cast<int64_t>(dataset->size()));
  std::vector<std::string> names;
  for (const FieldSpec& field : fields_of(sources)) names.push_back(field.name);
  std::vector<std::vector<std::optional<std::string>>> texts(prompts.size());
  inference.for_batches(dataset, std::move(loading), [&](Batch& batch) {
    const std::span<const uint8_t> has_image = batch.values<uint8_t>("image_present");
    const Fields fields = to_device(inference.device(), batch, names);
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      std::size_t row = 0;
      for (const DecodedSequence& sequence : decode(inference, fields, prompts[p].tokens, kEndId, decoding)) {
        texts[p].emplace_back();
        if (has_image[row++] != 0) texts[p].back() = tokenizer.decode(sequence.tokens);
      }
    }
  });
  for (std::vector<std::optional<std::string>>& of_prompt : texts)
    of_prompt.resize(dataset->size());  // without the padding
  return texts;
}

}  // namespace

void read_decoding(ConfigReader& reader, CaptionOptions& options) {
  reader.read("decoding.beams", options.beams, "Texts that beam search keeps in work; 1: greedy.")
      .at_least(1)
      .at_most(64);
  reader
      .read("decoding.alpha", options.alpha,
            "How far the score of a long text is raised (Wu et al. 2016); 0: not at all.")
      .at_least(0)
      .at_most(4);
  reader
      .read("decoding.prompts", options.prompts,
            "Texts that `triptych eval` lets captions begin with, one caption each: those of a picture that begin so "
            "are the references.")
      .not_empty();
}

std::string write_caption(Inference& inference, const Fields& fields, const Tokenizer& tokenizer,
                          const CaptionOptions& options) {
  const Prompt prompt = make_prompt(tokenizer, options.prompts.front(), options.text_length);
  const std::vector<DecodedSequence> written =
      decode(inference, fields, prompt.tokens, kEndId, decoding_options(tokenizer, options));
  const std::string text = tokenizer.decode(written.at(0).tokens);
  return prompt.text.empty() ? text : fmt::format("{} {}", prompt.text, text);
}

EvaluationResults caption_results(Inference& inference, const EvaluationInputs& inputs,
                                  std::span<const FieldSource> sources, const CaptionOptions& options) {
  const Tokenizer& tokenizer = *inputs.tokenizer;
  std::vector<Prompt> prompts;
  for (const std::string& text : options.prompts) {
    prompts.push_back(make_prompt(tokenizer, text, options.text_length));
  }
  EvaluationResults results;
  TablePanel table{.title = "Captions",
                   .caption =
                       "chrF (Popović 2015), 0 to 100, of the texts that the model writes against the pictures' "
                       "captions, both as the tokenizer normalises them; and the share that is one of them.",
                   .subject_head = "Set and prompt",
                   .columns = {"chrF", "Exact"},
                   .subjects = {}};
  ExamplesPanel examples{.title = "Captions written", .examples = {}};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::vector<std::vector<std::optional<std::string>>> texts =
        write_texts(inference, dataset, sources, tokenizer, prompts, options);
    if (!inference.is_first()) continue;
    const std::string set = set_name(path);
    const auto count = static_cast<int64_t>(dataset->size());
    const std::vector<int64_t> shown = example_numbers(count);
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      ChrfCounter chrf;
      int64_t num_exact = 0;
      for (int64_t i = 0; i < count; ++i) {
        if (!texts[p][static_cast<std::size_t>(i)]) continue;
        const std::vector<std::string> references = references_of(tokenizer, captions_of(*dataset, i), prompts[p].text);
        if (references.empty()) continue;
        const std::string& text = *texts[p][static_cast<std::size_t>(i)];
        const double score = chrf.add(text, references);
        const bool exact = std::find(references.begin(), references.end(), text) != references.end();
        num_exact += exact ? 1 : 0;
        if (std::find(shown.begin(), shown.end(), i) == shown.end()) continue;
        examples.examples.push_back({.group = set + (prompts[p].text.empty() ? "" : ", " + prompts[p].text),
                                     .picture = picture_of(*dataset, i, references.front()),
                                     .asked = {},
                                     .truth = references.front(),
                                     .produced = text,
                                     .score = score / 100,
                                     .correct = exact});
      }
      const std::string name = prompts[p].text.empty() ? set : fmt::format("{}, {}", set, prompts[p].text);
      const double share =
          static_cast<double>(num_exact) / static_cast<double>(std::max<int64_t>(1, chrf.num_segments()));
      std::vector<TablePanel::Row> rows{{"model", {{.number = chrf.corpus_score(), .text = {}}, share_value(share)}}};
      const std::string metric = prompts[p].text.empty() ? "chrF" : prompts[p].text + " chrF";
      for (TablePanel::Row& other : baseline_rows(inputs, path, {metric}, false)) rows.push_back(std::move(other));
      table.subjects.push_back(
          {.name = name,
           .notes = with_lacking({fmt::format("{} pictures", chrf.num_segments())}, *dataset, kPairs),
           .rows = std::move(rows)});
      results.metrics.emplace_back(name + " chrF", chrf.corpus_score());
      results.metrics.emplace_back(name + " exact", share);
    }
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace triptych::tasks
