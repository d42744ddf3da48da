#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "nn/positions.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/layer_norm.h"
#include "ops/repeat_heads.h"
#include "ops/rotary.h"
#include "support/one_rank.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

// What models of other libraries are written in, against numbers of the ONNX specification's reference evaluator (onnx
// 1.23.2, opset 23, in double): which halves rotary positions pair, which heads share keys and values, where epsilon
// stands. Inputs are scale * sin(step * i + phase) of the element's number i.

class Published : public ::testing::Test {
 protected:
  Variable wave(const Shape& shape, double step, double phase = 0, double scale = 1) {
    std::vector<float> values;
    for (int64_t i = 0; i < shape.num_elements(); ++i) {
      values.push_back(static_cast<float>(scale * std::sin(step * static_cast<double>(i) + phase)));
    }
    return Variable::constant(Tensor::from<float>(rank.device, shape, values), shape, Layout());
  }
  static void expect(const Variable& found, const std::vector<double>& expected) {
    EXPECT_LT(relative_error(found.tensor().to_vector<float>(), expected), tolerance(DType::kFloat32).local);
  }

  OneRank rank;
};

// RotaryEmbedding, interleaved = 0, with Llama's frequencies: positions 0 to 2 of two heads of four.
TEST_F(Published, RotaryPositions) {
  const Tensor angles = Tensor::from<float>(rank.device, Shape{3, 4}, rotary_angles({.sequence = 3}, 4, 10000));
  expect(
      rotary(wave(Shape{1, 3, 8}, 0.37), angles),
      {0,           0.361615432,    0.674287912,  0.895698686,  0.995880845, 0.961275203,  0.796565472, 0.524044342,
       0.543418319, -0.179278765,   -0.134305169, -0.802499665, 0.230755259, -0.988497777, -1.29274633, -0.679158628,
       -0.1867479,  -0.00677191013, -0.47615675,  0.679305079,  -1.2463516,  0.980428839,  0.417952157, 0.812196873});
}

// RMSNormalization, epsilon 0.01.
TEST_F(Published, RmsNorm) {
  expect(rms_norm(wave(Shape{2, 5}, 0.71, 0.2), wave(Shape{5}, 0.9, 1), 1e-2f),
         {0.249384474, 1.11450626, 0.499117683, -0.573336012, -0.150336965, -0.699418042, -1.33254541, -0.437028995,
          0.302308487, -0.436442587});
}

// Attention, is_causal = 1, four heads of queries and two of keys and values.
TEST_F(Published, GroupedQueries) {
  const Variable q = wave(Shape{1, 3, 8}, 0.53, 0.1, 2), k = wave(Shape{1, 3, 4}, 0.81, 0.4, 2);
  const Variable v = wave(Shape{1, 3, 4}, 1.17, 0.9);
  expect(
      attention(q, repeat_heads(k, 2, 2), repeat_heads(v, 2, 2), 4, {.causal = true}),
      {0.78332691,   0.877964063,  0.78332691,   0.877964063, -0.0982485937, -0.954627772, -0.0982485937, -0.954627772,
       -0.64593298,  0.450258843,  -0.613990373, 0.45981765,  0.0539696969,  -0.776423335, -0.0958583894, -0.95182952,
       -0.139198667, -0.187213585, -0.626340735, 0.439818136, 0.991083994,   0.328703934,  0.953677506,   0.321085901});
}

// Gelu, approximate = "tanh".
TEST_F(Published, GeluByTanh) {
  const std::vector<float> x{-3, -1.2f, -0.1f, 0, 0.4f, 1.5f, 2.7f};
  const Variable h = Variable::constant(Tensor::from<float>(rank.device, Shape{7}, x), Shape{7}, Layout());
  expect(activate(h, Activation::kGeluTanh),
         {-0.00363739282, -0.138297236, -0.046017249, 0, 0.262161168, 1.39957157, 2.6911124});
}

}  // namespace
}  // namespace triptych::test
