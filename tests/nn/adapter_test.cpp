#include "nn/adapter.h"

#include <cmath>

#include "module_check.h"
#include "nn/transformer_block.h"
#include "ops/linear.h"
#include "ops/sum.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;

constexpr std::size_t kBatch = 2, kSequence = 3, kWidth = 4, kInner = 6, kRank = 3;
constexpr float kAlpha = 7.5f;  // a scale of 2.5

const std::vector<AdapterOptions> kAll{{.match = {"m.*.weight"}, .rank = kRank, .alpha = kAlpha}};

// A packed projection and its sum over the parts, a product behind it, and a feed-forward layer: matrices that are
// sharded by outputs of several dims, by inputs, by outputs of one, and by inputs with a GELU in front.
struct Chain {
  Parameter *qkv, *qkv_bias, *out, *in, *in_bias, *down;

  explicit Chain(ParameterStore& store) {
    const auto make = [&](std::string_view part, const Shape& shape, bool is_matrix) {
      return &store.create(fmt::format("m.{}", part), shape, part,
                           {.in_compute_dtype = is_matrix, .is_linear = is_matrix});
    };
    const auto h = static_cast<int64_t>(kWidth), f = static_cast<int64_t>(kInner);
    qkv = make("attention.qkv.weight", Shape{3, h, h}, true);
    qkv_bias = make("attention.qkv.bias", Shape{3, h}, false);
    out = make("attention.out.weight", Shape{h, h}, true);
    in = make("feed_forward.in.weight", Shape{f, h}, true);
    in_bias = make("feed_forward.in.bias", Shape{f}, false);
    down = make("feed_forward.out.weight", Shape{h, f}, true);
  }

  Variable forward(const Variable& x, const Pass& pass) const {
    const Variable parts = linear(pass.laid_out(x, "batch"), pass.use(*qkv), pass.use(*qkv_bias), pass.dtype);
    const Variable o = linear(sum(parts, {2}), pass.use(*out), Variable(), pass.dtype);
    const Variable inner = linear(pass.laid_out(o, "batch"), pass.use(*in), pass.use(*in_bias), pass.dtype);
    return pass.laid_out(activated_linear(inner, pass.use(*down), Activation::kGelu, pass.dtype), "stream");
  }
};

ModuleSetup setup_with(const std::vector<AdapterOptions>& adapters) {
  ModuleSetup setup;
  setup.batch = kBatch;
  setup.adapters = adapters;
  setup.inputs = {{"x", Shape{kBatch, kSequence, kWidth}, "stream"}};
  setup.make = [](ParameterStore& store) -> Module {
    return [chain = Chain(store)](std::span<const Variable> inputs, const Pass& pass, const Range&) {
      return chain.forward(inputs[0], pass);
    };
  };
  return setup;
}

// W + alpha / rank B A, [outputs, inputs].
Rows effective(const Wholes& values, const std::string& name, std::size_t inputs) {
  Rows weight = values.at(name);
  if (!values.contains(name + ".adapter.a")) return weight;
  const Rows &a = values.at(name + ".adapter.a"), &b = values.at(name + ".adapter.b");
  for (std::size_t o = 0; o < weight.size() / inputs; ++o) {
    for (std::size_t r = 0; r < kRank; ++r) {
      for (std::size_t i = 0; i < inputs; ++i) {
        weight[o * inputs + i] += static_cast<double>(kAlpha) / kRank * b[o * kRank + r] * a[r * inputs + i];
      }
    }
  }
  return weight;
}

Rows product(const Rows& x, const Rows& weight, std::size_t inputs, const Rows& bias = {}) {
  const std::size_t outputs = weight.size() / inputs;
  Rows y;
  for (std::size_t r = 0; r < x.size() / inputs; ++r) {
    for (std::size_t o = 0; o < outputs; ++o) {
      double dot = bias.empty() ? 0 : bias[o];
      for (std::size_t i = 0; i < inputs; ++i) dot += x[r * inputs + i] * weight[o * inputs + i];
      y.push_back(dot);
    }
  }
  return y;
}

