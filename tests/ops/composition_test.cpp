#include "support/composition.h"

#include <limits>

#include "ops/activation.h"
#include "ops/add.h"
#include "ops/attention.h"
#include "ops/concatenate.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/gather.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/mean_of_terms.h"
#include "ops/pick.h"
#include "ops/pooling.h"
#include "ops/repeat_heads.h"
#include "ops/residual.h"
#include "ops/rotary.h"
#include "ops/scale.h"
#include "ops/slice.h"
#include "ops/softmax.h"

namespace triptych::test {
namespace {

using Variables = std::vector<Variable>;
using Index = std::vector<int32_t>;

constexpr InputKind kWeight = InputKind::kWeight, kVector = InputKind::kVector;

class Composition : public ::testing::TestWithParam<DType> {
 protected:
  void expect(const Function& fused, const Function& composed, const std::vector<ComposedInput>& inputs) {
    expect_composition(GetParam(), fused, composed, inputs, rank.device);
  }
  Variable index(const Shape& shape, const Index& values) {
    return Variable::constant(Tensor::from<int32_t>(rank.device, shape, values), shape, Layout());
  }
  Variable normalized(const Variable& x, const Variable& weight, const Variable& bias) {
    const int last = x.global_shape().rank() - 1;
    const int64_t width = x.global_shape().back();
    const Variable centred = add(x, negate(repeated_last(mean(x, {last}), width, rank.mesh)));
    const Variable variance = mean(multiply(centred, centred), {last});
    const Variable epsilon =
        Variable::constant(tensor_of(rank.device, DType::kFloat32, Shape{}, {1e-5f}), Shape{}, Layout());
    const Variable scales = repeated_last(inverse_root(add(variance, epsilon)), width, rank.mesh);
    return add(multiply(multiply(centred, scales), weight), bias);
  }
  Variable attended(const Variable& q, const Variable& k, const Variable& v, int64_t num_heads, bool causal,
                    const Index& lengths);

