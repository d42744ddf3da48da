#include <cmath>

#include "autograd/record.h"
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/mean_of_terms.h"
#include "ops/pooling.h"
#include "ops/redistribute.h"
#include "ops/residual.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;

Rows matrix_product(const Rows& x, const Rows& w, std::size_t in, const Rows& bias) {
  const std::size_t rows = x.size() / in, out = w.size() / in;
  Rows y(rows * out);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t o = 0; o < out; ++o) {
      double sum = bias.empty() ? 0 : bias[o];
      for (std::size_t i = 0; i < in; ++i) sum += x[r * in + i] * w[o * in + i];
      y[r * out + o] = sum;
    }
  }
  return y;
}

TEST(Linear, MatchesDoubleAndItsCentralDifferences) {
  check_gradients([](const auto& v) { return linear(v[0], v[1], v[2], DType::kFloat32); },
                  [](const auto& in) { return matrix_product(in[0], in[1], 7, in[2]); },
                  {{Shape{2, 3, 7}}, {Shape{5, 7}, true}, {Shape{5}, true}});
}

TEST(Linear, WeightOfSeveralOutputDimsGivesThemToY) {
  OneRank rank;
  const Tensor x = Tensor::zeros(rank.device, DType::kFloat32, Shape{2, 3, 4});
  Parameter w;
  w.global_shape = Shape{3, 5, 4};
  w.value = w.compute = Tensor::zeros(rank.device, DType::kFloat32, w.global_shape);
  const Variable y =
      linear(Variable::constant(x, x.shape(), Layout()), Variable::of(w, false), Variable(), DType::kFloat32);
  EXPECT_EQ(y.tensor().shape(), (Shape{2, 3, 3, 5}));
}

TEST(ActivatedLinear, MatchesDoubleAndItsCentralDifferences) {
  check_gradients([](const auto& v) { return activated_linear(v[0], v[1], Activation::kGelu, DType::kFloat32); },
                  [](const auto& in) {
                    Rows a = in[0];
                    for (double& x : a) x *= 0.5 * std::erfc(-x / std::sqrt(2.0));
                    return matrix_product(a, in[1], 9, {});
                  },
                  {{Shape{2, 3, 9}, false, 1.5}, {Shape{4, 9}, true}});
}

// The products of a gate and its other half: Shazeer 2020, GLU Variants Improve Transformer, equation 6.
TEST(ActivatedLinear, MultipliesAGateWithItsOtherHalf) {
  check_gradients([](const auto& v) { return activated_linear(v[0], v[1], Activation::kSwiglu, DType::kFloat32); },
                  [](const auto& in) {
                    Rows a;
                    for (std::size_t row = 0; row < 6; ++row) {
                      for (std::size_t i = 0; i < 9; ++i) {
                        const double gate = in[0][row * 18 + i], x = in[0][row * 18 + 9 + i];
                        a.push_back(gate / (1 + std::exp(-gate)) * x);
                      }
                    }
                    return matrix_product(a, in[1], 9, {});
                  },
                  {{Shape{2, 3, 2, 9}, false, 1.5}, {Shape{4, 9}, true}});
}

Rows normalized(const Rows& x, const Rows& weight, const Rows& bias) {
  const std::size_t cols = weight.size();
  Rows y(x.size());
  for (std::size_t r = 0; r < x.size() / cols; ++r) {
    double mean = 0, variance = 0;
    for (std::size_t c = 0; c < cols; ++c) mean += x[r * cols + c] / static_cast<double>(cols);
    for (std::size_t c = 0; c < cols; ++c) variance += std::pow(x[r * cols + c] - mean, 2) / static_cast<double>(cols);
    for (std::size_t c = 0; c < cols; ++c) {
      y[r * cols + c] = (x[r * cols + c] - mean) / std::sqrt(variance + 1e-5) * weight[c] + bias[c];
    }
  }
  return y;
}

TEST(LayerNorm, MatchesDoubleAndItsCentralDifferences) {
  check_gradients([](const auto& v) { return layer_norm(v[0], v[1], v[2]); },
                  [](const auto& in) { return normalized(in[0], in[1], in[2]); },
                  {{Shape{2, 3, 17}}, {Shape{17}, true}, {Shape{17}, true}});
}

