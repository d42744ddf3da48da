#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/transforms.h"
#include "evaluation/attention_maps.h"
#include "models/connector.h"
#include "models/fusion.h"
#include "models/image_encoder.h"
#include "tasks/task.h"

namespace triptych::tasks {

/// A number for each patch of an image, row by row.
struct PatchMap {
  std::string name;
  std::vector<double> values;
};

/// What a model looked at in a picture. Maps have side * side patches.
struct Explanation {
  int64_t side = 0;             ///< patches a side
  int64_t size = 0;             ///< pixels a side of what the model saw
  std::vector<uint8_t> pixels;  ///< that, RGB [size, size, 3]

  std::string subject;                                 ///< what is explained: "the class disc"; empty: nothing
  std::string text;                                    ///< that was given or written; may be empty
  std::vector<std::pair<std::string, double>> scores;  ///< classes' probabilities, or a similarity

  struct Layer {
    std::string name;             ///< of its attention: "image.blocks.0.attention"
    std::vector<PatchMap> heads;  ///< "head 0", ...
  };
  std::vector<Layer> layers;                          ///< of the image's encoder, then the pool, if there is one
  std::vector<PatchMap> maps;                         ///< "rollout", and "relevance" where something is explained
  std::vector<PatchMap> words;                        ///< of a text that a decoder reads: where it looks for each word
  std::vector<std::pair<std::string, double>> gates;  ///< learned gates, by parameter
};

/// The attention that pools an image encoder's tokens: "image.pool", or "" where none does.
std::string pool_attention(const ImageEncoderConfig& config);

/// Where a model looks at an image, and what of it can be explained: how a task's model is seen by explain_image.
struct ExplainedModel {
  ImageEncoderConfig image;
  PictureOptions picture = {};  ///< how it sees a picture
  std::string pool = {};        ///< attention of the one query that stands for the image; "": as image.pooling says
  ConnectorConfig connector = {};
  std::string class_slot = {};              ///< scores of classes, float32 [C]; "": it has none
  std::string class_word = "class";         ///< what one is called
  std::optional<FusionConfig> fusion = {};  ///< of image and text, if the scores are of both
  bool has_embeddings = false;              ///< the slots "image_embedding" and "text_embedding"
  std::string decoder = {};                 ///< stack of blocks that attend to the image; "": it has none
  std::string decoder_pool = {};  ///< attention that makes the tokens which the decoder sees; "": the connector does
  bool is_prefix = false;         ///< these stand in front of the decoder's text, in one sequence
  bool answers = false;           ///< the text that is given is a question, and the decoder writes what follows
  int64_t text_length = 0;        ///< tokens of a text; 0: it reads none

  /// Tokens of the image, as the fusion or the decoder sees them behind the connector.
  int64_t image_tokens() const {
    return connector.kind == ConnectorKind::kResampler ? connector.queries : image.sequence();
  }
};

/// Writes a text for the one picture of `fields`, as `triptych eval` would. Collective.
using CaptionWriter = std::function<std::string(const Fields& fields)>;

/// One forward pass over a picture, with a text where the model reads one, whose attentions are seen, and where there
/// is something to explain one backward pass to them:
///
///   maps of heads   the weights of the query that stands for the image: the class token, the pool's query, or the mean
///                   over all tokens where their mean stands for it
///   rollout         from the patches to that query (attention_maps.h)
///   relevance       the same with gradients, of a class's score (the given class, else the best), or of the similarity
///                   with the text; of a class that a fusion has scored, through the fusion (explained_maps.h)
///   words           the decoder's weights where it wrote each word, the mean over its layers, heads and the word's
///                   pieces; of an answer, its words alone
///
///   write   makes the text where a decoder has none given, and the answer to one that is
/// Collective, on any mesh, with the same inputs on every rank; every rank gets all. No parameter is trained
/// afterwards. Throws UserError if the picture, the text or the class does not fit.
Explanation explain_image(Inference& inference, const ExplainInputs& inputs, const ExplainedModel& model,
                          const CaptionWriter& write = {});

/// Parameters of one number whose names end with "gate", by name.
std::vector<std::pair<std::string, double>> gate_values(const std::vector<Parameter*>& parameters);

}  // namespace triptych::tasks
