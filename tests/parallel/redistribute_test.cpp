#include "parallel/redistribute.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "parallel/piecewise_redistribution.h"

namespace triptych::test {
namespace {

// The whole tensor, the same on every rank: element i is i + 1.
Tensor whole_tensor(Device& device, const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(shape.num_elements()));
  std::iota(values.begin(), values.end(), 1.0f);
  return Tensor::from<float>(device, shape, values);
}

// What a rank holds of it under a placement; a Partial is split into summands that differ by rank.
Tensor piece_of(const Tensor& whole, Placement placement, int size, int rank) {
  if (placement.is_shard()) {
    const Range range = shard_range(whole.size(placement.dim), size, rank);
    return whole.slice(placement.dim, range.begin, range.length).contiguous();
  }
  Tensor piece = whole.clone();
  if (placement.is_partial()) {
    float* x = piece.data<float>();
    const float share = rank + 1 == size ? 1.0f - static_cast<float>(size - 1) * 0.25f : 0.25f;
    for (int64_t i = 0; i < piece.num_elements(); ++i) x[i] *= share;
  }
  return piece;
}

struct Case {
  int size;
  Shape shape;
};

class Redistribute : public ::testing::TestWithParam<Case> {};

TEST_P(Redistribute, EveryChangeOfTheTableGivesThePieceOfTheSameTensor) {
  const auto& [size, shape] = GetParam();
  std::vector<Placement> placements{Placement::replicate(), Placement::partial()};
  for (int dim = 0; dim < shape.rank(); ++dim) placements.push_back(Placement::shard(dim));
  for (const Axis axis : {Axis::kDp, Axis::kTp}) {
    for (const Placement from : placements) {
      for (const Placement to : placements) {
        if (to.is_partial() && !from.is_partial()) continue;
        run_ranks(size, [&, s = shape, n = size](Group& world) {
          Device device(1);
          Mesh mesh(world, axis == Axis::kDp ? MeshShape{.dp = n} : MeshShape{.tp = n}, device);
          const Layout before = on_mesh(Layout().with(axis, from), mesh),
                       after = on_mesh(Layout().with(axis, to), mesh);
          const Tensor whole = whole_tensor(device, s);
          const Tensor piece = n == 1 ? whole : piece_of(whole, from, n, world.rank());
          const Tensor result = redistribute(piece, s, before, after, mesh);
          const Tensor expected = n == 1 ? whole : piece_of(whole, to, n, world.rank());
          EXPECT_EQ(result.shape(), expected.shape());
          EXPECT_EQ(result.to_vector<float>(), expected.to_vector<float>())
              << from.to_string() << " to " << to.to_string() << " rank " << world.rank() << "/" << n;
        });
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Redistribute,
                         ::testing::Values(Case{1, Shape{3, 4}}, Case{2, Shape{4, 6}}, Case{2, Shape{5, 3, 7}},
                                           Case{3, Shape{7, 2, 5}}, Case{4, Shape{5, 9}}, Case{4, Shape{1, 3}}));

TEST(Redistribute, SumsOfBfloat16AreTakenInFloat32AndRoundedOnce) {
  run_ranks(3, [](Group& world) {
    Device device(1);
    Mesh mesh(world, MeshShape{.tp = 3}, device);
    // 256 + 1 + 1: each single sum in bfloat16 (8 bits) would round back to 256.
    const std::vector<BFloat16> value{BFloat16(world.rank() == 0 ? 256.0f : 1.0f)};
    const Tensor piece = Tensor::from<BFloat16>(device, Shape{1}, value);
    const Tensor sum = redistribute(piece, Shape{1}, Layout().with(Axis::kTp, Placement::partial()), Layout(), mesh);
    EXPECT_EQ(static_cast<float>(sum.item<BFloat16>()), 258.0f);
  });
}

// Of pieces that come out even and ragged, whole or as a slice: the sum in float32 of what the ranks have, in their
// order, rounded once; and no rank starts an operation on more than two bytes an element.
TEST(Redistribute, Bfloat16TravelsAsItIs) {
  for (const int size : {2, 3, 4}) {
    for (const Shape& shape : {Shape{12}, Shape{7}, Shape{5, 8}, Shape{1, 3}}) {
      run_ranks(size, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, MeshShape{.tp = size}, device);
        const auto value = [](int rank, int64_t i) {
          return BFloat16(static_cast<float>((i * 37 + rank * 101) % 211 - 100) / 64.0f);
        };
        std::vector<BFloat16> mine, sums;
        for (int64_t i = 0; i < shape.num_elements(); ++i) {
          mine.push_back(value(world.rank(), i));
          float sum = 0;
          for (int rank = 0; rank < size; ++rank) sum += static_cast<float>(value(rank, i));
          sums.emplace_back(sum);
        }
        const Layout partial = Layout().with(Axis::kTp, Placement::partial());
        const Tensor piece = Tensor::from<BFloat16>(device, shape, mine);
        const Tensor expected = Tensor::from<BFloat16>(device, shape, sums);
        Trace trace;
        trace.start();
        mesh.set_trace(&trace);
        const auto check = [&](const Layout& to) {
          const Tensor found = redistribute(piece, shape, partial, to, mesh);
          const Tensor wanted = redistribute(expected, shape, Layout(), to, mesh);
          const auto a = found.to_vector<BFloat16>(), b = wanted.to_vector<BFloat16>();
          ASSERT_EQ(a.size(), b.size());
          for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(static_cast<float>(a[i]), static_cast<float>(b[i])) << i;
        };
        check(Layout());
        for (int dim = 0; dim < shape.rank(); ++dim) check(Layout().with(Axis::kTp, Placement::shard(dim)));
        mesh.set_trace(nullptr);
        ASSERT_FALSE(trace.spans().empty());
        for (const Trace::Span& span : trace.spans()) {
          if (span.track == Trace::Track::kInFlight) {
            EXPECT_NE(span.name.find("bfloat16"), std::string::npos);
          }
        }
      });
    }
  }
}

// Negative numbers, so that a sum, or a padding of zeros, would be another's; the largest are on no one rank.
TEST(Redistribute, AMaximumIsTakenOverTheRanks) {
  const Layout maximum = Layout().with(Axis::kTp, Placement::partial(ReduceOp::kMax));
  for (const int size : {1, 2, 3}) {
    run_ranks(size, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, MeshShape{.tp = world.size()}, device);
      const auto value = [](int rank, int i) { return static_cast<float>(-1 - (i * 5 + rank * 3) % 7); };
      const Shape shape{5};
      std::vector<float> mine, expected;
      for (int i = 0; i < 5; ++i) {
        mine.push_back(value(world.rank(), i));
        expected.push_back(mine.back());
        for (int rank = 0; rank < world.size(); ++rank) expected.back() = std::max(expected.back(), value(rank, i));
      }
      const Tensor piece = Tensor::from<float>(device, shape, mine);
      EXPECT_EQ(redistribute(piece, shape, on_mesh(maximum, mesh), Layout(), mesh).to_vector<float>(), expected);
      EXPECT_EQ(piece.to_vector<float>(), mine) << "the piece itself stays";
      const std::vector<BFloat16> halves(mine.begin(), mine.end());
      const Tensor of_halves =
          redistribute(Tensor::from<BFloat16>(device, shape, halves), shape, on_mesh(maximum, mesh), Layout(), mesh);
      for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(static_cast<float>(of_halves.to_vector<BFloat16>()[i]), expected[i]);
      }
      const Layout by_rows = on_mesh(Layout().with(Axis::kTp, Placement::shard(0)), mesh);
      const Range range = shard_range(5, world.size(), world.rank());
      EXPECT_EQ(redistribute(piece, shape, on_mesh(maximum, mesh), by_rows, mesh).to_vector<float>(),
                std::vector<float>(expected.begin() + range.begin, expected.begin() + range.begin + range.length));
    });
  }
}

