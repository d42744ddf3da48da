#include "tasks/caption_results.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "data/field_sources.h"
#include "evaluation/bleu.h"
#include "evaluation/caption_words.h"
#include "evaluation/chrf.h"
#include "evaluation/cider.h"
#include "execution/batch_feeder.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

/// A text that captions begin with, such as a language's name.
struct Prompt {
  std::string text;
  std::vector<int32_t> tokens;  // the begin token first
};

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

// A way to write: from a prompt, by a method.
struct Way {
  Prompt prompt;
  std::string method;
};

using Texts = std::vector<std::optional<std::string>>;  // by sample; none where the picture cannot be used

// Texts for all pictures of a set, by way.
std::vector<Texts> write_texts(Inference& inference, std::shared_ptr<const Dataset> dataset,
                               std::span<const FieldSource> sources, const Tokenizer& tokenizer,
                               const std::vector<Way>& ways, const CaptionOptions& options) {
  LoaderOptions loading;
  loading.fields = {sources.begin(), sources.end()};
  loading.fields.push_back(presence_fields());
  loading.global_batch = std::min(inference.options().batch, num_written(*dataset, options));
  std::vector<std::string> names;
  for (const FieldSpec& field : fields_of(sources)) names.push_back(field.name);
  std::vector<Texts> texts(ways.size());
  const auto write = [&](Batch& batch) {
    const std::span<const uint8_t> has_image = batch.values<uint8_t>("image_present");
    const Fields fields = to_device(inference.device(), batch, names);
    for (std::size_t w = 0; w < ways.size(); ++w) {
      DecodingOptions decoding = decoding_by(ways[w].method, options, tokenizer);
      decoding.first_item = static_cast<int64_t>(texts[w].size());
      std::size_t row = 0;
      for (const DecodedSequence& text : decode(inference, fields, ways[w].prompt.tokens, tokenizer.end(), decoding)) {
        texts[w].emplace_back();
        if (has_image[row++] != 0) texts[w].back() = tokenizer.decode(text.tokens);
      }
    }
  };
  inference.for_batches(dataset, std::move(loading), write, num_written(*dataset, options));
  for (Texts& of_way : texts) of_way.resize(static_cast<std::size_t>(num_written(*dataset, options)));  // no padding
  return texts;
}

// The one text that the model writes without a picture.
std::string write_blindly(Inference& inference, std::span<const FieldSource> sources, const Tokenizer& tokenizer,
                          const Way& way, const CaptionOptions& options) {
  Fields fields(1);
  for (const FieldSpec& field : fields_of(sources)) {
    std::vector<int64_t> dims{1};
    dims.insert(dims.end(), field.dims.begin(), field.dims.end());
    fields.set(field.name, Tensor::zeros(inference.device(), field.dtype, Shape(std::span<const int64_t>(dims))));
  }
  const DecodingOptions decoding = decoding_by(way.method, options, tokenizer);
  return tokenizer.decode(decode(inference, fields, way.prompt.tokens, tokenizer.end(), decoding).at(0).tokens);
}

std::ptrdiff_t num_words(const std::string& text) {
  std::istringstream words(text);
  return std::distance(std::istream_iterator<std::string>(words), {});
}

// Texts of the first of the shown pictures, as the words' maps show them, by sample. Collective.
std::map<int64_t, std::vector<ReportPicture>> word_maps(const SampleExplainer& explainer, const Dataset& dataset,
                                                        const Texts& texts, const std::string& prompt,
                                                        const std::vector<int64_t>& shown) {
  std::map<int64_t, std::vector<ReportPicture>> maps;
  for (const int64_t sample : shown) {
    const std::optional<std::string>& text = texts[static_cast<std::size_t>(sample)];
    if (static_cast<int64_t>(maps.size()) == explainer.num_maps()) break;
    if (!text || text->empty()) continue;
    const std::string whole = prompt.empty() ? *text : fmt::format("{} {}", prompt, *text);
    std::optional<Explanation> explanation = explainer.explain(dataset, sample, whole);
    if (explanation) {  // the prompt's words were not its choice
      std::vector<PatchMap>& words = explanation->words;
      words.erase(words.begin(), words.begin() + std::min<std::ptrdiff_t>(num_words(prompt), std::ssize(words)));
    }
    maps[sample] = explanation ? word_pictures(*explanation) : std::vector<ReportPicture>();
  }
  return maps;
}

// What is measured of a way's texts.
struct Scores {
  ChrfCounter chrf;
  BleuCounter bleu;
  CiderCounter cider;
  int64_t num_exact = 0;

