#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evaluation/decoding.h"
#include "tasks/sample_explainer.h"

namespace triptych::tasks {

/// How an evaluation lets a model write.
struct CaptionOptions {
  std::vector<std::string> methods{"beam"};  ///< "greedy", "beam", "nucleus"; each gives a text
  int beams = 1;
  double alpha = 0.6;
  NucleusOptions nucleus;
  uint64_t seed = 1;                     ///< of what is drawn
  int64_t samples = 0;                   ///< of each set, the first ones, about which texts are written; 0: all
  std::vector<std::string> prompts{""};  ///< each gives a text of each picture
  int64_t text_length = 0;
  std::string memory = "memory";  ///< see DecodingOptions
};

/// decoding: methods, beams, alpha, top_p, temperature, seed, prompts; evaluation.samples.
void read_decoding(ConfigReader& reader, CaptionOptions& options);

/// The text that a captioner writes for the one picture of `fields` after the first of the prompts, with the prompt, by
/// the first of the methods. Collective.
std::string write_caption(Inference& inference, const Fields& fields, const Tokenizer& tokenizer,
                          const CaptionOptions& options);

/// How many samples of a set texts are written about.
int64_t num_written(const Dataset& dataset, const CaptionOptions& options);

/// A note of a set's results, and where texts are written about its first samples alone, that.
std::string written_note(const Dataset& dataset, const CaptionOptions& options, std::string note);

/// How texts are decoded by one of the methods.
DecodingOptions decoding_by(const std::string& method, const CaptionOptions& options, const Tokenizer& tokenizer);

/// The tokens that texts begin with, the begin token first. Throws UserError if they leave no room in `length`.
std::vector<int32_t> prompt_tokens(const Tokenizer& tokenizer, const std::string& text, int64_t length);

/// Writes a text for every picture of the sets, from each prompt and by each method, and compares it with those of the
/// picture's captions that begin with the prompt: chrF, BLEU, CIDEr-D; also what it writes without a picture, the same
/// for all ("text only"). Of some by the first method the words have maps. Collective.
///   sources    of the fields that the model reads of a picture
///   explainer  of a picture and a text that was written about it
EvaluationResults caption_results(Inference& inference, const EvaluationInputs& inputs,
                                  std::span<const FieldSource> sources, const CaptionOptions& options,
                                  const SampleExplainer& explainer);

}  // namespace triptych::tasks
