#include "ops/take_rows.h"

#include <vector>

#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

TEST(TakeRows, MatchesDoubleAndItsCentralDifferences) {
  OneRank rank;
  const std::vector<int32_t> sources{2, 0, 2, 3, 2};
  const Tensor numbers = Tensor::from<int32_t>(rank.device, Shape{5}, sources);
  check_gradients([&](const auto& v) { return take_rows(v[0], numbers); },
                  [&](const auto& x) {
                    std::vector<double> y;
                    for (const int32_t source : sources) {
                      for (int i = 0; i < 6; ++i) y.push_back(x[0][static_cast<std::size_t>(source * 6 + i)]);
                    }
                    return y;
                  },
                  {{Shape{5, 2, 3}}});
}

// A rank's rows are its own: numbers count from its first, and nothing moves between ranks.
TEST(TakeRows, TakesRowsOfTheSameRank) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Layout rows = Layout().with(Axis::kDp, Placement::shard(0));
    const auto rank = static_cast<float>(mesh.rank(Axis::kDp));
    const Tensor mine = Tensor::from<float>(device, Shape{2, 1}, std::vector<float>{10 * rank, 10 * rank + 1});
    const Variable x = Variable::leaf(mine, Shape{4, 1}, rows);
    const Variable y = take_rows(x, Tensor::from<int32_t>(device, Shape{2}, std::vector<int32_t>{1, 1}));
    EXPECT_EQ(y.layout(), rows);
    EXPECT_EQ(y.global_shape(), (Shape{4, 1}));
    EXPECT_EQ(y.tensor().to_vector<float>(), (std::vector<float>{10 * rank + 1, 10 * rank + 1}));
    const Variable partial = Variable::leaf(mine, Shape{2, 1}, Layout().with(Axis::kDp, Placement::partial()));
    EXPECT_THROW(take_rows(partial, Tensor::from<int32_t>(device, Shape{2}, std::vector<int32_t>{0, 1})), LayoutError);
  });
}

TEST(TakeRows, RefusesWhatIsNoRow) {
  OneRank rank;
  const Variable x =
      Variable::leaf(Tensor::from<float>(rank.device, Shape{2, 1}, std::vector<float>{1, 2}), Shape{2, 1}, Layout());
  EXPECT_THROW(take_rows(x, Tensor::from<int32_t>(rank.device, Shape{2}, std::vector<int32_t>{0, 2})), InternalError);
  EXPECT_THROW(take_rows(x, Tensor::from<int32_t>(rank.device, Shape{1}, std::vector<int32_t>{0})), InternalError);
}

}  // namespace
}  // namespace triptych::test