Rows over_root_mean_square(const Rows& x, const Rows& weight, double epsilon) {
  const std::size_t cols = weight.size();
  Rows y(x.size());
  for (std::size_t r = 0; r < x.size(); r += cols) {
    double squares = 0;
    for (std::size_t c = 0; c < cols; ++c) squares += x[r + c] * x[r + c] / static_cast<double>(cols);
    for (std::size_t c = 0; c < cols; ++c) y[r + c] = x[r + c] / std::sqrt(squares + epsilon) * weight[c];
  }
  return y;
}

TEST(RmsNorm, MatchesDoubleAndItsCentralDifferences) {
  check_gradients([](const auto& v) { return rms_norm(v[0], v[1], 1e-3f); },
                  [](const auto& in) { return over_root_mean_square(in[0], in[1], 1e-3); },
                  {{Shape{2, 3, 17}}, {Shape{17}, true}});
}

TEST(LayerNorm, AddsTheResidualBranchesGradientOnTheWay) {
  OneRank rank;
  check_gradients([&](const auto& v) { return residual(v[0], layer_norm(v[0], v[1], v[2]), v[3], {}, rank.mesh); },
                  [](const auto& in) {
                    Rows y = normalized(in[0], in[1], in[2]);
                    for (std::size_t i = 0; i < y.size(); ++i) y[i] += in[0][i] + in[3][i % in[3].size()];
                    return y;
                  },
                  {{Shape{2, 2, 5}}, {Shape{5}, true}, {Shape{5}, true}, {Shape{5}, true}});
}

TEST(Residual, DropsWhatPhiloxSaysAndScalesTheRest) {
  OneRank rank;
  const Dropout dropout{.probability = 0.3f, .key = random_key(1, "here", 4), .first_sample = 6};
  check_gradients([&](const auto& v) { return residual(v[0], v[1], v[2], dropout, rank.mesh); },
                  [&](const auto& in) {
                    Rows y = in[0];
                    for (std::size_t i = 0; i < y.size(); ++i) {
                      const uint64_t element = static_cast<uint64_t>(dropout.first_sample) * 3 * 7 + i;
                      const bool kept = philox_uniform(dropout.key, element) >= dropout.probability;
                      if (kept) y[i] += (in[1][i] + in[2][i % 7]) / (1 - static_cast<double>(dropout.probability));
                    }
                    return y;
                  },
                  {{Shape{2, 3, 7}}, {Shape{2, 3, 7}}, {Shape{7}, true}});
}

// Of three samples, the seventh to the ninth of the batch, some go round the branch.
TEST(Residual, DropsTheBranchOfWholeSamples) {
  OneRank rank;
  const Dropout dropout{.first_sample = 6, .path_probability = 0.5f, .path_key = random_key(1, "branch", 4)};
  int num_dropped = 0;
  for (uint64_t sample = 6; sample < 9; ++sample) num_dropped += philox_uniform(dropout.path_key, sample) < 0.5f;
  ASSERT_TRUE(num_dropped > 0 && num_dropped < 3) << num_dropped;
  check_gradients([&](const auto& v) { return residual(v[0], v[1], v[2], dropout, rank.mesh); },
                  [&](const auto& in) {
                    Rows y = in[0];
                    for (std::size_t i = 0; i < y.size(); ++i) {
                      const bool kept = philox_uniform(dropout.path_key, 6 + i / 14) >= 0.5f;
                      if (kept) y[i] += 2 * (in[1][i] + in[2][i % 7]);
                    }
                    return y;
                  },
                  {{Shape{3, 2, 7}}, {Shape{3, 2, 7}}, {Shape{7}, true}});
}

// The sum in its first half, the norm in its second: a function of one result that uses both.
Variable joined(const ResidualNorm& of) {
  const Shape& shape = of.sum.tensor().shape();
  const auto copy = [&](const Tensor& to, const Variable& from, int64_t begin) {
    Tensor half = to.slice(0, begin, shape[0]);
    half.copy_from(from.tensor());
  };
  const Shape both{2 * shape[0], shape[1], shape[2]};
  const Tensor y = Tensor::empty(of.sum.tensor().device(), DType::kFloat32, both);
  copy(y, of.sum, 0);
  copy(y, of.normalized, shape[0]);
  return record("joined", {of.sum, of.normalized}, y, both, of.sum.layout(),
                [rows = shape[0]](const Gradient& dy, InputGradients& in) {
                  in.add(0, dy.tensor.slice(0, 0, rows), dy.layout);
                  in.add(1, dy.tensor.slice(0, rows, rows), dy.layout);
                });
}