TEST(Redistribute, SumsAndMaximaAreNotEachOther) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, MeshShape{.tp = 2}, device);
    const Tensor whole = whole_tensor(device, Shape{2});
    const auto tp = [](Placement placement) { return Layout().with(Axis::kTp, placement); };
    const Placement sum = Placement::partial(), maximum = Placement::partial(ReduceOp::kMax);
    EXPECT_THROW(redistribute(whole, Shape{2}, tp(sum), tp(maximum), mesh), LayoutError);
    EXPECT_THROW(redistribute(whole, Shape{2}, tp(maximum), tp(sum), mesh), LayoutError);
    EXPECT_THROW(redistribute(whole, Shape{2}, Layout(), tp(maximum), mesh), LayoutError);
    EXPECT_EQ(tp(sum).to_string(), "tp: Partial");
    EXPECT_EQ(tp(maximum).to_string(), "tp: Partial(max)");
    EXPECT_EQ(tp(sum).of_gradient(), Layout());
    EXPECT_THROW(tp(maximum).of_gradient(), LayoutError);
  });
}

TEST(Redistribute, NothingBecomesPartialAndTheErrorNamesTheAxis) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, MeshShape{.tp = 2}, device);
    const Tensor whole = whole_tensor(device, Shape{2});
    try {
      redistribute(whole, Shape{2}, Layout(), Layout().with(Axis::kTp, Placement::partial()), mesh);
      FAIL() << "no error";
    } catch (const LayoutError& error) {
      EXPECT_NE(std::string(error.what()).find("[tp]"), std::string::npos) << error.what();
    }
  });
}

TEST(Redistribute, AResultThatNobodyReadsIsStillCompleted) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, MeshShape{.tp = 2}, device);
    for (int i = 0; i < 20; ++i) {
      redistribute(whole_tensor(device, Shape{64}), Shape{64}, Layout().with(Axis::kTp, Placement::partial()), Layout(),
                   mesh);
    }
    EXPECT_EQ(device.memory().used_bytes, 0u);
  });
}

// As where a kernel of a later piece finds no memory.
TEST(Redistribute, PiecesThatNobodyFinishesAreStillCompleted) {
  run_ranks(3, [](Group& world) {
    Device device(1);
    Mesh mesh(world, MeshShape{.tp = 3}, device);
    const Layout partial = Layout().with(Axis::kTp, Placement::partial());
    const Shape shape{6, 4};
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const Tensor summands = Tensor::zeros(device, dtype, shape);
      const Tensor whole = Tensor::empty(device, dtype, shape);
      PiecewiseRedistribution way(shape, partial, Layout(), mesh, 3);
      ASSERT_EQ(way.size(), 3);
      for (int p = 0; p < 2; ++p) way.start(p, summands.slice(0, way.range(p).begin, way.range(p).length), whole);
    }
    EXPECT_EQ(device.memory().used_bytes, 0u);
    const Tensor sum = redistribute(whole_tensor(device, shape), shape, partial, Layout(), mesh);
    EXPECT_EQ(sum.to_vector<float>()[1], 3 * whole_tensor(device, shape).to_vector<float>()[1]);
  });
}

TEST(ShardRange, PiecesCoverTheDimInOrder) {
  for (const int64_t total : {0, 1, 5, 8, 13}) {
    for (const int size : {1, 2, 3, 7}) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Range range = shard_range(total, size, rank);
        EXPECT_EQ(range.begin, next);
        next += range.length;
      }
      EXPECT_EQ(next, total);
    }
  }
}

}  // namespace
}  // namespace triptych::test
