#include "models/fusion.h"

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model_alone.h"
#include "models/connector.h"

namespace triptych::test {
namespace {

constexpr int64_t kBatch = 3, kPatches = 3, kTokens = 4, kImageWidth = 6, kTextWidth = 5, kWidth = 4;
constexpr std::size_t kHeads = 2;
// The second sample has no image, the third no text.
const std::vector<uint8_t> kImagePresent{1, 0, 1}, kTextPresent{1, 1, 0};
const std::vector<int32_t> kLengths{3, 4, 2};

using Sequence = std::vector<Rows>;  // tokens

// ---- The definitions, in double precision

struct Reference {
  Alone& alone;

  Rows of(const std::string& name) const { return alone.parameter(name); }
  Rows linear(const std::string& name, const Rows& x) const {
    return product(of(name + ".weight"), of(name + ".bias"), x);
  }
  Rows norm(const std::string& name, const Rows& x) const {
    return normalized(x, of(name + ".weight"), of(name + ".bias"));
  }
  Sequence each(const Sequence& xs, const auto& f) const {
    Sequence ys;
    for (const Rows& x : xs) ys.push_back(f(x));
    return ys;
  }

  // Part `which` of a packed projection to kWidth.
  Rows part(const std::string& name, const Rows& x, std::size_t which) const {
    const Rows weight = of(name + ".weight"), bias = of(name + ".bias");
    return product(row_of(weight, which, kWidth * x.size()), row_of(bias, which, kWidth), x);
  }

  // softmax(q k^T / sqrt(D)) v, head by head, over the first `length` keys.
  static Rows attend(const Rows& q, const Sequence& k, const Sequence& v, std::size_t length) {
    const std::size_t dim = kWidth / kHeads;
    Rows o(kWidth, 0);
    for (std::size_t h = 0; h < kHeads; ++h) {
      Rows p;
      double sum = 0;
      for (std::size_t j = 0; j < length; ++j) {
        double dot = 0;
        for (std::size_t d = h * dim; d < (h + 1) * dim; ++d) dot += q[d] * k[j][d];
        p.push_back(std::exp(dot / std::sqrt(static_cast<double>(dim))));
        sum += p.back();
      }
      for (std::size_t j = 0; j < length; ++j) {
        for (std::size_t d = h * dim; d < (h + 1) * dim; ++d) o[d] += p[j] / sum * v[j][d];
      }
    }
    return o;
  }

  // A pre-norm Transformer block; `memory` is what it attends to across.
  Sequence block(const std::string& name, Sequence xs, std::size_t length, const std::optional<Sequence>& memory = {},
                 std::size_t memory_length = 0) const {
    const auto add = [&](const Sequence& branch) {
      for (std::size_t s = 0; s < xs.size(); ++s) {
        for (std::size_t i = 0; i < kWidth; ++i) xs[s][i] += branch[s][i];
      }
    };
    const std::string self = name + ".attention", across = name + ".cross_attention", inner = name + ".feed_forward";
    const Sequence n = each(xs, [&](const Rows& x) { return norm(self + ".norm", x); });
    const auto packed = [&](const std::string& of_what, const Sequence& from, std::size_t which) {
      return each(from, [&](const Rows& x) { return part(of_what, x, which); });
    };
    const Sequence q = packed(self + ".qkv", n, 0), k = packed(self + ".qkv", n, 1), v = packed(self + ".qkv", n, 2);
    add(each(q, [&](const Rows& x) { return linear(self + ".out", attend(x, k, v, length)); }));
    if (memory) {
      const Sequence mk = packed(across + ".kv", *memory, 0), mv = packed(across + ".kv", *memory, 1);
      add(each(xs, [&](const Rows& x) {
        const Rows query = linear(across + ".q", norm(across + ".norm", x));
        return linear(across + ".out", attend(query, mk, mv, memory_length));
      }));
    }
    add(each(xs, [&](const Rows& x) {
      return linear(inner + ".out", gelu(linear(inner + ".in", norm(inner + ".norm", x))));
    }));
    return xs;
  }

