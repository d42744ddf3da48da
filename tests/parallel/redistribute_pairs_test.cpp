#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "parallel/piecewise_redistribution.h"
#include "parallel/redistribute.h"
#include "support/layout_cases.h"
#include "support/sanitizer.h"

namespace triptych::test {
namespace {

const std::vector<ReduceOp> kBothReductions{ReduceOp::kSum, ReduceOp::kMax};

bool has_sums_and_maxima(const Layout& layout) {
  bool sums = false, maxima = false;
  for (const Axis axis : layout.partial_axes()) (layout[axis].reduce == ReduceOp::kSum ? sums : maxima) = true;
  return sums && maxima;
}

// True if redistribute must refuse the change.
bool is_refused(const Layout& from, const Layout& to) {
  if (from == to) return false;
  for (const Axis axis : to.partial_axes()) {
    if (from[axis] != to[axis]) return true;
  }
  return has_sums_and_maxima(from);
}

struct Pair {
  Layout from, to;
};

// The same by ranges of the first dim; from where the tensor lies, if that can be.
Tensor in_pieces(const Tensor& piece, const Shape& shape, const Layout& from, const Layout& to, Mesh& mesh,
                 int64_t num_pieces) {
  Tensor whole = Tensor::empty(piece.device(), piece.dtype(), local_shape(shape, to, mesh));
  const bool in_place = whole.shape() == piece.shape() && num_pieces % 2 == 0;
  if (in_place) whole.copy_from(piece);
  PiecewiseRedistribution way(shape, from, to, mesh, num_pieces);
  for (int p = 0; p < way.size(); ++p) {
    const Range range = way.range(p);
    way.start(p, (in_place ? whole : piece).slice(0, range.begin, range.length), whole);
  }
  way.finish();
  return whole;
}

// Every rank's result of every pair against what it holds by definition.
template <typename T>
void check_pairs(const MeshShape& mesh_shape, const Shape& shape, const std::vector<Pair>& pairs) {
  run_ranks(mesh_shape.dp * mesh_shape.cp * mesh_shape.tp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, mesh_shape, device);
    const MeshCoordinate at = mesh.coordinate();
    int num_failures = 0;
    for (std::size_t i = 0; i < pairs.size() && num_failures < 3; ++i) {
      const auto& [from, to] = pairs[i];
      const GlobalTensor global(shape, i);
      const Tensor piece =
          Tensor::from<T>(device, local_shape(shape, from, mesh), global.piece<T>(from, from, mesh_shape, at));
      if (is_refused(from, to)) {
        EXPECT_THROW(redistribute(piece, shape, from, to, mesh), LayoutError)
            << from.to_string() << " to " << to.to_string();
        continue;
      }
      const Tensor result = redistribute(piece, shape, from, to, mesh);
      const std::vector<T> found = result.to_vector<T>(), expected = global.piece<T>(to, from, mesh_shape, at);
      EXPECT_EQ(result.shape(), local_shape(shape, to, mesh));
      EXPECT_EQ(in_pieces(piece, shape, from, to, mesh, static_cast<int64_t>(i % 4) + 1).to_vector<T>(), expected)
          << from.to_string() << " to " << to.to_string() << " in pieces, rank " << world.rank();
      if (found == expected) continue;
      ++num_failures;
      ADD_FAILURE() << from.to_string() << " to " << to.to_string() << ", rank " << world.rank() << ": "
                    << ::testing::PrintToString(found) << " instead of " << ::testing::PrintToString(expected);
    }
  });
}

std::vector<Pair> all_pairs(AxisSet axes, int num_dims) {
  const std::vector<Layout> layouts = all_layouts(axes, num_dims, kBothReductions);
  std::vector<Pair> pairs;
  for (const Layout& from : layouts) {
    for (const Layout& to : layouts) pairs.push_back({from, to});
  }
  return pairs;
}

TEST(RedistributePairs, OfTwoAxesAllGiveThePieceOfTheSameTensor) {
  const AxisSet dp_tp{Axis::kDp, Axis::kTp};
  check_pairs<double>({.dp = 2, .tp = 2}, Shape{5, 3}, all_pairs(dp_tp, 2));
  check_pairs<float>({.dp = 2, .tp = 3}, Shape{7, 4}, all_pairs(dp_tp, 2));
  check_pairs<float>({.dp = 3, .tp = 2}, Shape{1, 5}, all_pairs(dp_tp, 2));  // pieces of no element
  check_pairs<float>({.dp = 2, .tp = 2}, Shape{3, 1, 4}, all_pairs(dp_tp, 3));
  check_pairs<float>({.dp = 2, .tp = 2}, Shape{0, 3}, all_pairs(dp_tp, 2));
}

TEST(RedistributePairs, OfThreeAxesGiveThePieceOfTheSameTensor) {
  const AxisSet all{Axis::kDp, Axis::kCp, Axis::kTp};
  // Of 159 layouts, each meets others from all over the list, also in steps of 7.
  const std::vector<Pair> of_two_dims = all_pairs(all, 2);
  ASSERT_EQ(of_two_dims.size(), 159u * 159u);
  check_pairs<float>({.dp = 2, .cp = 2, .tp = 2}, Shape{11, 3}, fewer_if_sanitized(of_two_dims, 7));
  // Of the 276^2 pairs of a tensor of three dims every 19th: each layout meets others from all over the list.
  const std::vector<Pair> pairs = all_pairs(all, 3);
  ASSERT_EQ(pairs.size(), 276u * 276u);
  std::vector<Pair> some;
  for (std::size_t i = 0; i < pairs.size(); i += 19) some.push_back(pairs[i]);
  check_pairs<double>({.dp = 2, .cp = 2, .tp = 2}, Shape{3, 5, 2}, fewer_if_sanitized(some, 7));
}

TEST(RedistributePairs, SumsOfBfloat16OverTwoAxesAreRoundedOnce) {
  run_ranks(4, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2, .tp = 2}, device);
    // In bfloat16 (8 bits) the sum of 256 and 1 over tp would round back to 256, and so would adding the other 1 over
    // dp.
    constexpr std::array<float, 4> kByRank{256, 1, 1, 0};
    const std::vector<BFloat16> value{BFloat16(kByRank[static_cast<std::size_t>(world.rank())])};
    const Tensor piece = Tensor::from<BFloat16>(device, Shape{1}, value);
    const Placement partial = Placement::partial();
    const Layout both = Layout().with(Axis::kDp, partial).with(Axis::kTp, partial);
    EXPECT_EQ(static_cast<float>(redistribute(piece, Shape{1}, both, Layout(), mesh).item<BFloat16>()), 258.0f);
  });
}

TEST(RedistributePairs, LevelsThatLeaveOneOutAreRefused) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.tp = 2}, device);
    const Tensor whole = Tensor::zeros(device, DType::kFloat32, Shape{4});
    EXPECT_THROW(redistribute(whole, Shape{4}, {}, Layout().with(Axis::kTp, Placement::shard(0, 1)), mesh),
                 LayoutError);
  });
}

}  // namespace
}  // namespace triptych::test
