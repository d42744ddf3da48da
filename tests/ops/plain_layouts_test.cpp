#include "ops/activation.h"
#include "ops/add.h"
#include "ops/broadcast.h"
#include "ops/concatenate.h"
#include "ops/gather.h"
#include "ops/layer_norm.h"
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
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

using Index = std::vector<int32_t>;

const Placement kPartial = Placement::partial();
constexpr Placement by(int dim) {
  return Placement::shard(dim);
}
constexpr Layout on_dp(Placement placement, Layout layout = {}) {
  return layout.with(Axis::kDp, placement);
}
constexpr Layout on_tp(Placement placement, Layout layout = {}) {
  return layout.with(Axis::kTp, placement);
}

// This rank's piece of a whole tensor.
Tensor piece_of(const Tensor& whole, const Layout& layout, const Mesh& mesh) {
  Shape begin;
  const Shape local = local_shape(whole.shape(), layout, mesh, &begin);
  Tensor piece = whole;
  for (int dim = 0; dim < local.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
  return piece.contiguous();
}

// The same of floats; on an axis that is Partial, summands: 3 times the whole on the first rank, and the rest.
Tensor summand_of(const Tensor& whole, const Layout& layout, const Mesh& mesh) {
  const Tensor piece = piece_of(whole, layout, mesh);
  float factor = 1;
  for (const Axis axis : kAxes) {
    if (!layout[axis].is_partial()) continue;
    const int size = mesh.size(axis);
    if (size > 1) factor *= mesh.rank(axis) == 0 ? 3.0f : -2.0f / static_cast<float>(size - 1);
  }
  std::vector<float> values = piece.to_vector<float>();
  for (float& value : values) value *= factor;
  return Tensor::from<float>(piece.device(), piece.shape(), values);
}

struct Operand {
  Shape shape;
  Layout layout;
  Index index = {};  ///< int32 with these values; else random floats
};

using OnMesh = std::function<Variable(const std::vector<Variable>& inputs, Mesh& mesh)>;

struct Whole {
  std::vector<float> result;
  std::vector<std::vector<float>> gradients;  ///< of the operands that are floats
};

// Operation and backward on one mesh. `dy_partial`: the gradient of the result comes in summands wherever it may.
Whole run(const OnMesh& operation, const std::vector<Operand>& operands, Mesh& mesh, Device& device, bool dy_partial,
          Layout* result_layout) {
  std::vector<Variable> inputs;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const Operand& of = operands[i];
    const Layout layout = on_mesh(of.layout, mesh);
    if (!of.index.empty()) {
      const Tensor whole = Tensor::from<int32_t>(device, of.shape, of.index);
      inputs.push_back(Variable::constant(piece_of(whole, layout, mesh), of.shape, layout));
      continue;
    }
    const auto values = random_values("input" + std::to_string(i), of.shape.num_elements());
    const Tensor whole = Tensor::from<float>(device, of.shape, values);
    inputs.push_back(Variable::leaf(summand_of(whole, layout, mesh), of.shape, layout));
  }
  const Variable y = operation(inputs, mesh);
  const Shape& shape = y.global_shape();
  EXPECT_EQ(y.tensor().shape(), local_shape(shape, y.layout(), mesh));
  EXPECT_EQ(y.layout(), on_mesh(y.layout(), mesh));
  *result_layout = y.layout();
  Whole whole;
  whole.result = redistribute(y.tensor(), shape, y.layout(), Layout(), mesh).to_vector<float>();

  Layout dy_layout = y.layout().of_gradient();
  for (const Axis axis : kAxes) {
    if (dy_partial && mesh.size(axis) > 1 && y.layout()[axis].is_replicate())
      dy_layout = dy_layout.with(axis, kPartial);
  }
  const Tensor dy = Tensor::from<float>(device, shape, random_values("dy", shape.num_elements()));
  const Gradient seed{summand_of(dy, dy_layout, mesh), dy_layout};
  backward(std::span(&y, 1), std::span(&seed, 1), {});
  for (std::size_t i = 0; i < operands.size(); ++i) {
    if (!operands[i].index.empty()) continue;
    const Gradient d = *inputs[i].gradient();
    EXPECT_EQ(d.tensor.shape(), inputs[i].tensor().shape());
    whole.gradients.push_back(redistribute(d.tensor, operands[i].shape, d.layout, Layout(), mesh).to_vector<float>());
  }
  return whole;
}