TEST(ResidualNorm, BothResultsMatchDoubleAndItsCentralDifferences) {
  OneRank rank;
  for (const float probability : {0.0f, 0.3f}) {
    const Dropout dropout{.probability = probability, .key = random_key(1, "here", 4), .first_sample = 6};
    const auto sum_of = [&](const auto& in) {
      Rows y = in[0];
      for (std::size_t i = 0; i < y.size(); ++i) {
        const uint64_t element = static_cast<uint64_t>(dropout.first_sample) * 3 * 7 + i;
        const bool kept = philox_uniform(dropout.key, element) >= probability;
        if (kept) y[i] += (in[1][i] + in[2][i % 7]) / (1 - static_cast<double>(probability));
      }
      return y;
    };
    const auto of = [&](const auto& v) { return residual_norm(v[0], v[1], v[2], dropout, v[3], v[4], rank.mesh); };
    const std::vector<CheckedInput> inputs{
        {Shape{2, 3, 7}}, {Shape{2, 3, 7}}, {Shape{7}, true}, {Shape{7}, true}, {Shape{7}, true}};
    check_gradients([&](const auto& v) { return joined(of(v)); },
                    [&](const auto& in) {
                      Rows y = sum_of(in);
                      const Rows n = normalized(y, in[3], in[4]);
                      y.insert(y.end(), n.begin(), n.end());
                      return y;
                    },
                    inputs);
    check_gradients([&](const auto& v) { return of(v).normalized; },
                    [&](const auto& in) { return normalized(sum_of(in), in[3], in[4]); }, inputs);
    Parameter unused;
    unused.global_shape = Shape{7};
    unused.value = unused.compute = Tensor::zeros(rank.device, DType::kFloat32, unused.global_shape);
    const Variable none = Variable::of(unused, true);
    check_gradients([&](const auto& v) { return residual_norm(v[0], v[1], v[2], dropout, none, none, rank.mesh).sum; },
                    sum_of, {{Shape{2, 3, 7}}, {Shape{2, 3, 7}}, {Shape{7}, true}});
    EXPECT_TRUE(unused.gradient.empty());
  }
}

TEST(ResidualNorm, TakesTheRmsNormToo) {
  OneRank rank;
  check_gradients(
      [&](const auto& v) { return joined(residual_norm(v[0], v[1], v[2], {}, v[3], Variable(), rank.mesh, 1e-3f)); },
      [](const auto& in) {
        Rows y = in[0];
        for (std::size_t i = 0; i < y.size(); ++i) y[i] += in[1][i] + in[2][i % 7];
        const Rows n = over_root_mean_square(y, in[3], 1e-3);
        y.insert(y.end(), n.begin(), n.end());
        return y;
      },
      {{Shape{2, 3, 7}}, {Shape{2, 3, 7}}, {Shape{7}, true}, {Shape{7}, true}});
}

struct AttentionCase {
  std::size_t batch, queries, keys, heads, dim;
  bool causal;
  std::vector<std::size_t> lengths;
  std::size_t width() const { return heads * dim; }
};

// Row `row` of columns that lie side by side, `parts` of them.
Rows part_of(const Rows& packed, std::size_t part, std::size_t parts, std::size_t width) {
  Rows rows;
  for (std::size_t begin = part * width; begin < packed.size(); begin += parts * width) {
    rows.insert(rows.end(), packed.begin() + static_cast<long>(begin),
                packed.begin() + static_cast<long>(begin + width));
  }
  return rows;
}

Rows attended(const Rows& q, const Rows& k, const Rows& v, const AttentionCase& c) {
  Rows o(q.size(), 0);
  for (std::size_t b = 0; b < c.batch; ++b) {
    for (std::size_t n = 0; n < c.heads; ++n) {
      for (std::size_t i = 0; i < c.queries; ++i) {
        const auto at = [&](std::size_t sequence, std::size_t row, std::size_t d) {
          return (b * sequence + row) * c.width() + n * c.dim + d;
        };
        Rows p;
        double sum = 0;
        for (std::size_t j = 0; j < c.lengths[b] && (!c.causal || j + c.queries <= i + c.keys); ++j) {
          double dot = 0;
          for (std::size_t d = 0; d < c.dim; ++d) dot += q[at(c.queries, i, d)] * k[at(c.keys, j, d)];
          p.push_back(std::exp(dot / std::sqrt(static_cast<double>(c.dim))));
          sum += p.back();
        }
        for (std::size_t j = 0; j < p.size(); ++j) {
          for (std::size_t d = 0; d < c.dim; ++d) o[at(c.queries, i, d)] += p[j] / sum * v[at(c.keys, j, d)];
        }
      }
    }
  }
  return o;
}