  // Returns the text's chrF, and whether it is one of the references.
  std::pair<double, bool> add(const std::string& text, const std::vector<std::string>& references) {
    std::vector<std::string> plain;
    for (const std::string& reference : references) plain.push_back(plain_caption(reference));
    bleu.add(text, references);
    cider.add(plain_caption(text), plain);
    const bool exact = std::find(references.begin(), references.end(), text) != references.end();
    num_exact += exact ? 1 : 0;
    return {chrf.add(text, references), exact};
  }
  double exact_share() const {
    return static_cast<double>(num_exact) / static_cast<double>(std::max<int64_t>(1, chrf.num_segments()));
  }
  void tell(EvaluationResults& results, const std::string& of, const char* mode) const {
    const auto add = [&](const char* metric, double value) {
      results.metrics.emplace_back(fmt::format("{} {}{}", of, metric, mode), value);
    };
    add("chrF", chrf.corpus_score());
    add("BLEU", bleu.corpus_score().score);
    add("CIDEr-D", cider.corpus_score());
    add("exact", exact_share());
  }
  TablePanel::Row row(const std::string& source) const {
    return {source,
            {{.number = chrf.corpus_score(), .text = {}},
             {.number = bleu.corpus_score().score, .text = {}},
             {.number = cider.corpus_score(), .text = {}},
             share_value(exact_share())}};
  }
};

}  // namespace

void read_decoding(ConfigReader& reader, CaptionOptions& options) {
  reader
      .read("decoding.methods", options.methods,
            "How `triptych eval` has texts written, a text by each: greedy, the most probable token each time; beam "
            "search; nucleus, drawn from the most probable tokens (Holtzman et al. 2020).")
      .not_empty()
      .one_of({"greedy", "beam", "nucleus"});
  reader.read("decoding.beams", options.beams, "Texts that beam search keeps at a time; 1: greedy.")
      .at_least(1)
      .at_most(64);
  reader
      .read("decoding.alpha", options.alpha,
            "How far the score of a long text is raised (Wu et al. 2016); 0: not at all.")
      .at_least(0)
      .at_most(4);
  reader
      .read("decoding.top_p", options.nucleus.top_p,
            "With nucleus: it draws from the fewest tokens that have this probability together.")
      .positive()
      .at_most(1);
  reader
      .read("decoding.temperature", options.nucleus.temperature,
            "With nucleus: scores are divided by it first; below 1 the most probable tokens get more.")
      .at_least(0.01)
      .at_most(100);
  reader.read("decoding.seed", options.seed, "Seed of what is drawn.");
  reader
      .read(
          "evaluation.samples", options.samples,
          "Of each set, the first so many samples have texts written about them, which takes long; 0: all. What needs "
          "no text to be written is measured on all.")
      .at_least(0)
      .also_called({"max_eval_samples", "limit_val_batches"});
  reader
      .read("decoding.prompts", options.prompts,
            "Texts that `triptych eval` lets captions begin with, one caption each: those of a picture that begin so "
            "are the references.")
      .not_empty();
}

int64_t num_written(const Dataset& dataset, const CaptionOptions& options) {
  const auto count = static_cast<int64_t>(dataset.size());
  return options.samples > 0 ? std::min(options.samples, count) : count;
}

std::string written_note(const Dataset& dataset, const CaptionOptions& options, std::string note) {
  const int64_t count = num_written(dataset, options);
  if (count < static_cast<int64_t>(dataset.size())) note += fmt::format(" of the first {} samples", count);
  return note;
}

DecodingOptions decoding_by(const std::string& method, const CaptionOptions& options, const Tokenizer& tokenizer) {
  DecodingOptions decoding{.memory = options.memory,
                           .length = options.text_length,
                           .num_tokens = tokenizer.size(),
                           .never = tokenizer.special().all,
                           .num_beams = method == "beam" ? options.beams : 1,
                           .alpha = options.alpha,
                           .seed = options.seed};
  std::erase(decoding.never, tokenizer.end());
  if (method == "nucleus") decoding.nucleus = options.nucleus;
  return decoding;
}

std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, const std::string& text, int64_t length) {
  std::vector<int32_t> tokens(static_cast<std::size_t>(length));
  tokens.resize(static_cast<std::size_t>(tokenizer.encode(text, tokens)) - tokenizer.after().size());
  if (tokens.empty()) tokens.push_back(tokenizer.begin());  // which refuses: there is none
  if (static_cast<int64_t>(tokens.size()) + 1 >= length) {
    throw UserError("decoding.prompts",
                    fmt::format("`{}` leaves no room for a text of {} tokens. Shorten it", text, length));
  }
  return tokens;
}