// Result and gradients on a mesh are those of one rank; and the result is laid out as `layout` says.
void check(const char* name, const OnMesh& operation, const std::vector<Operand>& operands, const Layout& layout,
           const std::vector<MeshShape>& meshes) {
  OneRank one;
  Layout whole_layout;
  const Whole expected = run(operation, operands, one.mesh, one.device, false, &whole_layout);
  EXPECT_EQ(whole_layout, Layout());
  for (const MeshShape& shape : meshes) {
    for (const bool dy_partial : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, dp {} tp {}, first operand {}{}", name, shape.dp, shape.tp,
                               operands[0].layout.to_string(), dy_partial ? ", dy Partial" : ""));
      run_ranks(shape.dp * shape.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, shape, device);
        Layout found;
        const Whole whole = run(operation, operands, mesh, device, dy_partial, &found);
        const double bound = tolerance(DType::kFloat32).summed;
        EXPECT_EQ(found.to_string(), on_mesh(layout, mesh).to_string());
        EXPECT_LT(relative_error(whole.result, expected.result), bound) << "result";
        for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
          EXPECT_LT(relative_error(whole.gradients[i], expected.gradients[i]), bound) << "gradient " << i;
        }
      });
    }
  }
}

const std::vector<MeshShape> kMeshes{{.dp = 2}, {.tp = 2}, {.dp = 2, .tp = 2}};
// With a rank that holds nothing of a batch of 3.
const std::vector<MeshShape> kManyRows{{.dp = 4}, {.dp = 4, .tp = 2}};

void check_on_meshes(const char* name, const OnMesh& operation, const std::vector<Operand>& operands,
                     const Layout& layout) {
  check(name, operation, operands, layout, kMeshes);
  check(name, operation, operands, layout, kManyRows);
}

const Shape kShape{3, 5, 7};  // divides by no mesh

TEST(PlainLayouts, AddAndMultiplyEqualOneRank) {
  const auto sum_of = [](const auto& v, Mesh&) { return add(v[0], v[1]); };
  const auto product = [](const auto& v, Mesh&) { return multiply(v[0], v[1]); };
  const Layout rows = on_dp(by(0)), columns = on_tp(by(2), rows), tokens = on_tp(by(1), rows);
  for (const Layout& layout : {Layout(), rows, columns, tokens}) {
    check_on_meshes("add", sum_of, {{kShape, layout}, {kShape, layout}}, layout);
    check_on_meshes("multiply", product, {{kShape, layout}, {kShape, layout}}, layout);
  }
  // What b lacks is sharded: its gradient is Partial there.
  const std::vector<std::pair<Layout, Operand>> broadcast_cases{{columns, {Shape{7}, on_tp(by(0))}},
                                                                {tokens, {Shape{7}, Layout()}},
                                                                {columns, {Shape{5, 7}, on_tp(by(1))}},
                                                                {tokens, {Shape{5, 7}, on_tp(by(0))}},
                                                                {columns, {Shape{}, Layout()}}};
  for (const auto& [layout, b] : broadcast_cases) {
    check_on_meshes("add", sum_of, {{kShape, layout}, b}, layout);
    check_on_meshes("multiply", product, {{kShape, layout}, b}, layout);
  }
  const Layout partial = on_tp(kPartial, rows);
  check_on_meshes("add", sum_of, {{kShape, partial}, {kShape, partial}}, partial);
}

