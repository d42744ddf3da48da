#include <array>
#include <cmath>
#include <vector>

#include "checked_operation.h"
#include "ops/activation.h"
#include "ops/add.h"
#include "ops/broadcast.h"
#include "ops/concatenate.h"
#include "ops/gather.h"
#include "ops/multiply.h"
#include "ops/pick.h"
#include "ops/reshape.h"
#include "ops/scale.h"
#include "ops/slice.h"
#include "ops/softmax.h"
#include "ops/sum.h"
#include "ops/tanh.h"
#include "ops/transpose.h"

namespace triptych::test {
namespace {

// What b may be beside a [2, 3, 5].
const std::vector<CheckedInput> kSeconds{
    {Shape{2, 3, 5}}, {Shape{2, 3, 5}, true}, {Shape{3, 5}}, {Shape{5}, true}, {Shape{}, true}};

TEST(Add, MatchesDoubleAndItsCentralDifferences) {
  for (const CheckedInput& b : kSeconds) {
    check([](const auto& v) { return add(v[0], v[1]); },
          [](const auto& in) {
            Rows y = in[0];
            for (std::size_t i = 0; i < y.size(); ++i) y[i] += in[1][i % in[1].size()];
            return y;
          },
          {{Shape{2, 3, 5}}, b});
  }
}

TEST(Multiply, MatchesDoubleAndItsCentralDifferences) {
  for (const CheckedInput& b : kSeconds) {
    check([](const auto& v) { return multiply(v[0], v[1]); },
          [](const auto& in) {
            Rows y = in[0];
            for (std::size_t i = 0; i < y.size(); ++i) y[i] *= in[1][i % in[1].size()];
            return y;
          },
          {{Shape{2, 3, 5}}, b});
  }
}

TEST(Plain, ResultHasTheFirstOperandsTypeAndGradientsTheirOwn) {
  OneRank rank;
  const Shape shape{2, 3};
  const std::vector<float> values = random_values("x", 6);
  const Tensor single = Tensor::from<float>(rank.device, shape, values);
  const Tensor half = strided<BFloat16>(rank.device, shape, values).contiguous();
  for (const auto& operation : {add, multiply}) {
    for (const bool half_first : {false, true}) {
      const Variable a = Variable::leaf(half_first ? half : single, shape, Layout());
      const Variable b = Variable::leaf(half_first ? single : half, shape, Layout());
      const Variable y = operation(a, b);
      EXPECT_EQ(y.dtype(), a.dtype());
      const Gradient seed{y.tensor().clone(), Layout()};
      backward(std::span(&y, 1), std::span(&seed, 1), {});
      EXPECT_EQ(a.gradient()->tensor.dtype(), a.dtype());
      EXPECT_EQ(b.gradient()->tensor.dtype(), b.dtype());
    }
  }
}

// A parameter in 16 bits: its gradient is a float32 sum, which 16 bits would not hold.
TEST(Plain, GradientOfABroadcastParameterIsSummedInFloat32) {
  OneRank rank;
  constexpr int64_t kCount = 1001;
  Parameter p("p");
  p.global_shape = Shape{1};
  p.compute = strided<BFloat16>(rank.device, p.global_shape, {0.5f}).contiguous();
  const Variable y = broadcast(Variable::of(p, true), kCount, Layout(), rank.mesh);
  EXPECT_EQ(y.dtype(), DType::kBFloat16);
  const std::vector<float> ones(static_cast<std::size_t>(kCount), 1);
  const Gradient seed{strided<BFloat16>(rank.device, y.global_shape(), ones), Layout()};
  backward(std::span(&y, 1), std::span(&seed, 1), {});
  EXPECT_EQ(p.gradient.tensor().item<float>(), static_cast<float>(kCount));
}

TEST(Scale, MatchesDoubleAndItsCentralDifferences) {
  for (const float factor : {-1.75f, 0.5f}) {
    check([&](const auto& v) { return scale(v[0], factor); },
          [&](const auto& in) {
            Rows y = in[0];
            for (double& x : y) x *= factor;
            return y;
          },
          {{Shape{3, 7}}});
  }
  check([](const auto& v) { return negate(v[0]); },
        [](const auto& in) {
          Rows y = in[0];
          for (double& x : y) x = -x;
          return y;
        },
        {{Shape{7}}});
}

TEST(Sum, AndMeanMatchDoubleAndItsCentralDifferences) {
  const std::vector<std::vector<int>> all_dims{{}, {0}, {1}, {2}, {0, 2}, {2, 1}, {0, 1, 2}};
  for (const std::vector<int>& dims : all_dims) {
    const auto sums = [&](const Rows& x, bool average) {
      const std::array<std::size_t, 3> sizes{2, 3, 5};
      std::array<std::size_t, 3> strides{};
      std::size_t kept = 1;
      for (int dim = 2; dim >= 0; --dim) {
        if (std::find(dims.begin(), dims.end(), dim) != dims.end()) continue;
        strides[static_cast<std::size_t>(dim)] = kept;
        kept *= sizes[static_cast<std::size_t>(dim)];
      }
      Rows y(kept, 0);
      for (std::size_t i = 0; i < x.size(); ++i) {
        y[i / 15 * strides[0] + i / 5 % 3 * strides[1] + i % 5 * strides[2]] +=
            average ? x[i] * static_cast<double>(kept) / static_cast<double>(x.size()) : x[i];
      }
      return y;
    };
    check([&](const auto& v) { return sum(v[0], dims); }, [&](const auto& in) { return sums(in[0], false); },
          {{Shape{2, 3, 5}}});
    check([&](const auto& v) { return mean(v[0], dims); }, [&](const auto& in) { return sums(in[0], true); },
          {{Shape{2, 3, 5}}});
  }
}

Rows softmax_of(const Rows& x, std::size_t cols, bool log) {
  Rows y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double total = 0;
    for (std::size_t c = 0; c < cols; ++c) total += std::exp(x[i / cols * cols + c]);
    y.push_back(log ? x[i] - std::log(total) : std::exp(x[i]) / total);
  }
  return y;
}

TEST(Softmax, AndItsLogarithmMatchDoubleAndItsCentralDifferences) {
  check([](const auto& v) { return softmax(v[0]); }, [](const auto& in) { return softmax_of(in[0], 7, false); },
        {{Shape{2, 3, 7}, false, 2}});
  check([](const auto& v) { return log_softmax(v[0]); }, [](const auto& in) { return softmax_of(in[0], 7, true); },
        {{Shape{2, 3, 7}, false, 2}});
}

TEST(Activate, MatchesDoubleAndItsCentralDifferences) {
  check([](const auto& v) { return gelu(v[0]); },
        [](const auto& in) {
          Rows y = in[0];
          for (double& x : y) x *= 0.5 * std::erfc(-x / std::sqrt(2.0));
          return y;
        },
        {{Shape{3, 17}, false, 2}});
  check([](const auto& v) { return activate(v[0], Activation::kGeluTanh); },
        [](const auto& in) {
          Rows y = in[0];
          for (double& x : y) x *= 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
          return y;
        },
        {{Shape{3, 17}, false, 2}});
  check([](const auto& v) { return activate(v[0], Activation::kGeluQuick); },
        [](const auto& in) {
          Rows y = in[0];
          for (double& x : y) x /= 1 + std::exp(-1.702 * x);
          return y;
        },
        {{Shape{3, 17}, false, 2}});
  check([](const auto& v) { return activate(v[0], Activation::kSwiglu); },
        [](const auto& in) {
          Rows y;
          for (std::size_t row = 0; row < 3; ++row) {
            for (std::size_t i = 0; i < 17; ++i) {
              const double gate = in[0][row * 34 + i];
              y.push_back(gate / (1 + std::exp(-gate)) * in[0][row * 34 + 17 + i]);
            }
          }
          return y;
        },
        {{Shape{3, 2, 17}, false, 2}});
}

TEST(Tanh, MatchesDoubleAndItsCentralDifferences) {
  check([](const auto& v) { return tanh(v[0]); },
        [](const auto& in) {
          Rows y = in[0];
          for (double& x : y) x = std::tanh(x);
          return y;
        },
        {{Shape{3, 17}, false, 2}});
}

// Gradients that several operations give one variable, some of them the same tensor.
TEST(Plain, OperationsShareInputsAndGradients) {
  check_gradients(
      [](const auto& v) {
        const Variable twice = add(v[0], v[0]);
        return add(add(twice, multiply(v[0], twice)), reshape(reshape(scale(twice, 3), Shape{6}), Shape{2, 3}));
      },
      [](const auto& in) {
        Rows y = in[0];
        for (double& x : y) x = 2 * x + 2 * x * x + 6 * x;
        return y;
      },
      {{Shape{2, 3}}});
}

TEST(Plain, UsesOfWhatIsBroadcastAddUp) {
  OneRank rank;
  for (const bool is_parameter : {false, true}) {
    check_gradients(
        [&](const auto& v) {
          const Variable repeated = broadcast(v[1], 2, Layout(), rank.mesh);
          return add(multiply(add(v[0], v[1]), v[1]), reshape(repeated, Shape{2, 5}));
        },
        [](const auto& in) {
          Rows y;
          for (std::size_t i = 0; i < in[0].size(); ++i) {
            const double b = in[1][i % 5];
            y.push_back((in[0][i] + b) * b + b);
          }
          return y;
        },
        {{Shape{2, 5}}, {Shape{5}, is_parameter}});
  }
}

// Of what is broadcast the gradient is a float32 sum, also where an operation of bfloat16 made it.
TEST(Plain, GradientOfABroadcastResultReachesWhatMadeIt) {
  check([](const auto& v) { return multiply(add(v[0], gelu(v[1])), gelu(v[2])); },
        [](const auto& in) {
          const auto gelu_of = [](double x) { return x * 0.5 * std::erfc(-x / std::sqrt(2.0)); };
          Rows y = in[0];
          for (std::size_t i = 0; i < y.size(); ++i) y[i] = (y[i] + gelu_of(in[1][i % 5])) * gelu_of(in[2][i % 5]);
          return y;
        },
        {{Shape{3, 5}}, {Shape{5}}, {Shape{5}}});
}

TEST(Plain, OperationsOfConstantsRecordNothing) {
  OneRank rank;
  const Variable x =
      Variable::constant(Tensor::zeros(rank.device, DType::kFloat32, Shape{2, 3}), Shape{2, 3}, Layout());
  EXPECT_FALSE(add(x, multiply(softmax(x), gelu(x))).needs_gradient());
  EXPECT_FALSE(mean(transpose(x, {1, 0}), {0}).needs_gradient());
}

TEST(Plain, WrongArgumentsAreRefused) {
  OneRank rank;
  const auto zeros = [&](const Shape& shape, DType dtype = DType::kFloat32) {
    return Variable::constant(Tensor::zeros(rank.device, dtype, shape), shape, Layout());
  };
  const Variable x = zeros(Shape{2, 3, 5});
  for (const Shape& wrong : {Shape{3}, Shape{2, 3}, Shape{2, 1, 5}, Shape{1, 2, 3, 5}}) {
    EXPECT_THROW(add(x, zeros(wrong)), InternalError) << wrong.to_string();
    EXPECT_THROW(multiply(x, zeros(wrong)), InternalError) << wrong.to_string();
  }
  EXPECT_THROW(slice(x, 1, 2, 2), InternalError);
  EXPECT_THROW(slice(x, 3, 0, 1), InternalError);
  EXPECT_THROW(concatenate({}, 0), InternalError);
  EXPECT_THROW(concatenate({x, zeros(Shape{2, 4, 4})}, 1), InternalError);
  EXPECT_THROW(concatenate({x, zeros(x.global_shape(), DType::kBFloat16)}, 1), InternalError);
  EXPECT_THROW(reshape(x, Shape{2, 3, 4}), InternalError);
  for (const std::vector<int>& order : {std::vector{0, 1}, {0, 1, 1}, {0, 1, 3}, {0, 1, -1}, {0, 1, 2, 0}}) {
    EXPECT_THROW(transpose(x, order), InternalError);
  }
  for (const std::vector<int>& dims : {std::vector{3}, {-1}, {1, 1}}) EXPECT_THROW(sum(x, dims), InternalError);
  const Variable index = index_of(rank.device, Shape{2, 1}, {3, 0});
  EXPECT_THROW(gather(x, index), InternalError);
  EXPECT_THROW(gather(x, index_of(rank.device, Shape{1, 1}, {0})), InternalError);
  EXPECT_THROW(pick(zeros(Shape{2, 1, 3}), index), InternalError);
  EXPECT_THROW(pick(x, index), InternalError);
}

}  // namespace
}  // namespace triptych::test