  OneRank rank;
};

TEST_P(Composition, LayerNorm) {
  expect([](const Variables& v) { return Variables{layer_norm(v[0], v[1], v[2])}; },
         [&](const Variables& v) { return Variables{normalized(v[0], v[1], v[2])}; },
         {{Shape{2, 3, 37}}, {Shape{37}, kVector}, {Shape{37}, kVector}});
}

TEST_P(Composition, RmsNorm) {
  expect([](const Variables& v) { return Variables{rms_norm(v[0], v[1])}; },
         [&](const Variables& v) {
           const Variable epsilon =
               Variable::constant(tensor_of(rank.device, DType::kFloat32, Shape{}, {1e-5f}), Shape{}, Layout());
           const Variable inverse = inverse_root(add(mean(multiply(v[0], v[0]), {2}), epsilon));
           return Variables{multiply(multiply(v[0], repeated_last(inverse, 37, rank.mesh)), v[1])};
         },
         {{Shape{2, 3, 37}}, {Shape{37}, kVector}});
}

TEST_P(Composition, Residual) {
  expect([&](const Variables& v) { return Variables{residual(v[0], v[1], v[2], {}, rank.mesh)}; },
         [](const Variables& v) { return Variables{add(v[0], add(v[1], v[2]))}; },
         {{Shape{2, 3, 37}}, {Shape{2, 3, 37}}, {Shape{37}, kVector}});
}

TEST_P(Composition, ResidualNorm) {
  expect(
      [&](const Variables& v) {
        const ResidualNorm both = residual_norm(v[0], v[1], v[2], {}, v[3], v[4], rank.mesh);
        return Variables{both.sum, both.normalized};
      },
      [&](const Variables& v) {
        const Variable sum = add(v[0], add(v[1], v[2]));
        return Variables{sum, normalized(sum, v[3], v[4])};
      },
      {{Shape{2, 3, 37}}, {Shape{2, 3, 37}}, {Shape{37}, kVector}, {Shape{37}, kVector}, {Shape{37}, kVector}});
}

TEST_P(Composition, Linear) {
  for (const DType out : {GetParam(), DType::kFloat32}) {
    expect([&](const Variables& v) { return Variables{linear(v[0], v[1], v[2], out)}; },
           [&](const Variables& v) { return Variables{add(product(v[0], v[1], rank.mesh), v[2])}; },
           {{Shape{2, 3, 19}}, {Shape{11, 19}, kWeight}, {Shape{11}, kVector}});
  }
  expect([&](const Variables& v) { return Variables{linear(v[0], v[1], v[2], GetParam())}; },
         [&](const Variables& v) {
           const Variable y = product(v[0], reshape(v[1], Shape{15, 19}), rank.mesh);
           return Variables{add(reshape(y, Shape{2, 3, 3, 5}), v[2])};
         },
         {{Shape{2, 3, 19}}, {Shape{3, 5, 19}, kWeight}, {Shape{3, 5}, kVector}});
}

TEST_P(Composition, ActivatedLinear) {
  for (const Activation activation : {Activation::kGelu, Activation::kGeluTanh, Activation::kGeluQuick}) {
    expect([&](const Variables& v) { return Variables{activated_linear(v[0], v[1], activation, GetParam())}; },
           [&](const Variables& v) { return Variables{product(activate(v[0], activation), v[1], rank.mesh)}; },
           {{Shape{2, 3, 19}, InputKind::kActivation, 2}, {Shape{11, 19}, kWeight}});
  }
  expect([&](const Variables& v) { return Variables{activated_linear(v[0], v[1], Activation::kSwiglu, GetParam())}; },
         [&](const Variables& v) { return Variables{product(activate(v[0], Activation::kSwiglu), v[1], rank.mesh)}; },
         {{Shape{2, 3, 2, 19}, InputKind::kActivation, 2}, {Shape{11, 19}, kWeight}});
}

// Scores with every key beside every query, masked by adding -inf. lengths: of the keys; empty if all count.
Variable Composition::attended(const Variable& q, const Variable& k, const Variable& v, int64_t num_heads, bool causal,
                               const Index& lengths) {
  const int64_t batch = q.global_shape()[0], queries = q.global_shape()[1], width = q.global_shape()[2];
  const int64_t keys = k.global_shape()[1], head_dim = width / num_heads;
  const auto heads = [&](const Variable& x, int64_t sequence) {  // [B, N, sequence, D]
    return transpose(reshape(x, Shape{batch, sequence, num_heads, head_dim}), {0, 2, 1, 3});
  };
  // As [B, N, S, T, D], from [T, B, N, S, D] and [S, B, N, T, D].
  const Variable q_all = transpose(broadcast(heads(q, queries), keys, Layout(), rank.mesh), {1, 2, 3, 0, 4});
  const Variable k_all = transpose(broadcast(heads(k, keys), queries, Layout(), rank.mesh), {1, 2, 0, 3, 4});
  const Variable v_all = transpose(broadcast(heads(v, keys), queries, Layout(), rank.mesh), {1, 2, 0, 3, 4});
  const Variable dots = sum(multiply(q_all, k_all), {4});
  std::vector<float> mask;
  for (int64_t i = 0; i < dots.global_shape().num_elements(); ++i) {
    const int64_t t = i % keys, s = i / keys % queries, b = i / (keys * queries * num_heads);
    const bool is_seen =
        (!causal || t <= s + keys - queries) && (lengths.empty() || t < lengths[static_cast<std::size_t>(b)]);
    mask.push_back(is_seen ? 0 : -std::numeric_limits<float>::infinity());
  }
  const Tensor mask_tensor = tensor_of(rank.device, DType::kFloat32, dots.global_shape(), mask);
  const Variable scores = add(scale(dots, 1 / std::sqrt(static_cast<float>(head_dim))),
                              Variable::constant(mask_tensor, dots.global_shape(), Layout()));
  const Variable o = sum(multiply(v_all, repeated_last(softmax(scores), head_dim, rank.mesh)), {3});
  return reshape(transpose(o, {0, 2, 1, 3}), q.global_shape());
}

TEST_P(Composition, RepeatHeads) {
  // Two heads of three columns, each twice.
  expect([](const Variables& v) { return Variables{repeat_heads(v[0], 2, 3)}; },
         [](const Variables& v) {
           const auto head = [&](int64_t which) { return slice(v[0], 2, 3 * which, 3); };
           return Variables{concatenate({head(0), head(0), head(1), head(1)}, 2)};
         },
         {{Shape{2, 5, 6}}});
}

TEST_P(Composition, Rotary) {
  // Of queries, keys and values [B, S, 3, H] with two heads of six columns, the first two parts.
  const std::vector<float> angles = random_values("angles", 5 * 3);
  std::vector<float> table, cosines, sines;
  for (std::size_t s = 0; s < 5; ++s) {
    for (const bool is_sine : {false, true}) {
      for (std::size_t i = 0; i < 3; ++i) {
        const float angle = angles[s * 3 + i];
        table.push_back(is_sine ? std::sin(angle) : std::cos(angle));
        (is_sine ? sines : cosines).push_back(table.back());
      }
    }
  }
  const auto constant = [&](const Shape& shape, const std::vector<float>& values) {
    return Variable::constant(Tensor::from<float>(rank.device, shape, values), shape, Layout());
  };
  const Tensor of_positions = constant(Shape{5, 6}, table).tensor();
  expect([&](const Variables& v) { return Variables{rotary(v[0], of_positions, 2)}; },
         [&](const Variables& v) {
           // As [part, head, B, S, D], so that what is of a position stands last.
           const Variable x = transpose(reshape(v[0], Shape{2, 5, 3, 2, 6}), {2, 3, 0, 1, 4});
           const Variable turning = slice(x, 0, 0, 2);
           const Variable low = slice(turning, 4, 0, 3), high = slice(turning, 4, 3, 3);
           const Variable c = constant(Shape{5, 3}, cosines), s = constant(Shape{5, 3}, sines);
           const Variable y = concatenate(
               {add(multiply(low, c), negate(multiply(high, s))), add(multiply(high, c), multiply(low, s))}, 4);
           const Variable all = transpose(concatenate({y, slice(x, 0, 2, 1)}, 0), {2, 3, 0, 1, 4});
           return Variables{reshape(all, Shape{2, 5, 3, 12})};
         },
         {{Shape{2, 5, 3, 12}}});
}

struct MaskCase {
  bool causal;
  Index lengths;
};
const std::vector<MaskCase> kMasks{{false, {}}, {true, {}}, {false, {3, 7}}, {true, {7, 4}}};

TEST_P(Composition, Attention) {
  for (const auto& [causal, lengths] : kMasks) {
    const Shape keys{2, 7, 6};
    const AttentionMask mask{causal, lengths.empty() ? Tensor() : index(Shape{2}, lengths).tensor()};
    expect([&](const Variables& v) { return Variables{attention(v[0], v[1], v[2], 2, mask)}; },
           [&](const Variables& v) { return Variables{attended(v[0], v[1], v[2], 2, causal, lengths)}; },
           {{Shape{2, 5, 6}}, {keys}, {keys}});
    expect([&](const Variables& v) { return Variables{cross_attention(v[0], v[1], 2, mask)}; },
           [&](const Variables& v) {
             const Variable k = reshape(slice(v[1], 2, 0, 1), keys), of_values = reshape(slice(v[1], 2, 1, 1), keys);
             return Variables{attended(v[0], k, of_values, 2, causal, lengths)};
           },
           {{Shape{2, 5, 6}}, {Shape{2, 7, 2, 6}}});
    expect([&](const Variables& v) { return Variables{self_attention(v[0], 2, mask)}; },
           [&](const Variables& v) {
             Variables parts;
             for (int64_t i = 0; i < 3; ++i) parts.push_back(reshape(slice(v[0], 2, i, 1), keys));
             return Variables{attended(parts[0], parts[1], parts[2], 2, causal, lengths)};
           },
           {{Shape{2, 7, 3, 6}}});
  }
}

TEST_P(Composition, CrossEntropy) {
  const Shape shape{2, 3, 13};
  for (const Index& targets : {Index{0, 12, 5, 5, 7, 1}, Index{3, -1, 12, -1, 0, 6}}) {
    const Variable classes = index(Shape{2, 3}, targets);
    const auto of_rows = [&](const Variables& v) { return pick(log_softmax(v[0]), classes); };
    expect([&](const Variables& v) { return Variables{cross_entropy(v[0], classes.tensor(), 1.0 / 6, rank.mesh)}; },
           [&](const Variables& v) {
             return Variables{negate(mean(of_rows(v), {0, 1}))};
           },
           {{shape, InputKind::kActivation, 2}});
    // A sum of terms whose number is known on the device, as a part of a run's loss.
    const Tensor count = tensor_of(rank.device, DType::kFloat64, Shape{1}, {5});
    expect(
        [&](const Variables& v) {
          return Variables{mean_of_terms(cross_entropy(v[0], classes.tensor(), 1, rank.mesh), 0.75, count)};
        },
        [&](const Variables& v) {
          return Variables{scale(sum(of_rows(v), {0, 1}), -0.75f / 5)};
        },
        {{shape, InputKind::kActivation, 2}});
  }
}

TEST_P(Composition, Pooling) {
  const Shape shape{3, 5, 17};
  expect([](const Variables& v) { return Variables{mean_tokens(v[0])}; },
         [](const Variables& v) { return Variables{mean(v[0], {1})}; }, {{shape}});
  const Index lengths{5, 1, 3};
  const Tensor of_samples = index(Shape{3}, lengths).tensor();
  expect([&](const Variables& v) { return Variables{select_token(v[0], of_samples, -1)}; },
         [&](const Variables& v) {
           return Variables{reshape(gather(v[0], index(Shape{3, 1}, {4, 0, 2})), Shape{3, 17})};
         },
         {{shape}});
  expect([](const Variables& v) { return Variables{select_token(v[0], Tensor(), 2)}; },
         [](const Variables& v) {
           return Variables{reshape(slice(v[0], 1, 2, 1), Shape{3, 17})};
         },
         {{shape}});
}

TEST_P(Composition, Embedding) {
  const Index ids{4, 0, 4, 6, 1, 4};
  expect(
      [&](const Variables& v) {
        return Variables{embedding(index(Shape{2, 3}, ids), v[0], rank.mesh)};
      },
      [&](const Variables& v) {
        const Variable rows = gather(reshape(v[0], Shape{1, 7, 9}), index(Shape{1, 6}, ids));
        return Variables{reshape(rows, Shape{2, 3, 9})};
      },
      {{Shape{7, 9}, kWeight}});
  expect([](const Variables& v) { return Variables{add_positions(v[0], v[1])}; },
         [](const Variables& v) { return Variables{add(v[0], v[1])}; }, {{Shape{2, 3, 9}}, {Shape{3, 9}, kVector}});
  expect([](const Variables& v) { return Variables{prepend_token(v[0], v[1])}; },
         [&](const Variables& v) {
           const Variable tokens = reshape(broadcast(v[1], 2, Layout(), rank.mesh), Shape{2, 1, 9});
           return Variables{concatenate({tokens, v[0]}, 1)};
         },
         {{Shape{2, 3, 9}}, {Shape{9}, kVector}});
}

INSTANTIATE_TEST_SUITE_P(DTypes, Composition, ::testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& param) { return std::string(dtype_name(param.param)); });

// Float32 alone.
TEST(CompositionInFloat32, L2Normalize) {
  OneRank rank;
  expect_composition(
      DType::kFloat32, [](const Variables& v) { return Variables{l2_normalize(v[0])}; },
      [&](const Variables& v) {
        const Variable inverse = inverse_root(sum(multiply(v[0], v[0]), {1}));
        return Variables{multiply(v[0], repeated_last(inverse, 19, rank.mesh))};
      },
      {{Shape{5, 19}}}, rank.device);
}

}  // namespace
}  // namespace triptych::test
