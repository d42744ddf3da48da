#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops/activation.h"
#include "ops/add.h"
#include "ops/broadcast.h"
#include "ops/concatenate.h"
#include "ops/gather.h"
#include "ops/multiply.h"
#include "ops/pick.h"
#include "ops/repeat_heads.h"
#include "ops/reshape.h"
#include "ops/rotary.h"
#include "ops/scale.h"
#include "ops/slice.h"
#include "ops/softmax.h"
#include "ops/sum.h"
#include "ops/tanh.h"
#include "ops/transpose.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;
using Index = std::vector<int32_t>;

Rows doubles(const Tensor& tensor) {
  Rows values;
  if (tensor.dtype() == DType::kBFloat16) {
    for (const BFloat16 value : tensor.to_vector<BFloat16>()) values.push_back(static_cast<float>(value));
  } else {
    for (const float value : tensor.to_vector<float>()) values.push_back(value);
  }
  return values;
}

// The values as a view: NaN lies between the rows.
template <typename T>
Tensor strided(Device& device, const Shape& shape, const std::vector<float>& values) {
  if (shape.rank() == 0) return Tensor::from<T>(device, shape, std::vector<T>{T(values[0])});
  const int64_t cols = shape.back(), width = cols + 3;
  std::vector<T> wide;
  for (int64_t i = 0; i < shape.product(0, shape.rank() - 1) * width; ++i) {
    const int64_t row = i / width, col = i % width - 1;
    const bool is_here = col >= 0 && col < cols;
    wide.push_back(
        T(is_here ? values[static_cast<std::size_t>(row * cols + col)] : std::numeric_limits<float>::quiet_NaN()));
  }
  return Tensor::from<T>(device, shape.with(shape.rank() - 1, width), wide).slice(shape.rank() - 1, 1, cols);
}

Tensor strided(Device& device, DType dtype, const Shape& shape, const std::vector<float>& values) {
  return dtype == DType::kBFloat16 ? strided<BFloat16>(device, shape, values) : strided<float>(device, shape, values);
}

// As check_gradients, in `dtype` but for parameters, which are float32, and with views in place of all tensors. The
// reference gets what the operation gets, rounded.
void check_views(DType dtype, const test::Operation& operation, const Reference& reference,
                 const std::vector<CheckedInput>& specs) {
  SCOPED_TRACE(dtype_name(dtype));
  const double bound = tolerance(dtype).summed;
  OneRank rank;
  std::vector<Variable> variables;
  std::vector<Rows> inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Shape& shape = specs[i].shape;
    const std::vector<float> values = random_values("input" + std::to_string(i), shape.num_elements(), specs[i].scale);
    const Tensor tensor = strided(rank.device, specs[i].is_parameter ? DType::kFloat32 : dtype, shape, values);
    variables.push_back(Variable::leaf(tensor, shape, Layout()));
    inputs.push_back(doubles(tensor));
  }
  const Variable y = operation(variables);
  EXPECT_TRUE(y.tensor().is_contiguous() || y.tensor().num_elements() == 0);
  EXPECT_EQ(y.tensor().shape(), y.global_shape());
  EXPECT_LT(relative_error(doubles(y.tensor()), reference(inputs)), bound) << "forward";

  const Gradient seed{strided(rank.device, y.dtype(), y.global_shape(), random_values("dy", y.tensor().num_elements())),
                      Layout()};
  const Rows dy = doubles(seed.tensor);
  backward(std::span(&y, 1), std::span(&seed, 1), {});
  const auto objective = [&] {
    const Rows values = reference(inputs);
    return std::inner_product(values.begin(), values.end(), dy.begin(), 0.0);
  };
  for (std::size_t i = 0; i < specs.size(); ++i) {
    Rows numeric;
    for (double& x : inputs[i]) {
      const double saved = x, h = 1e-5;
      x = saved + h;
      const double up = objective();
      x = saved - h;
      numeric.push_back((up - objective()) / (2 * h));
      x = saved;
    }
    EXPECT_LT(relative_error(doubles(variables[i].gradient()->tensor), numeric), bound) << "gradient of input " << i;
  }
}