  // A sample's tokens as they enter: projected, or the learned vector in the place of each.
  Sequence entered(const std::string& modality, const Rows& given, std::size_t sample, std::size_t tokens,
                   std::size_t width, bool present) const {
    const std::string name = "fusion." + modality;
    Sequence xs;
    for (std::size_t t = 0; t < tokens; ++t) {
      xs.push_back(present ? linear(name + ".projection", row_of(given, sample * tokens + t, width))
                           : of(name + ".absent"));
    }
    return xs;
  }
};

Rows with_tanh(Rows x) {
  for (double& value : x) value = std::tanh(value);
  return x;
}

Rows mean_of(const Sequence& xs) {
  Rows mean(kWidth, 0);
  for (const Rows& x : xs) {
    for (std::size_t i = 0; i < kWidth; ++i) mean[i] += x[i] / static_cast<double>(xs.size());
  }
  return mean;
}

Rows joined(Rows a, const Rows& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Rows fused(const Reference& r, const FusionConfig& config, Sequence image, Sequence text, std::size_t length) {
  switch (config.kind) {
    case FusionKind::kConcatenation: {
      Sequence all;
      for (const auto& [name, tokens] : {std::pair("image", &image), std::pair("text", &text)}) {
        const Rows modality = r.of(std::string("fusion.") + name + "_modality.segments");
        for (Rows x : *tokens) {
          for (std::size_t i = 0; i < kWidth; ++i) x[i] += modality[i];
          all.push_back(x);
        }
      }
      for (int i = 0; i < config.sizes.layers; ++i) {
        all = r.block(fmt::format("fusion.blocks.{}", i), all, kPatches + length);
      }
      return with_tanh(r.linear("fusion.pool", r.norm("fusion.pool.norm", all[kPatches])));
    }
    case FusionKind::kGated: {
      const Rows i = mean_of(image), t = text[0];
      const Rows h_i = with_tanh(r.linear("fusion.gate.image", i)), h_t = with_tanh(r.linear("fusion.gate.text", t));
      Rows y = r.linear("fusion.gate", joined(i, t));
      for (std::size_t c = 0; c < kWidth; ++c) {
        const double gate = 1 / (1 + std::exp(-y[c]));
        y[c] = gate * h_i[c] + (1 - gate) * h_t[c];
      }
      return y;
    }
    case FusionKind::kCrossAttention:
      break;
  }
  for (int i = 0; i < config.sizes.layers; ++i) {
    const auto seen = [&](const char* what, const Sequence& xs) {
      return r.each(xs, [&](const Rows& x) { return r.norm(fmt::format("fusion.{}_memory.{}", what, i), x); });
    };
    const std::string of_text = fmt::format("fusion.text.blocks.{}", i);
    if (!config.both_ways) {
      text = r.block(of_text, text, length, image, kPatches);
      continue;
    }
    text = r.block(of_text, text, length, seen("image", image), kPatches);
    image = r.block(fmt::format("fusion.image.blocks.{}", i), image, kPatches, seen("text", text), length);
  }
  Rows x = r.norm("fusion.pool.norm", text[0]);
  if (config.both_ways) {
    x = joined(x, mean_of(r.each(image, [&](const Rows& one) { return r.norm("fusion.pool.image_norm", one); })));
  }
  return with_tanh(r.linear("fusion.pool", x));
}

// ---- The model

// A block that gives a field as a slot.
BlockSpec given_block(const Slot& slot) {
  const auto forward = [field = slot.name](int, std::span<const Variable>, const Fields& fields, const Pass& pass) {
    return pass.rows(fields[field]);
  };
  return {.name = "given." + slot.name, .fields = {slot.name}, .writes = {slot}, .make = [=](ParameterStore&) {
            return make_block(0, forward);
          }};
}

const Slot kImage{.name = "image_features", .dims = {kPatches, kImageWidth}, .place = "batch"},
    kText{.name = "text_features", .dims = {kTokens, kTextWidth}, .place = "batch"};

Fields given_fields(Device& device, const std::vector<float>& image, const std::vector<float>& text) {
  Fields fields(kBatch);
  fields.set(kImage.name, Tensor::from<float>(device, Shape{kBatch, kPatches, kImageWidth}, image));
  fields.set(kText.name, Tensor::from<float>(device, Shape{kBatch, kTokens, kTextWidth}, text));
  fields.set("image_present", Tensor::from<uint8_t>(device, Shape{kBatch}, kImagePresent));
  fields.set("text_present", Tensor::from<uint8_t>(device, Shape{kBatch}, kTextPresent));
  fields.set("lengths", Tensor::from<int32_t>(device, Shape{kBatch}, kLengths));
  return fields;
}

std::vector<FusionConfig> all_fusions() {
  const TransformerSizes sizes{
      .width = kWidth, .layers = 2, .heads = kHeads, .feed_forward = 7, .positions = PositionKind::kNone};
  return {{.kind = FusionKind::kConcatenation, .sizes = sizes},
          {.kind = FusionKind::kGated, .sizes = sizes},
          {.kind = FusionKind::kCrossAttention, .sizes = sizes, .both_ways = true},
          {.kind = FusionKind::kCrossAttention, .sizes = sizes, .both_ways = false}};
}

TEST(Fusion, EqualsItsDefinitionInDouble) {
  for (const FusionConfig& config : all_fusions()) {
    SCOPED_TRACE(config.to_string());
    ModelSpec model{.blocks = {given_block(kImage), given_block(kText)}, .fingerprint = {}};
    append_fusion(model.blocks, kImage, kText, config);
    Alone alone(model, "fused");
    const std::vector<float> image = random_values("image", kBatch * kPatches * kImageWidth),
                             text = random_values("text", kBatch * kTokens * kTextWidth);
    const Rows of_image(image.begin(), image.end()), of_text(text.begin(), text.end());
    const Reference r{alone};
    Rows expected;
    for (std::size_t b = 0; b < kBatch; ++b) {
      const Rows row = fused(r, config, r.entered("image", of_image, b, kPatches, kImageWidth, kImagePresent[b] != 0),
                             r.entered("text", of_text, b, kTokens, kTextWidth, kTextPresent[b] != 0),
                             static_cast<std::size_t>(kLengths[b]));
      expected.insert(expected.end(), row.begin(), row.end());
    }
    const std::vector<float> found = alone.infer(given_fields(alone.rank.device, image, text), "fused");
    EXPECT_LT(relative_error(found, expected), tolerance(DType::kFloat32).summed);

    // What is absent, and padding, changes no bit.
    std::vector<float> other_image = image, other_text = text;
    for (std::size_t i = 0; i < kPatches * kImageWidth; ++i) other_image[kPatches * kImageWidth + i] += 3;
    for (std::size_t i = 0; i < kTokens * kTextWidth; ++i) other_text[2 * kTokens * kTextWidth + i] -= 2;
    for (std::size_t i = 0; i < kTextWidth; ++i) other_text[3 * kTextWidth + i] += 5;  // of the first, behind its end
    EXPECT_EQ(alone.infer(given_fields(alone.rank.device, other_image, other_text), "fused"), found);
  }
}

TEST(Fusion, GatesAreTheImagesShare) {
  FusionConfig config = all_fusions()[1];
  ModelSpec model{.blocks = {given_block(kImage), given_block(kText)}, .fingerprint = {}};
  append_fusion(model.blocks, kImage, kText, config);
  Alone alone(model, "fused");
  const Reference r{alone};
  const std::vector<float> image = random_values("image", kBatch * kPatches * kImageWidth),
                           text = random_values("text", kBatch * kTokens * kTextWidth);
  const Fields fields = given_fields(alone.rank.device, image, text);
  const std::vector<float> gate = alone.infer(fields, "gate"), fused = alone.infer(fields, "fused");
  const Rows of_image(image.begin(), image.end());
  const Rows h =
      with_tanh(r.linear("fusion.gate.image", mean_of(r.entered("image", of_image, 2, kPatches, kImageWidth, true))));
  const Rows absent = with_tanh(r.linear("fusion.gate.text", r.of("fusion.text.absent")));
  for (std::size_t i = 0; i < kWidth; ++i) {
    const double share = gate[2 * kWidth + i];
    EXPECT_GT(share, 0);
    EXPECT_LT(share, 1);
    EXPECT_NEAR(fused[2 * kWidth + i], share * h[i] + (1 - share) * absent[i], 1e-5) << "of the third sample";
  }
}

// ---- Connectors

TEST(Connector, EqualsItsDefinitionInDouble) {
  const TransformerSizes reader{.width = kWidth, .layers = 1, .heads = kHeads, .feed_forward = 7};
  for (const ConnectorKind kind : {ConnectorKind::kLinear, ConnectorKind::kMlp, ConnectorKind::kResampler}) {
    const ConnectorConfig config{.kind = kind, .queries = 2, .layers = 2};
    SCOPED_TRACE(config.to_string());
    ModelSpec model{.blocks = {given_block(kImage), given_block(kText)}, .fingerprint = {}};
    const Slot connected = append_connector(model.blocks, kImage, config, reader, 0);
    EXPECT_EQ(connected.dims, (std::vector<int64_t>{kind == ConnectorKind::kResampler ? 2 : kPatches, kWidth}));
    Alone alone(model, connected.name);
    const Reference r{alone};
    const std::vector<float> image = random_values("image", kBatch * kPatches * kImageWidth),
                             text = random_values("text", kBatch * kTokens * kTextWidth);
    const Rows of_image(image.begin(), image.end());
    Rows expected;
    for (std::size_t b = 0; b < kBatch; ++b) {
      Sequence xs;
      for (std::size_t t = 0; t < kPatches; ++t) xs.push_back(row_of(of_image, b * kPatches + t, kImageWidth));
      if (kind == ConnectorKind::kLinear) xs = r.each(xs, [&](const Rows& x) { return r.linear("connector", x); });
      if (kind == ConnectorKind::kMlp) {
        xs = r.each(xs, [&](const Rows& x) { return r.linear("connector.out", gelu(r.linear("connector.in", x))); });
      }
      if (kind == ConnectorKind::kResampler) {
        const Rows queries = r.of("connector.queries");
        Sequence stream{row_of(queries, 0, kWidth), row_of(queries, 1, kWidth)};
        for (int i = 0; i < 2; ++i) stream = r.block(fmt::format("connector.blocks.{}", i), stream, 2, xs, kPatches);
        xs = r.each(stream, [&](const Rows& x) { return r.norm("connector.norm", x); });
      }
      for (const Rows& x : xs) expected.insert(expected.end(), x.begin(), x.end());
    }
    const std::vector<float> found = alone.infer(given_fields(alone.rank.device, image, text), connected.name);
    EXPECT_LT(relative_error(found, expected), tolerance(DType::kFloat32).summed);
  }
}

}  // namespace
}  // namespace triptych::test