Rows reference(const Wholes& values) {
  const auto weight = [&](const std::string& name, std::size_t inputs) {
    return effective(values, "m." + name + ".weight", inputs);
  };
  const Rows parts =
      product(values.at("x"), weight("attention.qkv", kWidth), kWidth, values.at("m.attention.qkv.bias"));
  Rows summed(kBatch * kSequence * kWidth, 0);
  for (std::size_t i = 0; i < parts.size(); ++i) summed[i / (3 * kWidth) * kWidth + i % kWidth] += parts[i];
  const Rows o = product(summed, weight("attention.out", kWidth), kWidth);
  Rows inner = product(o, weight("feed_forward.in", kWidth), kWidth, values.at("m.feed_forward.in.bias"));
  for (double& a : inner) a *= 0.5 * std::erfc(-a / std::sqrt(2.0));
  return product(inner, weight("feed_forward.out", kInner), kInner);
}

TEST(AdapterTest, EqualsDoubleAndItsCentralDifferencesOnEveryMesh) {
  check_module(setup_with(kAll), reference);
  // Some matrices have none.
  check_module(setup_with({{.match = {"*.out.weight"}, .rank = kRank, .alpha = kAlpha}}), reference);
}

TEST(AdapterTest, BeginsWithNothingToAddAndLiesAsItsMatrix) {
  const MeshShape shape{.tp = 2};
  run_ranks(2, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, shape, device);
    const Plan plan = tensor_parallel_plan();
    ParameterStore store(device, mesh, plan, 3, DType::kFloat32, kAll);
    const Chain chain(store);
    EXPECT_EQ(store.take_given().size(), 6u + 2 * 4) << "a block has its adapters too";
    const auto expect_layouts = [](const Parameter* matrix, const Layout& a, const Layout& b) {
      ASSERT_TRUE(matrix->adapter) << matrix->name;
      EXPECT_EQ(matrix->adapter->a->layout, a) << matrix->name;
      EXPECT_EQ(matrix->adapter->b->layout, b) << matrix->name;
    };
    expect_layouts(chain.qkv, Layout(), on_tp(1));
    expect_layouts(chain.out, on_tp(1), Layout());
    expect_layouts(chain.in, Layout(), on_tp(0));
    expect_layouts(chain.down, on_tp(1), Layout());
    EXPECT_FALSE(chain.qkv_bias->adapter);
    EXPECT_EQ(chain.qkv->adapter->b->global_shape, (Shape{3, kWidth, kRank}));
    double squares = 0;
    for (const float value : chain.qkv->adapter->a->value.to_vector<float>())
      squares += static_cast<double>(value) * value;
    EXPECT_GT(squares, 0.1) << "A is normal";
    for (const float value : chain.qkv->adapter->b->value.to_vector<float>()) EXPECT_EQ(value, 0);
  });
}

// The merged matrix alone computes what matrix and adapter did, on whatever rank holds a piece of it.
TEST(AdapterTest, MergedComputesTheSame) {
  for (const MeshShape& shape : {MeshShape{}, MeshShape{.tp = 2}}) {
    run_ranks(shape.tp, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, shape, device);
      const Plan plan = tensor_parallel_plan();
      ParameterStore store(device, mesh, plan, 3, DType::kFloat32, kAll);
      const Chain chain(store);
      for (Parameter* p : store.all()) {
        const std::vector<float> values = random_values(p->name, p->global_shape.num_elements());
        p->value.copy_from(piece_of(device, values, p->global_shape, p->layout, mesh));
      }
      const Pass pass{.device = device, .mesh = mesh, .plan = plan, .record = false};
      const Shape x_shape{kBatch, kSequence, kWidth};
      const Variable x =
          Variable::constant(Tensor::from<float>(device, x_shape, random_values("x", x_shape.num_elements())), x_shape,
                             pass.layout("stream"));
      const std::vector<float> both = chain.forward(x, pass).tensor().to_vector<float>();
      const std::vector<float> before = chain.qkv->value.to_vector<float>();
      for (Parameter* p : store.all()) {
        if (!p->adapter) continue;
        merge_adapter(*p);
        p->adapter.reset();
      }
      EXPECT_GT(relative_error(chain.qkv->value.to_vector<float>(), before), 0.1) << "something was added";
      EXPECT_LT(relative_error(chain.forward(x, pass).tensor().to_vector<float>(), both),
                tolerance(DType::kFloat32).summed);
    });
  }
}

}  // namespace
}  // namespace triptych::test