void check(const test::Operation& operation, const Reference& reference, const std::vector<CheckedInput>& specs) {
  check_gradients(operation, reference, specs);
  check_views(DType::kFloat32, operation, reference, specs);
  check_views(DType::kBFloat16, operation, reference, specs);
}

Variable index_of(Device& device, const Shape& shape, const Index& values) {
  return Variable::constant(Tensor::from<int32_t>(device, shape, values), shape, Layout());
}

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

// x [before, dim, after]: indices [begin, begin + length) of the middle.
Rows sliced(const Rows& x, std::size_t before, std::size_t dim, std::size_t begin, std::size_t length) {
  const std::size_t after = x.size() / (before * dim);
  Rows y;
  for (std::size_t i = 0; i < before; ++i) {
    for (std::size_t j = begin; j < begin + length; ++j) {
      for (std::size_t k = 0; k < after; ++k) y.push_back(x[(i * dim + j) * after + k]);
    }
  }
  return y;
}

TEST(Slice, MatchesDoubleAndItsCentralDifferences) {
  const Shape shape{3, 5, 4};
  for (int dim = 0; dim < 3; ++dim) {
    for (const int64_t length : {int64_t{0}, int64_t{2}, shape[dim] - 1}) {
      check([&](const auto& v) { return slice(v[0], dim, 1, length); },
            [&](const auto& in) {
              return sliced(in[0], static_cast<std::size_t>(shape.product(0, dim)),
                            static_cast<std::size_t>(shape[dim]), 1, static_cast<std::size_t>(length));
            },
            {{shape}});
    }
  }
}

TEST(Concatenate, MatchesDoubleAndItsCentralDifferences) {
  for (int dim = 0; dim < 3; ++dim) {
    std::vector<CheckedInput> specs;
    for (const int64_t length : {2, 1, 0, 3}) specs.push_back({Shape{2, 3, 5}.with(dim, length)});
    check([&](const auto& v) { return concatenate(v, dim); },
          [&](const auto& in) {
            const auto before = static_cast<std::size_t>(Shape{2, 3, 5}.product(0, dim));
            Rows y;
            for (std::size_t i = 0; i < before; ++i) {
              for (const Rows& x : in) {
                const auto run = static_cast<std::ptrdiff_t>(x.size() / before);
                const auto begin = x.begin() + static_cast<std::ptrdiff_t>(i) * run;
                y.insert(y.end(), begin, begin + run);
              }
            }
            return y;
          },
          specs);
  }
}

TEST(Reshape, KeepsTheOrder) {
  for (const Shape& shape : {Shape{6, 4}, Shape{2, 12}, Shape{24}, Shape{4, 3, 2}, Shape{1, 2, 3, 2, 2, 1}}) {
    check([&](const auto& v) { return reshape(v[0], shape); }, [](const auto& in) { return in[0]; },
          {{Shape{2, 3, 4}}});
  }
}

TEST(Transpose, MatchesDoubleAndItsCentralDifferences) {
  // y [c, a, b] of x [a, b, c], whose inverse is another permutation.
  check(
      [](const auto& v) {
        return transpose(v[0], {2, 0, 1});
      },
      [](const auto& in) {
        Rows y;
        for (std::size_t c = 0; c < 5; ++c) {
          for (std::size_t ab = 0; ab < 6; ++ab) y.push_back(in[0][ab * 5 + c]);
        }
        return y;
      },
      {{Shape{2, 3, 5}}});
  check(
      [](const auto& v) {
        return transpose(v[0], {0, 2, 1, 3});
      },
      [](const auto& in) {
        Rows y;
        for (std::size_t i = 0; i < in[0].size(); ++i) {
          const std::size_t d = i % 2, b = i / 2 % 3, c = i / 6 % 5, a = i / 30;
          y.push_back(in[0][((a * 3 + b) * 5 + c) * 2 + d]);
        }
        return y;
      },
      {{Shape{2, 3, 5, 2}}});
}

