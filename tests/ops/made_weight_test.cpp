#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/all_reducer.h"
#include "autograd/record.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/redistribute.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;

constexpr int64_t kBatch = 3, kSequence = 2, kIn = 6, kOut = 5;
constexpr float kFactor = -0.7f;

// factor * (a + b), without a kernel.
Variable scaled_sum(const Variable& a, const Variable& b) {
  std::vector<float> values = a.tensor().to_vector<float>();
  const std::vector<float> others = b.tensor().to_vector<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = kFactor * (values[i] + others[i]);
  return record("scaled_sum", {a, b}, Tensor::from<float>(a.tensor().device(), a.tensor().shape(), values),
                a.global_shape(), a.layout(), [](const Gradient& dy, InputGradients& in) {
                  std::vector<float> scaled = dy.tensor.to_vector<float>();
                  for (float& x : scaled) x *= kFactor;
                  const Tensor dx = Tensor::from<float>(dy.tensor.device(), dy.tensor.shape(), scaled);
                  in.add(0, dx, dy.layout);
                  in.add(1, dx, dy.layout);
                });
}

Tensor piece_of(Device& device, const std::vector<float>& values, const Shape& shape, const Layout& layout,
                const Mesh& mesh) {
  Shape begin;
  const Shape local = local_shape(shape, layout, mesh, &begin);
  Tensor piece = Tensor::from<float>(device, shape, values);
  for (int dim = 0; dim < shape.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
  return piece.contiguous();
}

struct Case {
  const char* name;
  MeshShape mesh;
  Layout stored, used;  // of the weight
  Layout x;
};

const Placement kRows = Placement::shard(0), kColumns = Placement::shard(1);
const Layout kWhole, kBatchOnDp = Layout().with(Axis::kDp, Placement::shard(0));

Layout on_tp(Placement placement, const Layout& layout = {}) {
  return layout.with(Axis::kTp, placement);
}

const std::vector<Case> kCases{
    {"one rank", {}, kWhole, kWhole, kWhole},
    {"the same on dp", {.dp = 2}, kWhole, kWhole, kBatchOnDp},
    {"gathered over dp", {.dp = 2}, Layout().with(Axis::kDp, kRows), kWhole, kBatchOnDp},
    {"rows over tp", {.tp = 2}, on_tp(kRows), on_tp(kRows), kWhole},
    {"a slice of columns", {.tp = 2}, kWhole, on_tp(kColumns), on_tp(Placement::shard(2))},
    {"rows to columns", {.tp = 2}, on_tp(kRows), on_tp(kColumns), on_tp(Placement::shard(2))},
    {"rows gathered", {.tp = 3}, on_tp(kRows), kWhole, on_tp(Placement::shard(1))},
    {"rows to columns and a batch",
     {.dp = 2, .tp = 2},
     on_tp(kRows),
     on_tp(kColumns),
     on_tp(Placement::shard(2), kBatchOnDp)},
};

// y = x (factor (w + u))^T, the parameters laid out otherwise on the way where the case says so: their gradients are
// those of one rank with the whole batch, like the gradient of x.
TEST(MadeWeight, GetsTheGradientsThatOneRankGets) {
  const Shape x_shape{kBatch, kSequence, kIn}, w_shape{kOut, kIn}, y_shape{kBatch, kSequence, kOut};
  const std::vector<float> x = random_values("x", x_shape.num_elements()), w = random_values("w", kOut * kIn),
                           u = random_values("u", kOut * kIn), dy = random_values("dy", y_shape.num_elements());
  Rows dx(x.size(), 0), dw(w.size(), 0), y(dy.size(), 0);
  for (std::size_t r = 0; r < kBatch * kSequence; ++r) {
    for (std::size_t o = 0; o < kOut; ++o) {
      for (std::size_t i = 0; i < kIn; ++i) {
        const std::size_t at_x = r * kIn + i, at_w = o * kIn + i, at_y = r * kOut + o;
        const double weight = static_cast<double>(kFactor) * (static_cast<double>(w[at_w]) + u[at_w]);
        y[at_y] += x[at_x] * weight;
        dx[at_x] += dy[at_y] * weight;
        dw[at_w] += static_cast<double>(kFactor) * dy[at_y] * x[at_x];
      }
    }
  }
  const double bound = tolerance(DType::kFloat32).summed;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    run_ranks(c.mesh.dp * c.mesh.tp, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, c.mesh, device);
      Parameter first("w"), second("u");
      for (Parameter* p : {&first, &second}) {
        p->global_shape = w_shape;
        p->lay_out(c.stored);
        p->value = p->compute = piece_of(device, p == &first ? w : u, w_shape, c.stored, mesh);
      }
      std::vector<Parameter*> parameters{&first, &second};
      AllReducer reducer(device, mesh, parameters, 1);
      for (int step = 0; step < 2; ++step) {
        reducer.begin_step();
        const Variable input = Variable::leaf(piece_of(device, x, x_shape, c.x, mesh), x_shape, c.x);
        const auto use = [&](Parameter& p) { return redistribute(Variable::of(p, true), c.used, mesh); };
        const Variable weight = scaled_sum(use(first), use(second));
        EXPECT_EQ(weight.layout(), c.used);
        const Variable product = linear(input, weight, Variable(), DType::kFloat32);
        const Variable out = redistribute(product, product.layout().of_gradient(), mesh);
        EXPECT_LT(
            relative_error(redistribute(out.tensor(), y_shape, out.layout(), Layout(), mesh).to_vector<float>(), y),
            bound);
        const Gradient seed{piece_of(device, dy, y_shape, out.layout(), mesh), out.layout()};
        backward(std::span(&out, 1), std::span(&seed, 1), {.poll = [&] { reducer.poll(); }});
        reducer.finish();
        const Gradient of_input = *input.gradient();
        EXPECT_LT(relative_error(
                      redistribute(of_input.tensor, x_shape, of_input.layout, Layout(), mesh).to_vector<float>(), dx),
                  bound)
            << "x, laid out " << of_input.layout.to_string();
        for (const Parameter* p : parameters) {
          EXPECT_EQ(p->gradient.layout(), c.stored) << "completed on the way";
          EXPECT_LT(relative_error(
                        redistribute(p->gradient.tensor(), w_shape, c.stored, Layout(), mesh).to_vector<float>(), dw),
                    bound)
              << p->name << " in step " << step << " on rank " << world.rank();
        }
      }
    });
  }
}