TEST(PlainLayouts, MovesEqualOneRank) {
  const Layout rows = on_dp(by(0)), columns = on_tp(by(2), rows), partial = on_tp(kPartial, rows);
  for (const Layout& layout : {rows, columns, partial}) {
    check_on_meshes(
        "scale", [](const auto& v, Mesh&) { return scale(v[0], -1.5f); }, {{kShape, layout}}, layout);
    check_on_meshes(
        "slice", [](const auto& v, Mesh&) { return slice(v[0], 1, 1, 3); }, {{kShape, layout}}, layout);
    check_on_meshes(
        "concatenate", [](const auto& v, Mesh&) { return concatenate(v, 1); },
        {{kShape, layout}, {Shape{3, 2, 7}, layout}}, layout);
    const Layout moved = on_tp(columns[Axis::kTp] == layout[Axis::kTp] ? by(0) : layout[Axis::kTp], on_dp(by(1)));
    check_on_meshes(
        "transpose",
        [](const auto& v, Mesh&) {
          return transpose(v[0], {2, 0, 1});
        },
        {{kShape, layout}}, moved);
  }
}

TEST(PlainLayouts, ReshapeAroundShardedDimsEqualsOneRank) {
  struct Case {
    Shape from, to;
    Layout layout, result;
  };
  const Layout rows = on_dp(by(0));
  const std::vector<Case> cases{
      {Shape{3, 4, 7}, Shape{3, 2, 2, 7}, on_tp(by(2), rows), on_tp(by(3), rows)},
      {Shape{3, 2, 2, 7}, Shape{3, 4, 7}, on_tp(by(3), rows), on_tp(by(2), rows)},
      {Shape{3, 4, 7}, Shape{3, 28}, on_tp(kPartial, rows), on_tp(kPartial, rows)},
      {Shape{3, 4, 7}, Shape{1, 3, 7, 4, 1}, rows, on_dp(by(1))},
      {Shape{2, 2, 5}, Shape{4, 5}, on_tp(by(2)), on_tp(by(1))},
      {Shape{1, 1, 5}, Shape{1, 5}, on_dp(by(2)), on_dp(by(1))},
      {Shape{1, 1, 6}, Shape{1, 1, 2, 3}, on_tp(by(1), rows), on_tp(by(1), rows)},
  };
  for (const Case& c : cases) {
    check_on_meshes(
        "reshape", [&](const auto& v, Mesh&) { return reshape(v[0], c.to); }, {{c.from, c.layout}}, c.result);
  }
}

TEST(PlainLayouts, BroadcastOverABatchEqualsOneRank) {
  const Layout batch = on_dp(by(0), on_tp(by(1)));  // what it says of dim 1 is not looked at
  const auto operation = [&](const auto& v, Mesh& mesh) { return broadcast(v[0], 3, on_mesh(batch, mesh), mesh); };
  check_on_meshes("broadcast", operation, {{Shape{5, 7}, Layout()}}, on_dp(by(0)));
  check_on_meshes("broadcast", operation, {{Shape{5, 7}, on_tp(by(1))}}, on_dp(by(0), on_tp(by(2))));
}

// With two axes on one dim, dp before tp.
TEST(PlainLayouts, BroadcastOverADimThatTwoAxesSplitEqualsOneRank) {
  const Layout both = on_dp(by(0), on_tp(Placement::shard(0, 1)));
  check("broadcast", [&](const auto& v, Mesh& mesh) { return broadcast(v[0], 7, on_mesh(both, mesh), mesh); },
        {{Shape{5}, Layout()}}, both, {{.dp = 2, .tp = 2}, {.dp = 2}});
}

TEST(PlainLayouts, SumsOverShardedDimsArePartial) {
  for (const auto& operation : {sum, mean}) {
    const auto over = [&](std::vector<int> dims) {
      return [&operation, dims](const auto& v, Mesh&) { return operation(v[0], dims); };
    };
    const Layout rows = on_dp(by(0)), columns = on_tp(by(2), rows);
    check_on_meshes("sum", over({1}), {{kShape, columns}}, on_dp(by(0), on_tp(by(1))));
    check_on_meshes("sum", over({2}), {{kShape, columns}}, on_dp(by(0), on_tp(kPartial)));
    check_on_meshes("sum", over({0, 1}), {{kShape, columns}}, on_dp(kPartial, on_tp(by(0))));
    check_on_meshes("sum", over({0, 1, 2}), {{kShape, columns}}, on_dp(kPartial, on_tp(kPartial)));
    check_on_meshes("sum", over({0}), {{kShape, on_tp(kPartial, rows)}}, on_dp(kPartial, on_tp(kPartial)));
    check_on_meshes("sum", over({1}), {{kShape, rows}}, rows);
  }
}