// Keys fewer and more than queries, ragged; with a causal mask and more queries than keys the first see none.
const std::vector<AttentionCase> kAttentionCases{{2, 5, 5, 2, 3, false, {5, 3}}, {2, 5, 5, 2, 3, true, {5, 3}},
                                                 {2, 3, 7, 2, 5, false, {7, 4}}, {2, 3, 7, 2, 5, true, {7, 6}},
                                                 {1, 5, 2, 1, 3, false, {2}},    {1, 5, 2, 1, 3, true, {2}}};

AttentionMask mask_of(const AttentionCase& c, Device& device) {
  const std::vector<int32_t> lengths(c.lengths.begin(), c.lengths.end());
  return {.causal = c.causal,
          .lengths = Tensor::from<int32_t>(device, Shape{static_cast<int64_t>(lengths.size())}, lengths)};
}

Shape shape_of(std::initializer_list<std::size_t> dims) {
  return Shape(std::vector<int64_t>(dims.begin(), dims.end()));
}

TEST(Attention, MatchesDoubleAndItsCentralDifferences) {
  OneRank rank;
  for (const AttentionCase& c : kAttentionCases) {
    SCOPED_TRACE(fmt::format("{} queries, {} keys, causal {}", c.queries, c.keys, c.causal));
    const AttentionMask mask = mask_of(c, rank.device);
    const auto num_heads = static_cast<int64_t>(c.heads);
    const Shape q = shape_of({c.batch, c.queries, c.width()}), kv = shape_of({c.batch, c.keys, c.width()});
    check_gradients([&](const auto& x) { return attention(x[0], x[1], x[2], num_heads, mask); },
                    [&](const auto& in) { return attended(in[0], in[1], in[2], c); }, {{q}, {kv}, {kv}});
    check_gradients([&](const auto& x) { return cross_attention(x[0], x[1], num_heads, mask); },
                    [&](const auto& in) {
                      return attended(in[0], part_of(in[1], 0, 2, c.width()), part_of(in[1], 1, 2, c.width()), c);
                    },
                    {{q}, {shape_of({c.batch, c.keys, 2, c.width()})}});
    if (c.queries != c.keys) continue;
    check_gradients([&](const auto& x) { return self_attention(x[0], num_heads, mask); },
                    [&](const auto& in) {
                      const auto part = [&](std::size_t which) { return part_of(in[0], which, 3, c.width()); };
                      return attended(part(0), part(1), part(2), c);
                    },
                    {{shape_of({c.batch, c.queries, 3, c.width()})}});
  }
}

// The three forms are one computation on views.
TEST(Attention, PackedFormsGiveTheBitsOfSeparateOnes) {
  OneRank rank;
  const Shape separate{2, 5, 6};
  const std::vector<float> values = random_values("qkv", 3 * separate.num_elements());
  const auto packed = [&](int64_t first, int64_t count) {
    const Tensor all = Tensor::from<float>(rank.device, Shape{2, 5, 3, 6}, values);
    const Tensor some = all.slice(2, first, count).contiguous();
    return Variable::leaf(some, some.shape(), Layout());
  };
  const auto one = [&](int64_t which) {
    return Variable::leaf(packed(which, 1).tensor().view(separate), separate, Layout());
  };
  const Variable q = one(0), k = one(1), v = one(2), qkv = packed(0, 3), kv = packed(1, 2), q_again = one(0);
  const std::vector<Variable> results{attention(q, k, v, 2, {}), self_attention(qkv, 2, {}),
                                      cross_attention(q_again, kv, 2, {})};
  const Gradient dy{Tensor::from<float>(rank.device, separate, random_values("dy", separate.num_elements())), Layout()};
  const std::vector<Gradient> seeds(3, dy);
  backward(results, seeds);
  const std::vector<float> o = results[0].tensor().to_vector<float>();
  EXPECT_EQ(results[1].tensor().to_vector<float>(), o);
  EXPECT_EQ(results[2].tensor().to_vector<float>(), o);
  const auto gradient = [](const Variable& of, int64_t part) {
    const Tensor tensor = of.gradient()->tensor;
    return (part < 0 ? tensor : tensor.slice(2, part, 1)).to_vector<float>();
  };
  EXPECT_EQ(gradient(qkv, 0), gradient(q, -1));
  EXPECT_EQ(gradient(qkv, 1), gradient(k, -1));
  EXPECT_EQ(gradient(qkv, 2), gradient(v, -1));
  EXPECT_EQ(gradient(q_again, -1), gradient(q, -1));
  EXPECT_EQ(gradient(kv, 0), gradient(k, -1));
  EXPECT_EQ(gradient(kv, 1), gradient(v, -1));
}

