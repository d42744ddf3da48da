#include "tensor/tensor.h"

#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

using Values = std::vector<int32_t>;

class TensorTest : public ::testing::Test {
 protected:
  // 0, 1, 2, ... in row-major order.
  Tensor counting(const Shape& shape) {
    Values values(static_cast<std::size_t>(shape.num_elements()));
    std::iota(values.begin(), values.end(), 0);
    return Tensor::from<int32_t>(device_, shape, values);
  }
  Device device_{1};
};

TEST(ShapeTest, CountsItsElements) {
  EXPECT_EQ(Shape().num_elements(), 1) << "a scalar";
  EXPECT_EQ((Shape{3, 0, 5}).num_elements(), 0);
  EXPECT_EQ((Shape{2, 3, 5}).product(1, 3), 15);
  EXPECT_EQ((Shape{2, 3}).with(1, 7), (Shape{2, 7}));
  EXPECT_FALSE((Shape{2, 3}) == (Shape{2, 3, 1}));
  EXPECT_EQ((Shape{2, 3}).to_string(), "[2, 3]");
  EXPECT_THROW((Shape{2, 3})[2], InternalError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1}), InternalError);
}

TEST_F(TensorTest, SliceOfSliceSharesMemoryAndKeepsOrder) {
  const Tensor whole = counting(Shape{4, 5, 3});
  const Tensor middle = whole.slice(1, 1, 3).slice(0, 2, 2);
  EXPECT_EQ(middle.shape(), (Shape{2, 3, 3}));
  EXPECT_FALSE(middle.is_contiguous());
  Values expected;
  for (int i = 2; i < 4; ++i) {
    for (int j = 1; j < 4; ++j) {
      for (int k = 0; k < 3; ++k) expected.push_back((i * 5 + j) * 3 + k);
    }
  }
  EXPECT_EQ(middle.to_vector<int32_t>(), expected);
  whole.data<int32_t>()[(2 * 5 + 1) * 3] = -7;
  EXPECT_EQ(middle.data<int32_t>()[0], -7) << "a slice is no copy";
  EXPECT_EQ(middle.stride(0), 15);
}

TEST_F(TensorTest, SliceOfTheLastDimIsGatheredElementByElement) {
  const Tensor whole = counting(Shape{3, 4});
  EXPECT_EQ(whole.slice(1, 2, 1).to_vector<int32_t>(), (Values{2, 6, 10}));
  EXPECT_EQ(whole.slice(1, 1, 2).to_vector<int32_t>(), (Values{1, 2, 5, 6, 9, 10}));
  EXPECT_EQ(whole.slice(1, 4, 0).to_vector<int32_t>(), Values{});
}

TEST_F(TensorTest, LeadingSlicesAndThoseOfOneRowAreContiguous) {
  const Tensor whole = counting(Shape{3, 4});
  EXPECT_TRUE(whole.slice(0, 1, 2).is_contiguous());
  EXPECT_TRUE(whole.slice(0, 1, 1).slice(1, 2, 2).is_contiguous()) << "the outer stride of one row is never used";
  EXPECT_FALSE(whole.slice(1, 0, 3).is_contiguous());
  EXPECT_TRUE(whole.slice(1, 0, 0).is_contiguous()) << "nothing to jump over";
}

TEST_F(TensorTest, SlicesOutsideAreRefused) {
  const Tensor whole = counting(Shape{3, 4});
  EXPECT_THROW(whole.slice(1, 2, 3), InternalError);
  EXPECT_THROW(whole.slice(0, -1, 1), InternalError);
  EXPECT_THROW(whole.slice(0, 1, -1), InternalError);
  EXPECT_THROW(whole.slice(2, 0, 1), InternalError);
}

TEST_F(TensorTest, ViewOfAContiguousSliceStartsAtItsFirstElement) {
  const Tensor view = counting(Shape{4, 6}).slice(0, 1, 2).view(Shape{3, 4});
  EXPECT_EQ(view.slice(0, 1, 1).to_vector<int32_t>(), (Values{10, 11, 12, 13}));
  EXPECT_THROW(view.slice(1, 0, 2).view(Shape{6}), InternalError) << "strided";
  EXPECT_THROW(view.view(Shape{5, 2}), InternalError) << "another number of elements";
}

TEST_F(TensorTest, ContiguousCopiesOnlyWhatIsStrided) {
  const Tensor whole = counting(Shape{3, 4});
  EXPECT_EQ(whole.contiguous().raw(), whole.raw());
  const Tensor columns = whole.slice(1, 1, 2);
  const Tensor packed = columns.contiguous();
  EXPECT_NE(packed.raw(), columns.raw());
  EXPECT_TRUE(packed.is_contiguous());
  EXPECT_EQ(packed.to_vector<int32_t>(), columns.to_vector<int32_t>());
  EXPECT_NE(whole.clone().raw(), whole.raw());
}