TEST(PlainLayouts, RowsOfAnyPlaceEqualOneRank) {
  const Layout rows = on_dp(by(0)), tokens = on_tp(by(1), rows), columns = on_tp(by(2), rows);
  for (const Layout& layout : {rows, tokens}) {
    check_on_meshes(
        "softmax", [](const auto& v, Mesh&) { return softmax(v[0]); }, {{kShape, layout}}, layout);
    check_on_meshes(
        "log_softmax", [](const auto& v, Mesh&) { return log_softmax(v[0]); }, {{kShape, layout}}, layout);
    Index classes;
    for (int32_t i = 0; i < 15; ++i) classes.push_back(i % 8 - 1);
    check_on_meshes(
        "pick", [](const auto& v, Mesh&) { return pick(v[0], v[1]); },
        {{kShape, layout}, {Shape{3, 5}, layout, classes}}, layout);
  }
  check_on_meshes(
      "gelu", [](const auto& v, Mesh&) { return gelu(v[0]); }, {{kShape, columns}}, columns);
  check_on_meshes(
      "tanh", [](const auto& v, Mesh&) { return tanh(v[0]); }, {{kShape, columns}}, columns);
  // The halves of a gated layer are sharded alike: a rank multiplies what belongs together.
  check_on_meshes(
      "swiglu", [](const auto& v, Mesh&) { return activate(v[0], Activation::kSwiglu); },
      {{Shape{3, 5, 2, 6}, on_tp(by(3), rows)}}, columns);
  check_on_meshes(
      "rms_norm", [](const auto& v, Mesh&) { return rms_norm(v[0], v[1]); }, {{kShape, tokens}, {Shape{7}, Layout()}},
      tokens);
  // Heads are sharded, and stay beside the queries that share them.
  const auto by_heads = [](int dim) { return on_tp(by(dim), on_dp(by(0))); };
  check(
      "repeat_heads", [](const auto& v, Mesh&) { return repeat_heads(v[0], 3, 2); }, {{Shape{3, 5, 8}, by_heads(2)}},
      by_heads(2), kMeshes);
  check(
      "rotary",
      [](const auto& v, Mesh&) {
        const std::vector<float> table = random_values("angles", 5 * 2);
        return rotary(v[0], Tensor::from<float>(v[0].tensor().device(), Shape{5, 2}, table), 2);
      },
      {{Shape{3, 5, 3, 8}, by_heads(3)}}, by_heads(3), kMeshes);
  const auto taken = [](const auto& v, Mesh&) { return gather(v[0], v[1]); };
  const Index index{4, 0, 0, -1, 2, 1, 3, 3, 3};
  check_on_meshes("gather", taken, {{kShape, columns}, {Shape{3, 3}, rows, index}}, columns);
  check_on_meshes("gather", taken, {{kShape, rows}, {Shape{3, 3}, on_tp(by(1), rows), index}}, tokens);
}

// The axis that the error names, and that it says what to do.
void expect_refusal(const std::function<void()>& call, const std::string& axis, const std::string& reason) {
  try {
    call();
    ADD_FAILURE() << "not refused: " << reason;
  } catch (const LayoutError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("[" + axis + "]"), std::string::npos) << text;
    EXPECT_NE(text.find(reason), std::string::npos) << text;
    EXPECT_NE(text.find("Redistribute"), std::string::npos) << text;
  }
}

