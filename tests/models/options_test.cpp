#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/field_sources.h"
#include "evaluation/inference.h"
#include "execution/batch_feeder.h"
#include "models/captioner.h"
#include "models/coca.h"
#include "models/two_tower.h"
#include "objectives/contrastive.h"
#include "objectives/cross_entropy.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

// What a config chooses of towers, in whole models: every mesh does what one rank does. That the parts are what they
// are called is tests/nn's.

constexpr int64_t kRows = 8;

TransformerSizes llama_like() {
  return {.width = 16,
          .layers = 3,
          .heads = 4,
          .feed_forward = 12,
          .activation = Activation::kSwiglu,
          .norm = {.kind = NormKind::kRms, .epsilon = 1e-6f},
          .kv_heads = 2,
          .positions = PositionKind::kRotary,
          .drop_path = 0.5f};
}

TransformerSizes bert_like() {
  return {.width = 12,
          .layers = 3,
          .heads = 2,
          .feed_forward = 10,
          .activation = Activation::kGeluTanh,
          .norm = {.epsilon = 1e-12f},
          .post_norm = true,
          .input_norm = true,
          .positions = PositionKind::kSinusoidal,
          .drop_path = 0.5f};
}

ImageEncoderConfig image_of(const TransformerSizes& sizes) {
  return {.size = 6, .patch = 2, .sizes = sizes, .dropout = 0.1f};
}

TextStackConfig text_of(const TransformerSizes& sizes) {
  return {.length = 7, .vocabulary = 18, .sizes = sizes, .dropout = 0.1f};
}

ModelSpec model_of(const std::string& name) {
  if (name == "two_tower") {
    ModelSpec model = two_tower({image_of(llama_like()), text_of(bert_like()), 5});
    std::vector<BlockSpec> modality;
    append_modality(modality, "image.modality", model.blocks[0].writes[0]);
    model.blocks.insert(model.blocks.begin() + 1, modality[0]);
    return model;
  }
  ImageEncoderConfig image = image_of(bert_like());
  if (name == "attention_pool") {
    image = image_of(llama_like());
    image.pooling = ImageEncoderConfig::Pooling::kAttention;
    return two_tower({image, text_of(bert_like()), 5});
  }
  if (name == "siglip") {
    image = image_of(llama_like());
    image.pooling = ImageEncoderConfig::Pooling::kAttention;
    image.sizes.biases = image.patch_bias = false;
    image.scale = {.mean = {0.5f, 0.4f, 0.3f}, .std = {0.5f, 0.6f, 0.7f}};
    TextStackConfig text = text_of(bert_like());
    text.causal = false;
    text.reads_padding = true;
    text.segments = 2;
    return two_tower({image, text, image.sizes.width, Projection::kNone, Projection::kBiasedProduct});
  }
  if (name == "captioner") return captioner({image, text_of(llama_like())});
  image.pooling = ImageEncoderConfig::Pooling::kMean;
  return coca({image, text_of(llama_like()), 2, 3, 5});
}

std::vector<ObjectiveSpec> objectives_of(const std::string& name) {
  const ObjectiveSpec caption = cross_entropy_objective({.name = "caption", .slot = "logits", .field = "targets"});
  const ObjectiveSpec pairs = contrastive_objective({.kind = ContrastiveConfig::Kind::kInfoNce});
  if (name == "two_tower" || name == "attention_pool" || name == "siglip") return {pairs};
  if (name == "captioner") return {caption};
  return {pairs, caption};
}

struct Case {
  MeshShape mesh;
  int microbatches = 1;
  bool sequence_parallel = false;
  Recompute recompute = Recompute::kNone;
};

const std::vector<Case> kCases{{{.tp = 2}, 2, true, Recompute::kSelective},
                               {{.dp = 2}, 2},
                               {{.pp = 2}, 2, false, Recompute::kFull},
                               {{.pp = 2, .dp = 2, .tp = 2}, 2, true},
                               {{.cp = 2, .tp = 2}, 2, true, Recompute::kSelective}};

class ModelOptions : public ::testing::TestWithParam<std::string> {};