TEST(Attention, RefusesWhatItCannotTake) {
  OneRank rank;
  const auto zeros = [&](const Shape& shape, const Layout& layout = {}) {
    return Variable::constant(Tensor::zeros(rank.device, DType::kFloat32, shape), shape, layout);
  };
  const Shape q{1, 3, 4};
  EXPECT_THROW(self_attention(zeros(Shape{1, 3, 2, 4}), 2, {}), InternalError);
  EXPECT_THROW(cross_attention(zeros(q), zeros(Shape{1, 3, 3, 4}), 2, {}), InternalError);
  EXPECT_THROW(attention(zeros(q), zeros(q), zeros(Shape{1, 2, 4}), 2, {}), InternalError) << "keys and values differ";
  EXPECT_THROW(attention(zeros(q), zeros(q), zeros(q), 3, {}), InternalError);
  const Layout by_sequence = Layout().with(Axis::kTp, Placement::shard(1));
  EXPECT_THROW(attention(zeros(q, by_sequence), zeros(q, by_sequence), zeros(q, by_sequence), 2, {}), LayoutError);
  EXPECT_THROW(
      cross_attention(zeros(q, Layout().with(Axis::kTp, Placement::shard(2))), zeros(Shape{1, 3, 2, 4}), 2, {}),
      LayoutError);
}

TEST(Embedding, GathersRowsAndSumsTheirGradients) {
  OneRank rank;
  const std::vector<int32_t> ids{3, 0, 3, 6, 1, 3};
  const Variable tokens =
      Variable::constant(Tensor::from<int32_t>(rank.device, Shape{2, 3}, ids), Shape{2, 3}, Layout());
  check_gradients([&](const auto& v) { return embedding(tokens, v[0], rank.mesh); },
                  [&](const auto& in) {
                    Rows y;
                    for (const int32_t id : ids) {
                      for (int c = 0; c < 5; ++c) y.push_back(in[0][static_cast<std::size_t>(id * 5 + c)]);
                    }
                    return y;
                  },
                  {{Shape{7, 5}, true}});
}

TEST(AddPositions, AddsThemToEverySample) {
  check_gradients([](const auto& v) { return add_positions(v[0], v[1]); },
                  [](const auto& in) {
                    Rows y = in[0];
                    for (std::size_t i = 0; i < y.size(); ++i) y[i] += in[1][i % in[1].size()];
                    return y;
                  },
                  {{Shape{3, 4, 5}}, {Shape{4, 5}, true}});
}

TEST(PrependToken, StandsBeforeEverySequence) {
  check_gradients([](const auto& v) { return prepend_token(v[0], v[1]); },
                  [](const auto& in) {
                    Rows y;
                    for (std::size_t b = 0; b < 2; ++b) {
                      y.insert(y.end(), in[1].begin(), in[1].end());
                      y.insert(y.end(), in[0].begin() + static_cast<long>(b * 15),
                               in[0].begin() + static_cast<long>((b + 1) * 15));
                    }
                    return y;
                  },
                  {{Shape{2, 3, 5}}, {Shape{5}, true}});
}

TEST(SelectToken, TakesOneRowOfEverySequence) {
  OneRank rank;
  const std::vector<int32_t> rows{2, 0};
  const Tensor index = Tensor::from<int32_t>(rank.device, Shape{2}, rows);
  check_gradients([&](const auto& v) { return select_token(v[0], index); },
                  [](const auto& in) {
                    Rows y(in[0].begin() + 2 * 5, in[0].begin() + 3 * 5);
                    y.insert(y.end(), in[0].begin() + 3 * 5, in[0].begin() + 4 * 5);
                    return y;
                  },
                  {{Shape{2, 3, 5}}});
}