TEST(PlainLayouts, WhatCannotBeDoneLocallyIsRefused) {
  OneRank rank;
  const auto zeros = [&](const Shape& shape, const Layout& layout) {
    return Variable::constant(Tensor::zeros(rank.device, DType::kFloat32, shape), shape, layout);
  };
  const Shape shape{2, 4, 6};
  const Variable columns = zeros(shape, on_tp(by(2))), tokens = zeros(shape, on_dp(by(1)));
  const Variable partial = zeros(shape, on_tp(kPartial)), whole = zeros(shape, Layout());
  const Variable vector = zeros(Shape{6}, Layout());
  expect_refusal([&] { add(partial, whole); }, "tp", "Partial");
  expect_refusal([&] { add(columns, whole); }, "tp", "Shard(2)");
  expect_refusal([&] { add(partial, vector); }, "tp", "would count on every rank");
  expect_refusal([&] { add(partial, zeros(Shape{6}, on_tp(kPartial))); }, "tp", "would count on every rank");
  expect_refusal([&] { add(columns, vector); }, "tp", "Shard(0)");
  expect_refusal([&] { multiply(partial, partial); }, "tp", "multiply needs complete operands");
  expect_refusal([&] { multiply(columns, vector); }, "tp", "Shard(0)");
  expect_refusal([&] { slice(columns, 2, 0, 3); }, "tp", "slice needs index c");
  expect_refusal([&] { concatenate({tokens, tokens}, 1); }, "dp", "concatenate needs index b");
  expect_refusal([&] { concatenate({columns, whole}, 1); }, "tp", "Shard(2)");
  expect_refusal([&] { reshape(columns, Shape{2, 4, 2, 3}); }, "tp", "reshape needs index c");
  expect_refusal([&] { reshape(tokens, Shape{8, 6}); }, "dp", "reshape needs index b");
  expect_refusal([&] { reshape(tokens, Shape{2, 6, 4}); }, "dp", "reshape needs index b");
  expect_refusal([&] { broadcast(partial, 3, Layout(), rank.mesh); }, "tp", "broadcast needs complete operands");
  expect_refusal([&] { broadcast(tokens, 3, on_dp(by(0)), rank.mesh); }, "dp", "broadcast");
  expect_refusal([&] { softmax(columns); }, "tp", "softmax needs index v");
  expect_refusal([&] { log_softmax(partial); }, "tp", "log_softmax needs complete operands");
  expect_refusal([&] { gelu(partial); }, "tp", "gelu needs complete operands");
  expect_refusal([&] { tanh(partial); }, "tp", "tanh needs complete operands");
  const auto index = [&](const Shape& of, const Layout& layout) {
    return Variable::constant(Tensor::zeros(rank.device, DType::kInt32, of), of, layout);
  };
  expect_refusal([&] { gather(tokens, index(Shape{2, 3}, Layout())); }, "dp", "gather needs index s");
  expect_refusal([&] { gather(zeros(shape, on_dp(by(0))), index(Shape{2, 3}, Layout())); }, "dp", "Shard(0)");
  expect_refusal([&] { pick(columns, index(Shape{2, 4}, Layout())); }, "tp", "pick needs index v");
  expect_refusal([&] { pick(tokens, index(Shape{2, 4}, Layout())); }, "dp", "Shard(1)");
  const Layout maximum = on_tp(Placement::partial(ReduceOp::kMax));
  expect_refusal([&] { scale(zeros(shape, maximum), 2); }, "tp", "Partial(max)");
}

// A gradient laid out as neither the result nor summands of it.
TEST(PlainLayouts, AGradientThatDoesNotFitTheResultIsRefused) {
  OneRank rank;
  const Tensor t = Tensor::zeros(rank.device, DType::kFloat32, Shape{2, 4});
  const Variable x = Variable::leaf(t, t.shape(), on_tp(by(1)));
  const Variable y = scale(x, 2);
  const Gradient summand{t, on_tp(kPartial)};
  EXPECT_THROW(backward(std::span(&y, 1), std::span(&summand, 1), {}), LayoutError);
}

}  // namespace
}  // namespace triptych::test