TEST_P(ModelOptions, EveryGradientOnAMeshIsThatOfOneRank) {
  const ModelSpec model = model_of(GetParam());
  const std::vector<ObjectiveSpec> objectives = objectives_of(GetParam());
  const LossCoupling coupling = coupling_of(objectives);
  const std::vector<FieldSource> sources{pixels_field(6), text_fields(nullptr, 7, 18, {.targets = true})};
  for (const Case& c : kCases) {
    SCOPED_TRACE(fmt::format("pp {} dp {} cp {} tp {}", c.mesh.pp, c.mesh.dp, c.mesh.cp, c.mesh.tp));
    run_ranks(c.mesh.pp * c.mesh.dp * c.mesh.cp * c.mesh.tp, [&](Group& world) {
      const std::unique_ptr<Group> self = make_self_group("reference");
      RankModel reference(*self, {}, model, objectives, gpipe({1, 1, 1, coupling}), {.seed = 3});
      ExecutionOptions options{.seed = 3, .bucket_bytes = 300};
      options.recompute = c.recompute;
      RankModel rank(world, c.mesh, model, objectives, gpipe({c.mesh.pp, 1, c.microbatches, coupling}), options,
                     c.sequence_parallel);
      const auto fields_of = [&](RankModel& of) {
        const int64_t rows = kRows / of.mesh.size(Axis::kDp);
        const Batch batch = synthetic_batch(sources, 5, of.mesh.rank(Axis::kDp) * rows, rows);
        return to_device(of.device, batch, of.executor.fields());
      };
      const std::vector<Fields> whole{fields_of(reference)};
      const std::vector<Fields> mine = fields_of(rank).cut(c.microbatches);
      for (const int64_t step : {3, 4}) {
        const double expected = step_values_of(reference, reference.executor.run_step(whole, step))[0];
        const double loss = step_values_of(rank, rank.executor.run_step(mine, step))[0];
        EXPECT_NEAR(loss, expected, kBetweenMeshes * expected);
        expect_same_gradients(rank, reference, kBetweenMeshes);
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ModelOptions,
                         ::testing::Values("two_tower", "attention_pool", "siglip", "captioner", "coca"),
                         [](const auto& param) { return param.param; });

// A checkpoint made before there was a choice is one of the model that has not chosen.
TEST(Fingerprints, NameWhatIsNotAsByDefault) {
  EXPECT_EQ(TransformerSizes().to_string(), "width=256 layers=6 heads=4 feed_forward=1024");
  TransformerSizes sizes = llama_like();
  EXPECT_EQ(sizes.to_string(),
            "width=16 layers=3 heads=4 feed_forward=12 activation=swiglu norm=rms norm_epsilon=1e-06 kv_heads=2 "
            "positions=rotary");
  sizes.kv_heads = 4;
  EXPECT_EQ(sizes.to_string().find("kv_heads"), std::string::npos) << "as many as heads is the default";
  sizes = bert_like();
  EXPECT_EQ(sizes.to_string(),
            "width=12 layers=3 heads=2 feed_forward=10 activation=gelu_tanh norm_epsilon=1e-12 post_norm=true "
            "input_norm=true positions=sinusoidal");
  sizes = {};
  sizes.biases = false;
  EXPECT_EQ(sizes.to_string(), "width=256 layers=6 heads=4 feed_forward=1024 biases=false");
  EXPECT_EQ(ImageEncoderConfig().to_string(),
            "size=64 patch=8 width=256 layers=6 heads=4 feed_forward=1024 pooling=class");
  EXPECT_EQ(TextStackConfig().to_string(),
            "length=32 vocabulary=8192 width=256 layers=6 heads=4 feed_forward=1024 attention=causal");
  const std::string usual = two_tower({}).fingerprint;
  EXPECT_EQ(usual.find("projection"), std::string::npos);
  TwoTowerConfig chosen;
  chosen.image.patch_bias = false;
  chosen.image.scale.mean = {0.5f, 0.5f, 0.5f};
  chosen.text.reads_padding = true;
  chosen.text.segments = 2;
  chosen.image_projection = Projection::kNone;
  chosen.text_projection = Projection::kBiasedProduct;
  for (const char* part : {"patch_bias=false", "pixel_mean=0.5,0.5,0.5", "padding=read", "segments=2",
                           "image_projection=none", "text_projection=biased"}) {
    EXPECT_NE(two_tower(chosen).fingerprint.find(part), std::string::npos) << part;
  }
}

// SigLIP's text is all of its tokens, so its pads count; else what stands behind the end token does not.
TEST(Padding, IsReadWhereItIsAPartOfTheText) {
  for (const bool reads : {false, true}) {
    TextStackConfig text = text_of(bert_like());
    text.causal = false;
    text.reads_padding = reads;
    const ModelSpec model = two_tower({image_of(bert_like()), text, 5});
    const std::unique_ptr<Group> self = make_self_group("test");
    RankModel rank(*self, {}, model, {contrastive_objective({})}, gpipe({1, 1, 1, LossCoupling::kCoupled}),
                   {.seed = 3});
    Inference inference(rank.device, rank.mesh, rank.executor, {});
    const auto embedding_of = [&](const std::vector<int32_t>& tokens) {
      Fields fields(1);
      const std::vector<int32_t> length{4};
      fields.set("tokens", Tensor::from<int32_t>(rank.device, Shape{1, 7}, std::span<const int32_t>(tokens)));
      fields.set("lengths", Tensor::from<int32_t>(rank.device, Shape{1}, std::span<const int32_t>(length)));
      return inference.infer(fields, "text_embedding");
    };
    const bool differs = embedding_of({2, 9, 8, 3, 0, 0, 0}) != embedding_of({2, 9, 8, 3, 0, 5, 0});
    EXPECT_EQ(differs, reads);
  }
}

// The names and shapes of a checkpoint's tensors that a default model has, and those that choices add or leave out.
TEST(ParameterNames, FollowTheChoices) {
  const auto names_of = [](const ModelSpec& model, const std::string& prefix) {
    const std::unique_ptr<Group> self = make_self_group("test");
    RankModel rank(*self, {}, model, {contrastive_objective({})}, gpipe({1, 1, 1, LossCoupling::kCoupled}),
                   {.seed = 3});
    std::string names;
    for (const Parameter* p : rank.store.named(prefix)) {
      names += fmt::format("{} {}\n", p->name.substr(prefix.size()), p->global_shape.to_string());
    }
    return names;
  };
  TransformerSizes sizes{.width = 16, .layers = 1, .heads = 4, .feed_forward = 12};
  const auto of_text = [&](const TransformerSizes& of, const std::string& prefix) {
    return names_of(two_tower({image_of(sizes), text_of(of), 5}), prefix);
  };
  const std::string norm = "norm.weight [16]\n", bias = "norm.bias [16]\n";
  EXPECT_EQ(of_text(sizes, "text.blocks.0.attention."),
            norm + bias + "qkv.weight [3, 16, 16]\nqkv.bias [3, 16]\nout.weight [16, 16]\nout.bias [16]\n");
  EXPECT_EQ(of_text(sizes, "text.blocks.0.feed_forward."),
            norm + bias + "in.weight [12, 16]\nin.bias [12]\nout.weight [16, 12]\nout.bias [16]\n");
  EXPECT_EQ(of_text(sizes, "text.embed."), "tokens.weight [18, 16]\npositions [7, 16]\n");
  TransformerSizes chosen = llama_like();
  chosen.layers = 1;
  EXPECT_EQ(of_text(chosen, "text.blocks.0.attention."),
            norm +
                "q.weight [16, 16]\nq.bias [16]\nkv.weight [2, 8, 16]\nkv.bias [2, 8]\nout.weight [16, 16]\n"
                "out.bias [16]\n");
  EXPECT_EQ(of_text(chosen, "text.blocks.0.feed_forward."),
            norm + "in.weight [2, 12, 16]\nin.bias [2, 12]\nout.weight [16, 12]\nout.bias [16]\n");
  EXPECT_EQ(of_text(chosen, "text.embed."), "tokens.weight [18, 16]\n");
  EXPECT_EQ(of_text(chosen, "text.head."), norm + "projection.weight [5, 16]\n");
  chosen = sizes;
  chosen.post_norm = chosen.input_norm = true;
  EXPECT_EQ(of_text(chosen, "text.embed."), "tokens.weight [18, 16]\npositions [7, 16]\n" + norm + bias);
  EXPECT_EQ(of_text(chosen, "text.head."), "projection.weight [5, 16]\n") << "post-norm blocks need no last norm";
  chosen = sizes;
  chosen.biases = false;
  EXPECT_EQ(of_text(chosen, "text.blocks.0.attention."), norm + bias + "qkv.weight [3, 16, 16]\nout.weight [16, 16]\n");
  EXPECT_EQ(of_text(chosen, "text.blocks.0.feed_forward."), norm + bias + "in.weight [12, 16]\nout.weight [16, 12]\n");
  TwoTowerConfig siglip{image_of(sizes), text_of(sizes), 16, Projection::kNone, Projection::kBiasedProduct};
  siglip.image.patch_bias = false;
  siglip.text.segments = 2;
  EXPECT_EQ(names_of(two_tower(siglip), "image.embed."),
            "patch.weight [16, 12]\nclass_token [16]\npositions [10, 16]\n");
  EXPECT_EQ(names_of(two_tower(siglip), "image.head."), norm + bias);
  EXPECT_EQ(names_of(two_tower(siglip), "text.head."),
            norm + bias + "projection.weight [16, 16]\nprojection.bias [16]\n");
  EXPECT_EQ(names_of(two_tower(siglip), "text.embed."),
            "tokens.weight [18, 16]\npositions [7, 16]\nsegments [2, 16]\n");
}

}  // namespace
}  // namespace triptych::test
