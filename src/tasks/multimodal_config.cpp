#include "tasks/multimodal_config.h"

#include <string>
#include <vector>

#include "tasks/model_config.h"

namespace triptych::tasks {
namespace {

void read_fusion(ConfigReader& reader, FusionConfig& config, const MeshShape& mesh) {
  std::vector<std::string> kinds;
  for (const FusionKind kind : kFusionKinds) kinds.emplace_back(fusion_name(kind));
  std::string kind(fusion_name(config.kind)), attention = "both_ways";
  reader
      .read(
          "model.fusion.kind", kind,
          "concatenation: image and text in one sequence; gated: learned gates mix them feature by feature (GMU), and "
          "of the keys below the width alone counts; cross_attention: each attends to the other (ViLBERT, LXMERT).")
      .one_of(kinds);
  for (const FusionKind one : kFusionKinds) {
    if (kind == fusion_name(one)) config.kind = one;
  }
  reader
      .read("model.fusion.attention", attention,
            "With cross_attention: both_ways, or text_to_image alone, the image staying as it is (ALBEF).")
      .one_of({"both_ways", "text_to_image"});
  config.both_ways = attention == "both_ways";
  config.sizes.layers = 2;
  config.sizes.positions = PositionKind::kNone;
  read_sizes(reader, "model.fusion", config.sizes, false, mesh);
  if (config.sizes.positions == PositionKind::kLearned || config.sizes.positions == PositionKind::kSinusoidal) {
    reader.problem("model.fusion.positions",
                   fmt::format("must be none or rotary, since the encoders have added theirs: {}",
                               position_name(config.sizes.positions)),
                   "Leave it out");
  }
}

}  // namespace

void read_multimodal(ConfigReader& reader, MultimodalConfig& config, const MeshShape& mesh) {
  config.text.causal = false;
  read_dropout(reader, config.image.dropout);
  config.text.dropout = config.fusion.dropout = config.image.dropout;
  read_image_encoder(reader, config.image, false, mesh);
  read_text_stack(reader, "model.text", config.text, false, mesh);
  read_connector(reader, config.connector);
  read_fusion(reader, config.fusion, mesh);
}

}  // namespace triptych::tasks
