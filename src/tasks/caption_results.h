#pragma once

#include <string>
#include <vector>

#include "tasks/task.h"

namespace triptych::tasks {

/// How an evaluation lets a captioner write.
struct CaptionOptions {
  int beams = 1;
  double alpha = 0.6;
  std::vector<std::string> prompts{""};  ///< each gives a text of each picture
  int64_t text_length = 0;
};

/// decoding: beams, alpha, prompts.
void read_decoding(ConfigReader& reader, CaptionOptions& options);

/// The text that a captioner writes for the one picture of `fields` after the first of the prompts, with the prompt.
/// Collective.
std::string write_caption(Inference& inference, const Fields& fields, const Tokenizer& tokenizer,
                          const CaptionOptions& options);

/// Writes a text for every picture of the sets, from each prompt, and compares it with those of the picture's captions
/// that begin with the prompt (chrF). Collective.
///   sources   of the fields that the model reads of a picture
EvaluationResults caption_results(Inference& inference, const EvaluationInputs& inputs,
                                  std::span<const FieldSource> sources, const CaptionOptions& options);

}  // namespace triptych::tasks