TEST_F(TensorTest, CopyBetweenStridedViewsTouchesNothingElse) {
  const Tensor source = counting(Shape{3, 4});
  const Tensor target = Tensor::zeros(device_, DType::kInt32, Shape{4, 5});
  target.slice(0, 1, 3).slice(1, 0, 2).copy_from(source.slice(1, 2, 2));
  EXPECT_EQ(target.to_vector<int32_t>(), (Values{0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 6, 7, 0, 0, 0, 10, 11, 0, 0, 0}));
  EXPECT_THROW(target.slice(0, 0, 2).copy_from(source), InternalError);
  EXPECT_THROW(Tensor::zeros(device_, DType::kFloat32, Shape{3, 4}).copy_from(source), InternalError);
}

TEST_F(TensorTest, ReadsOfAnotherTypeAreRefused) {
  const Tensor t = counting(Shape{2});
  EXPECT_THROW(t.data<float>(), InternalError);
  EXPECT_THROW(t.item<int32_t>(), InternalError);
  EXPECT_EQ(t.slice(0, 1, 1).item<int32_t>(), 1);
}

TEST_F(TensorTest, SoleOwnerUntilSharedAndAgainAfter) {
  const Tensor t = counting(Shape{4});
  EXPECT_TRUE(t.is_sole_owner());
  {
    const Tensor view = t.slice(0, 1, 2);
    EXPECT_FALSE(t.is_sole_owner());
  }
  EXPECT_TRUE(t.is_sole_owner());
}

TEST_F(TensorTest, PendingCompletesOnceBeforeTheFirstReadOfAnyView) {
  Tensor t = Tensor::zeros(device_, DType::kInt32, Shape{2, 3});
  int completed = 0;
  t.set_pending([&completed, to = t.data<int32_t>()] {
    ++completed;
    for (int i = 0; i < 6; ++i) to[i] = 10 + i;
  });
  EXPECT_THROW(t.set_pending([] {}), InternalError) << "one operation at a time";
  const Tensor row = t.slice(0, 1, 1).view(Shape{3});
  EXPECT_EQ(row.shape(), Shape{3});
  EXPECT_TRUE(t.is_contiguous());
  EXPECT_EQ(completed, 0) << "shapes and views do not wait";
  EXPECT_EQ(row.to_vector<int32_t>(), (Values{13, 14, 15}));
  EXPECT_EQ(completed, 1);
  EXPECT_EQ(t.to_vector<int32_t>()[0], 10);
  t.wait();
  EXPECT_EQ(completed, 1);
}

TEST_F(TensorTest, PendingMayReadItsOwnTensorsMemoryThroughOthers) {
  Tensor t = Tensor::zeros(device_, DType::kInt32, Shape{2});
  Tensor other = counting(Shape{2});
  int completed = 0;
  other.set_pending([&completed, to = other.data<int32_t>()] { to[completed++] = 5; });
  t.set_pending([other, to = t.data<int32_t>()] { to[1] = other.data<int32_t>()[0]; });
  EXPECT_EQ(t.to_vector<int32_t>(), (Values{0, 5}));
  EXPECT_EQ(completed, 1);
}

TEST_F(TensorTest, PendingCompletesBeforeItsMemoryIsGivenBack) {
  int completed = 0;
  {
    Tensor t = Tensor::zeros(device_, DType::kInt32, Shape{3});
    t.set_pending([&completed, to = t.data<int32_t>()] { to[0] = ++completed; });
    Tensor view = t.slice(0, 1, 2);
    t = Tensor();
    EXPECT_EQ(completed, 0) << "a view keeps the memory";
  }
  EXPECT_EQ(completed, 1);
  EXPECT_EQ(device_.memory().used_bytes, 0u);
}

TEST_F(TensorTest, AFailureReachesTheReaderButNotADestructor) {
  {
    Tensor t = Tensor::zeros(device_, DType::kInt32, Shape{3});
    t.set_pending([] { throw WorldError("group", "a peer is gone"); });
    EXPECT_THROW(t.raw(), WorldError);
    t.set_pending([] { throw WorldError("group", "a peer is gone"); });
  }
  EXPECT_EQ(device_.memory().used_bytes, 0u);
}

TEST_F(TensorTest, OfNoElements) {
  const Tensor t = Tensor::zeros(device_, DType::kFloat32, Shape{0, 3});
  EXPECT_TRUE(t.is_contiguous());
  EXPECT_EQ(t.num_bytes(), 0u);
  EXPECT_EQ(t.clone().to_vector<float>(), std::vector<float>{});
  EXPECT_THROW(Tensor::empty(device_, DType::kFloat32, Shape{-1, 3}), InternalError);
}

}  // namespace
}  // namespace triptych::test
