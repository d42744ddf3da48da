#include <cmath>
#include <vector>

#include "checked_operation.h"
#include "ops/broadcast.h"
#include "ops/concatenate.h"
#include "ops/gather.h"
#include "ops/pick.h"
#include "ops/repeat_heads.h"
#include "ops/reshape.h"
#include "ops/rotary.h"
#include "ops/slice.h"
#include "ops/transpose.h"

namespace triptych::test {
namespace {

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

}  // namespace
}  // namespace triptych::test
