#include "tensor/field.h"

#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

TEST(FieldSpecTest, CountsTheBytesOfASample) {
  EXPECT_EQ((FieldSpec{"pixels", DType::kUInt8, {5, 7, 3}}).row_bytes(), 105);
  EXPECT_EQ((FieldSpec{"tokens", DType::kInt32, {13}}).row_bytes(), 52);
  const FieldSpec label{"label", DType::kInt64, {}};
  EXPECT_EQ(label.row_bytes(), 8) << "a scalar";
  EXPECT_EQ(label.batch_shape(6), (Shape{6}));
  EXPECT_EQ((FieldSpec{"boxes", DType::kFloat32, {2, 4}}).batch_shape(0), (Shape{0, 2, 4}));
  EXPECT_NE(label, (FieldSpec{"label", DType::kInt32, {}}));
  EXPECT_NE(label, (FieldSpec{"label", DType::kInt64, {1}}));
}

class FieldsTest : public ::testing::Test {
 protected:
  Tensor counting(const Shape& shape) {
    std::vector<int32_t> values(static_cast<std::size_t>(shape.num_elements()));
    std::iota(values.begin(), values.end(), 0);
    return Tensor::from<int32_t>(device_, shape, values);
  }
  Device device_{1};
};

TEST_F(FieldsTest, CutsIntoMicrobatchesThatShareTheMemory) {
  Fields batch(6);
  batch.set("tokens", counting(Shape{6, 5}));
  batch.set("lengths", counting(Shape{6}));
  const std::vector<Fields> pieces = batch.cut(3);
  ASSERT_EQ(pieces.size(), 3u);
  for (int64_t m = 0; m < 3; ++m) {
    const Fields& piece = pieces[static_cast<std::size_t>(m)];
    EXPECT_EQ(piece.num_samples(), 2);
    const auto first = static_cast<int32_t>(2 * m);
    EXPECT_EQ(piece["lengths"].to_vector<int32_t>(), (std::vector<int32_t>{first, first + 1}));
    EXPECT_EQ(piece["tokens"].shape(), (Shape{2, 5}));
    EXPECT_EQ(piece["tokens"].data<int32_t>(), batch["tokens"].data<int32_t>() + 10 * m);
  }
  EXPECT_EQ(batch.cut(1)[0]["tokens"].shape(), (Shape{6, 5}));
  EXPECT_THROW(batch.cut(4), InternalError);
  EXPECT_EQ(Fields(6).cut(2)[1].num_samples(), 3) << "a stage that reads no field still has samples";
}

TEST_F(FieldsTest, NamesTheFieldThatIsMissing) {
  Fields batch(2);
  batch.set("tokens", counting(Shape{2, 3}));
  batch.set("label", counting(Shape{2}));
  EXPECT_TRUE(batch.contains("label"));
  EXPECT_FALSE(batch.contains("pixels"));
  try {
    batch["pixels"];
    FAIL() << "no error";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("pixels"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("label, tokens"), std::string::npos) << error.what();
  }
}

TEST_F(FieldsTest, TakesNoOtherNumberOfSamples) {
  Fields batch(2);
  EXPECT_THROW(batch.set("tokens", counting(Shape{3, 2})), InternalError);
  EXPECT_THROW(batch.set("tokens", Tensor()), InternalError);
  batch.set("tokens", counting(Shape{2, 2}));
  batch.set("tokens", counting(Shape{2, 9}));
  EXPECT_EQ(batch["tokens"].size(1), 9) << "the later one";
}

}  // namespace
}  // namespace triptych::test
