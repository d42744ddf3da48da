#include "models/two_tower.h"

#include "kernels/attention.h"
#include "models/image_tower.h"
#include "models/text_tower.h"

namespace triptych {
namespace {

void check_tower(std::vector<ConfigProblem>& problems, const std::string& section, int64_t width, int64_t heads,
                 int64_t feed_forward, int tp) {
  if (width % heads != 0) {
    problems.push_back({section + ".heads",
                        fmt::format("must divide {}.width: {} heads, width {}", section, heads, width),
                        "Choose a width that is a multiple of the heads"});
  } else if (width / heads > max_attention_head_dim()) {
    problems.push_back({section + ".heads",
                        fmt::format("a head has at most {} columns, found {} / {} = {}", max_attention_head_dim(),
                                    width, heads, width / heads),
                        "Use more heads"});
  }
  if (heads % tp != 0) {
    problems.push_back({section + ".heads",
                        fmt::format("must be a multiple of parallel.tp: {} heads, tp = {}", heads, tp),
                        "Change the heads or parallel.tp"});
  }
  if (feed_forward % tp != 0) {
    problems.push_back({section + ".feed_forward",
                        fmt::format("must be a multiple of parallel.tp: {}, tp = {}", feed_forward, tp),
                        "Change feed_forward or parallel.tp"});
  }
}

}  // namespace

std::vector<ConfigProblem> check_two_tower(const TwoTowerConfig& config, int tp) {
  std::vector<ConfigProblem> problems;
  const ImageTowerConfig& image = config.image;
  const TextTowerConfig& text = config.text;
  if (image.size % image.patch != 0) {
    problems.push_back({"model.image.patch",
                        fmt::format("must divide model.image.size: patch {}, size {}", image.patch, image.size),
                        "Change one of them"});
  }
  check_tower(problems, "model.image", image.width, image.heads, image.feed_forward, tp);
  check_tower(problems, "model.text", text.width, text.heads, text.feed_forward, tp);
  if (text.vocabulary % tp != 0) {
    problems.push_back({"model.text.vocabulary",
                        fmt::format("must be a multiple of parallel.tp: {} tokens, tp = {}", text.vocabulary, tp),
                        "Round the vocabulary up: unused rows cost little"});
  }
  return problems;
}

ModelSpec two_tower(const TwoTowerConfig& config, bool sequence_parallel) {
  ModelSpec model;
  append_image_tower(model.blocks, config, sequence_parallel);
  append_text_tower(model.blocks, config, sequence_parallel);
  model.outputs = {"image_embedding", "text_embedding"};
  const ImageTowerConfig& i = config.image;
  const TextTowerConfig& t = config.text;
  model.fingerprint = fmt::format(
      "two_tower embedding={} image(size={} patch={} width={} layers={} heads={} feed_forward={} pooling={}) "
      "text(length={} vocabulary={} width={} layers={} heads={} feed_forward={} attention={})",
      config.embedding, i.size, i.patch, i.width, i.layers, i.heads, i.feed_forward,
      i.pooling == ImageTowerConfig::Pooling::kMean ? "mean" : "class", t.length, t.vocabulary, t.width, t.layers,
      t.heads, t.feed_forward, t.causal ? "causal" : "bidirectional");
  return model;
}

}  // namespace triptych
