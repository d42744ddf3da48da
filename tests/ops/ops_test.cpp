#include <cmath>

#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/pooling.h"
#include "ops/redistribute.h"
#include "ops/residual.h"
#include "support/gradient_check.h"

namespace triptych {
namespace {

using namespace test;
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

TEST(GeluLinear, MatchesDoubleAndItsCentralDifferences) {
  check_gradients([](const auto& v) { return gelu_linear(v[0], v[1], DType::kFloat32); },
                  [](const auto& in) {
                    Rows a = in[0];
                    for (double& x : a) x *= 0.5 * std::erfc(-x / std::sqrt(2.0));
                    return matrix_product(a, in[1], 9, {});
                  },
                  {{Shape{2, 3, 9}, false, 1.5}, {Shape{4, 9}, true}});
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
    EXPECT_TRUE(unused.gradient_is_empty);
  }
}

Rows attended(const Rows& qkv, int batch, int seq, int heads, int dim, bool causal, const std::vector<int>& lengths) {
  const int width = heads * dim;
  const auto at = [&](int b, int s, int which, int c) {
    return qkv[static_cast<std::size_t>(((b * seq + s) * 3 + which) * width + c)];
  };
  Rows o(static_cast<std::size_t>(batch * seq * width), 0);
  for (int b = 0; b < batch; ++b) {
    for (int n = 0; n < heads; ++n) {
      for (int i = 0; i < seq; ++i) {
        std::vector<double> p;
        double sum = 0;
        for (int j = 0; j < lengths[static_cast<std::size_t>(b)] && (!causal || j <= i); ++j) {
          double dot = 0;
          for (int d = 0; d < dim; ++d) dot += at(b, i, 0, n * dim + d) * at(b, j, 1, n * dim + d);
          p.push_back(std::exp(dot / std::sqrt(static_cast<double>(dim))));
          sum += p.back();
        }
        for (int j = 0; j < static_cast<int>(p.size()); ++j) {
          for (int d = 0; d < dim; ++d) {
            o[static_cast<std::size_t>((b * seq + i) * width + n * dim + d)] +=
                p[static_cast<std::size_t>(j)] / sum * at(b, j, 2, n * dim + d);
          }
        }
      }
    }
  }
  return o;
}

TEST(Attention, PackedHeadsMatchDoubleAndItsCentralDifferences) {
  OneRank rank;
  for (const bool causal : {false, true}) {
    const std::vector<int32_t> lengths{5, 3};
    const Tensor keys = Tensor::from<int32_t>(rank.device, Shape{2}, lengths);
    check_gradients([&](const auto& v) { return attention(v[0], 2, {.causal = causal, .lengths = keys}); },
                    [&](const auto& in) {
                      return attended(in[0], 2, 5, 2, 3, causal, {5, 3});
                    },
                    {{Shape{2, 5, 3, 6}}});
  }
}

TEST(Embedding, GathersRowsAndSumsTheirGradients) {
  OneRank rank;
  const std::vector<int32_t> ids{3, 0, 3, 6, 1, 3};
  const Tensor tokens = Tensor::from<int32_t>(rank.device, Shape{2, 3}, ids);
  check_gradients([&](const auto& v) { return embedding(tokens, tokens.shape(), Layout(), v[0], rank.mesh); },
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
  OneRank rank;
  check_gradients([&](const auto& v) { return add_positions(v[0], v[1], rank.mesh); },
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

TEST(Layouts, OperationsRefuseWhatTheyCannotTake) {
  OneRank rank;
  const Tensor t = Tensor::zeros(rank.device, DType::kFloat32, Shape{2, 3, 4});
  Parameter p;
  p.global_shape = Shape{4};
  p.value = p.compute = Tensor::zeros(rank.device, DType::kFloat32, p.global_shape);
  const Variable vector = Variable::of(p, false);
  const Variable partial = Variable::constant(t, t.shape(), Layout().with(Axis::kTp, Placement::partial()));
  const Variable by_columns = Variable::constant(t, t.shape(), Layout().with(Axis::kTp, Placement::shard(2)));
  EXPECT_THROW(layer_norm(partial, vector, vector), LayoutError);
  EXPECT_THROW(layer_norm(by_columns, vector, vector), LayoutError);
  EXPECT_THROW(residual(partial, partial, vector, {}, rank.mesh), LayoutError);
  EXPECT_THROW(residual_norm(partial, partial, vector, {}, vector, vector, rank.mesh), LayoutError);
  EXPECT_THROW(mean_tokens(by_columns), LayoutError);
  const Layout maximum = Layout().with(Axis::kTp, Placement::partial(ReduceOp::kMax));
  EXPECT_THROW(redistribute(Variable::constant(t, t.shape(), maximum), Layout(), rank.mesh), LayoutError);
}

}  // namespace
}  // namespace triptych