TEST(MeanTokens, AveragesTheSequence) {
  check_gradients([](const auto& v) { return mean_tokens(v[0]); },
                  [](const auto& in) {
                    Rows y(2 * 5, 0);
                    for (std::size_t i = 0; i < in[0].size(); ++i) y[i / 15 * 5 + i % 5] += in[0][i] / 3;
                    return y;
                  },
                  {{Shape{2, 3, 5}}});
}

TEST(L2Normalize, GivesRowsOfLengthOne) {
  check_gradients([](const auto& v) { return l2_normalize(v[0]); },
                  [](const auto& in) {
                    Rows y = in[0];
                    for (std::size_t r = 0; r < 3; ++r) {
                      double sum = 0;
                      for (std::size_t c = 0; c < 7; ++c) sum += y[r * 7 + c] * y[r * 7 + c];
                      for (std::size_t c = 0; c < 7; ++c) y[r * 7 + c] /= std::sqrt(sum);
                    }
                    return y;
                  },
                  {{Shape{3, 7}}});
}

TEST(MeanOfTerms, IsTheWeightedSumOverTheCountThatTheDeviceHolds) {
  OneRank rank;
  const Layout partial = Layout().with(Axis::kDp, Placement::partial());
  const auto doubles = [&](double value) { return Tensor::from<double>(rank.device, Shape{1}, std::span(&value, 1)); };
  for (const double count : {7.0, 0.0}) {
    for (const Layout& layout : {Layout(), partial}) {
      const Variable sum = Variable::leaf(doubles(3.5), Shape{1}, layout);
      const Variable mean = mean_of_terms(sum, 0.3, doubles(count));
      EXPECT_EQ(mean.layout(), layout);
      EXPECT_DOUBLE_EQ(mean.tensor().item<double>(), count > 0 ? 0.3 * 3.5 / 7 : 0);
      const Gradient seed{doubles(-2), Layout()};
      backward(std::span(&mean, 1), std::span(&seed, 1));
      EXPECT_EQ(sum.gradient()->layout, Layout());
      EXPECT_DOUBLE_EQ(sum.gradient()->tensor.item<double>(), count > 0 ? -2 * 0.3 / 7 : 0);
    }
  }
}

TEST(Layouts, OperationsRefuseWhatTheyCannotTake) {
  OneRank rank;
  const Tensor t = Tensor::zeros(rank.device, DType::kFloat32, Shape{2, 3, 4});
  Parameter p;
  p.global_shape = Shape{4};
  p.value = p.compute = Tensor::zeros(rank.device, DType::kFloat32, p.global_shape);
  const Variable vector = Variable::of(p, false);
  const Variable partial = Variable::constant(t, t.shape(), Layout().with(Axis::kTp, Placement::partial()));
  const Variable by_columns = Variable::constant(t, t.shape(), Layout().with(Axis::kTp, Placement::shard(2)));
  const Variable by_sequence = Variable::constant(t, t.shape(), Layout().with(Axis::kTp, Placement::shard(1)));
  EXPECT_THROW(layer_norm(partial, vector, vector), LayoutError);
  EXPECT_THROW(layer_norm(by_columns, vector, vector), LayoutError);
  EXPECT_THROW(layer_norm(by_sequence, vector, Variable()), InternalError);
  EXPECT_THROW(rms_norm(by_columns, vector), LayoutError);
  EXPECT_THROW(residual(partial, partial, vector, {}, rank.mesh), LayoutError);
  EXPECT_THROW(residual_norm(partial, partial, vector, {}, vector, vector, rank.mesh), LayoutError);
  EXPECT_THROW(mean_tokens(by_sequence), LayoutError);
  EXPECT_THROW(select_token(by_sequence, Tensor(), 1), LayoutError);
  EXPECT_EQ(mean_tokens(by_columns).layout(), Layout().with(Axis::kTp, Placement::shard(1)));
  EXPECT_THROW(
      l2_normalize(Variable::constant(t.view(Shape{6, 4}), Shape{6, 4}, Layout().with(Axis::kTp, Placement::shard(1)))),
      LayoutError);
  EXPECT_THROW(add_positions(by_sequence, Variable::constant(t.slice(0, 0, 1).contiguous().view(Shape{3, 4}),
                                                             Shape{3, 4}, Layout())),
               LayoutError);
  const Layout maximum = Layout().with(Axis::kTp, Placement::partial(ReduceOp::kMax));
  EXPECT_THROW(redistribute(Variable::constant(t, t.shape(), maximum), Layout(), rank.mesh), LayoutError);
}

}  // namespace
}  // namespace triptych::test