TEST(Broadcast, RepeatsInFront) {
  OneRank rank;
  for (const CheckedInput& x : {CheckedInput{Shape{2, 5}}, CheckedInput{Shape{7}, true}, CheckedInput{Shape{}}}) {
    check([&](const auto& v) { return broadcast(v[0], 3, Layout(), rank.mesh); },
          [](const auto& in) {
            Rows y;
            for (int i = 0; i < 3; ++i) y.insert(y.end(), in[0].begin(), in[0].end());
            return y;
          },
          {x});
  }
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

TEST(Gather, TakesTokensAndZerosForNegativeOnes) {
  OneRank rank;
  const Index index{2, 0, 2, -1, 1, 1, 1, 0};
  const Variable numbers = index_of(rank.device, Shape{2, 4}, index);
  check([&](const auto& v) { return gather(v[0], numbers); },
        [&](const auto& in) {
          Rows y;
          for (std::size_t i = 0; i < index.size(); ++i) {
            for (std::size_t h = 0; h < 5; ++h) {
              y.push_back(index[i] < 0 ? 0 : in[0][(i / 4 * 3 + static_cast<std::size_t>(index[i])) * 5 + h]);
            }
          }
          return y;
        },
        {{Shape{2, 3, 5}}});
}

TEST(Pick, TakesAnElementOfEveryRow) {
  OneRank rank;
  const Index index{6, 0, 3, -1, 2, 2};
  const Variable numbers = index_of(rank.device, Shape{2, 3}, index);
  check([&](const auto& v) { return pick(v[0], numbers); },
        [&](const auto& in) {
          Rows y;
          for (std::size_t r = 0; r < index.size(); ++r) {
            y.push_back(index[r] < 0 ? 0 : in[0][r * 7 + static_cast<std::size_t>(index[r])]);
          }
          return y;
        },
        {{Shape{2, 3, 7}}});
}

TEST(Rotary, MatchesDoubleAndItsCentralDifferences) {
  OneRank rank;
  constexpr std::size_t kPositions = 3, kDim = 4, kHeads = 2;
  std::vector<float> table;
  std::vector<double> angles;
  for (std::size_t s = 0; s < kPositions; ++s) {
    for (const double i : {0.0, 1.0}) angles.push_back(static_cast<double>(s) / (1 + 2 * i));
    for (const std::size_t i : {0, 1}) table.push_back(static_cast<float>(std::cos(angles[2 * s + i])));
    for (const std::size_t i : {0, 1}) table.push_back(static_cast<float>(std::sin(angles[2 * s + i])));
  }
  const Tensor of_positions = Tensor::from<float>(rank.device, Shape{kPositions, kDim}, table);
  check([&](const auto& v) { return rotary(v[0], of_positions); },
        [&](const auto& in) {
          Rows y = in[0];
          for (std::size_t head = 0; head < in[0].size() / kDim; ++head) {
            for (std::size_t i = 0; i < kDim / 2; ++i) {
              const double t = angles[head / kHeads % kPositions * 2 + i];
              const double a = in[0][head * kDim + i], b = in[0][head * kDim + 2 + i];
              y[head * kDim + i] = a * std::cos(t) - b * std::sin(t);
              y[head * kDim + 2 + i] = b * std::cos(t) + a * std::sin(t);
            }
          }
          return y;
        },
        {{Shape{2, 3, 8}}});
  const auto zeros = [&](const Shape& shape) {
    return Variable::constant(Tensor::zeros(rank.device, DType::kFloat32, shape), shape, Layout());
  };
  EXPECT_THROW(rotary(zeros(Shape{2, 4, 8}), of_positions), InternalError) << "a position without angles";
  EXPECT_THROW(rotary(zeros(Shape{2, 3, 6}), of_positions), InternalError) << "half a head";
}

TEST(RepeatHeads, MatchesDoubleAndItsCentralDifferences) {
  check([](const auto& v) { return repeat_heads(v[0], 3, 2); },
        [](const auto& in) {
          Rows y;
          for (std::size_t head = 0; head < in[0].size() / 2; ++head) {
            for (int copy = 0; copy < 3; ++copy) y.insert(y.end(), {in[0][2 * head], in[0][2 * head + 1]});
          }
          return y;
        },
        {{Shape{2, 3, 2, 4}}});
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