std::string write_caption(Inference& inference, const Fields& fields, const Tokenizer& tokenizer,
                          const CaptionOptions& options) {
  const std::string& prompt = options.prompts.front();
  const std::vector<int32_t> tokens = prompt_tokens(tokenizer, prompt, options.text_length);
  const std::vector<DecodedSequence> written =
      decode(inference, fields, tokens, tokenizer.end(), decoding_by(options.methods.front(), options, tokenizer));
  const std::string text = tokenizer.decode(written.at(0).tokens);
  return prompt.empty() ? text : fmt::format("{} {}", prompt, text);
}

EvaluationResults caption_results(Inference& inference, const EvaluationInputs& inputs,
                                  std::span<const FieldSource> sources, const CaptionOptions& options,
                                  const SampleExplainer& explainer) {
  const Tokenizer& tokenizer = *inputs.tokenizer;
  std::vector<Way> ways;
  for (const std::string& text : options.prompts) {
    const Prompt prompt{text, prompt_tokens(tokenizer, text, options.text_length)};
    for (const std::string& method : options.methods) ways.push_back({prompt, method});
  }
  std::vector<std::string> blind_texts;
  for (const Way& way : ways) blind_texts.push_back(write_blindly(inference, sources, tokenizer, way, options));
  const bool has_methods = options.methods.size() > 1;
  EvaluationResults results;
  TablePanel table{.title = "Captions",
                   .caption =
                       "chrF (Popović 2015) and BLEU (Papineni et al. 2002), 0 to 100, and CIDEr-D (Vedantam et al. "
                       "2015), 0 to 10, of the texts that the model writes against the pictures' captions, both as the "
                       "tokenizer normalises them; and the share that is one of them. Text only: what it writes after "
                       "the prompt without a picture, and what that has more.",
                   .subject_head = "Set and prompt",
                   .columns = {"chrF", "BLEU", "CIDEr-D", "Exact"},
                   .subjects = {}};
  ExamplesPanel examples{.title = "Captions written",
                         .caption = "A map is bright where the model looked when it wrote the word below it.",
                         .examples = {}};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::vector<Texts> texts = write_texts(inference, dataset, sources, tokenizer, ways, options);
    const int64_t count = num_written(*dataset, options);
    const std::vector<int64_t> shown = example_numbers(count);
    std::map<int64_t, std::vector<ReportPicture>> maps =
        word_maps(explainer, *dataset, texts.front(), ways.front().prompt.text, shown);
    if (!inference.is_first()) continue;
    const std::string set = set_name(path);
    for (std::size_t w = 0; w < ways.size(); ++w) {
      const std::string& prompt = ways[w].prompt.text;
      const std::string name = set + (prompt.empty() ? "" : ", " + prompt);
      const std::string method = has_methods ? ", " + ways[w].method : "";
      Scores scores, blind;
      for (int64_t i = 0; i < count; ++i) {
        if (!texts[w][static_cast<std::size_t>(i)]) continue;
        const std::vector<std::string> references = references_of(tokenizer, captions_of(*dataset, i), prompt);
        if (references.empty()) continue;
        const std::string& text = *texts[w][static_cast<std::size_t>(i)];
        const auto [score, exact] = scores.add(text, references);
        blind.add(blind_texts[w], references);
        if (std::find(shown.begin(), shown.end(), i) == shown.end()) continue;
        examples.examples.push_back({.group = name + method,
                                     .picture = picture_of(*dataset, i, references.front()),
                                     .asked = {},
                                     .truth = references.front(),
                                     .produced = text,
                                     .score = score / 100,
                                     .correct = exact,
                                     .maps = w == 0 ? maps[i] : std::vector<ReportPicture>()});
      }
      scores.tell(results, name + method, "");
      blind.tell(results, name + method, ", text only");
      // The methods of a prompt are rows of one subject.
      if (w % options.methods.size() == 0) {
        table.subjects.push_back(
            {.name = name,
             .notes =
                 with_lacking({written_note(*dataset, options, fmt::format("{} pictures", scores.chrf.num_segments()))},
                              *dataset, kPairs),
             .rows = {}});
      }
      std::vector<TablePanel::Row>& rows = table.subjects.back().rows;
      rows.push_back(scores.row("model" + method));
      TablePanel::Row without = blind.row("model" + method + ", text only");
      tell_changes(without, rows.back());
      rows.push_back(std::move(without));
      if (w % options.methods.size() + 1 < options.methods.size()) continue;
      std::vector<std::string> metrics;
      for (const char* metric : {"chrF", "BLEU", "CIDEr-D"}) {
        metrics.push_back(prompt.empty() ? metric : prompt + " " + metric);
      }
      for (TablePanel::Row& other : baseline_rows(inputs, path, metrics, false)) rows.push_back(std::move(other));
    }
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace triptych::tasks