// A projection of several heads, whose slice of heads does not lie together in memory.
TEST(MadeWeight, MayBeASliceThatIsNotContiguous) {
  OneRank rank;
  const auto slice_of = [&](const std::string& name, const Shape& shape) {
    const Tensor whole = Tensor::from<float>(rank.device, shape, random_values(name, shape.num_elements()));
    return whole.slice(1, 1, 2);
  };
  const Tensor w = slice_of("w", Shape{3, 4, 5}), b = slice_of("b", Shape{3, 4}), table = slice_of("t", Shape{4, 5});
  const Tensor x = Tensor::from<float>(rank.device, Shape{2, 5}, random_values("x", 10));
  const auto constant = [](const Tensor& t) { return Variable::constant(t, t.shape(), Layout()); };
  EXPECT_EQ(linear(constant(x), constant(w), constant(b), DType::kFloat32).tensor().to_vector<float>(),
            linear(constant(x), constant(w.contiguous()), constant(b.contiguous()), DType::kFloat32)
                .tensor()
                .to_vector<float>());
  EXPECT_EQ(activated_linear(constant(x), constant(w), Activation::kGelu, DType::kFloat32).tensor().to_vector<float>(),
            activated_linear(constant(x), constant(w.contiguous()), Activation::kGelu, DType::kFloat32)
                .tensor()
                .to_vector<float>());
  const std::vector<int32_t> ids{3, 0, 2};
  const Variable tokens = constant(Tensor::from<int32_t>(rank.device, Shape{1, 3}, ids));
  EXPECT_EQ(embedding(tokens, constant(table), rank.mesh).tensor().to_vector<float>(),
            embedding(tokens, constant(table.contiguous()), rank.mesh).tensor().to_vector<float>());
  const Variable stream = constant(Tensor::zeros(rank.device, DType::kFloat32, Shape{1, 4, 2}));
  EXPECT_EQ(add_positions(stream, constant(table)).tensor().to_vector<float>(), table.to_vector<float>());
}

}  // namespace
}  // namespace triptych::test
