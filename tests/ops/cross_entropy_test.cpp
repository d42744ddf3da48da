#include "ops/cross_entropy.h"

#include <cmath>
#include <vector>

#include "autograd/record.h"
#include "ops/linear.h"
#include "ops/redistribute.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;
using Targets = std::vector<int32_t>;

constexpr int64_t kBatch = 3, kSequence = 5;
constexpr double kCoefficient = 0.3, kSeed = 2, kSmoothing = 0.15;

struct Expected {
  double loss = 0;
  Rows dlogits;  ///< of kSeed * loss
};

Expected expect(const Rows& logits, const Targets& targets, double smoothing = 0) {
  Expected expected;
  const std::size_t num_classes = logits.size() / targets.size();
  for (std::size_t r = 0; r < targets.size(); ++r) {
    const double* l = logits.data() + r * num_classes;
    double total = 0;
    for (std::size_t c = 0; c < num_classes; ++c) total += std::exp(l[c]);
    for (std::size_t c = 0; c < num_classes; ++c) {
      const double onehot = static_cast<int32_t>(c) == targets[r] ? 1 : 0;
      const double weight = (1 - smoothing) * onehot + smoothing / static_cast<double>(num_classes);
      if (targets[r] >= 0) expected.loss += kCoefficient * weight * (std::log(total) - l[c]);
      expected.dlogits.push_back(targets[r] < 0 ? 0 : kSeed * kCoefficient * (std::exp(l[c]) / total - weight));
    }
  }
  return expected;
}

Targets make_targets(int64_t num_classes) {
  Targets targets;
  for (int64_t r = 0; r < kBatch * kSequence; ++r) {
    targets.push_back(static_cast<int32_t>(r % 4 == 2 ? -1 : (r * 5 + num_classes - 1) % num_classes));
  }
  return targets;
}

template <typename T>
Tensor whole_tensor(Device& device, const Shape& shape, const Rows& values) {
  std::vector<T> rounded;
  for (const double value : values) rounded.push_back(T(static_cast<float>(value)));
  return Tensor::from<T>(device, shape, rounded);
}

// This rank's piece of a whole tensor; a dim that the layout shards and the tensor lacks is passed over.
Tensor piece_of(const Tensor& whole, const Layout& layout, const Mesh& mesh) {
  Tensor piece = whole;
  for (const Axis axis : kAxes) {
    const Placement p = layout[axis];
    if (!p.is_shard() || p.dim >= whole.shape().rank()) continue;
    const Range range = shard_range(whole.size(p.dim), mesh.size(axis), mesh.rank(axis));
    piece = piece.slice(p.dim, range.begin, range.length);
  }
  return piece.contiguous();
}

template <typename T>
Rows doubles(const Tensor& tensor) {
  Rows values;
  for (const T value : tensor.to_vector<T>()) values.push_back(static_cast<double>(static_cast<float>(value)));
  return values;
}

void run_backward(const Variable& loss) {
  const Gradient seed{Tensor::from<double>(loss.tensor().device(), Shape{1}, std::span(&kSeed, 1)),
                      loss.layout().of_gradient()};
  backward(std::span(&loss, 1), std::span(&seed, 1), {});
}

void expect_loss(const Variable& loss, double expected, Mesh& mesh) {
  const Tensor sum = redistribute(loss.tensor(), Shape{1}, loss.layout(), Layout(), mesh);
  EXPECT_NEAR(sum.item<double>(), expected, tolerance(DType::kFloat32).summed * expected);
}

struct Case {
  MeshShape mesh;
  Layout layout;
  Layout loss_layout;
};

const Placement kByRows = Placement::shard(0), kByTokens = Placement::shard(1), kByClasses = Placement::shard(2);
const Layout kSummedOverDp = Layout().with(Axis::kDp, Placement::partial());

const std::vector<Case> kCases{
    {MeshShape{}, Layout(), Layout()},
    {MeshShape{.tp = 2}, Layout().with(Axis::kTp, kByClasses), Layout()},
    {MeshShape{.tp = 3}, Layout().with(Axis::kTp, kByClasses), Layout()},
    {MeshShape{.dp = 2}, Layout().with(Axis::kDp, kByRows), kSummedOverDp},
    {MeshShape{.dp = 4}, Layout().with(Axis::kDp, kByRows), kSummedOverDp},  // a rank without rows
    {MeshShape{.cp = 2}, Layout().with(Axis::kCp, kByTokens), Layout().with(Axis::kCp, Placement::partial())},
    {MeshShape{.tp = 2}, Layout(), Layout()},
    {MeshShape{.dp = 2, .tp = 2}, Layout().with(Axis::kDp, kByRows).with(Axis::kTp, kByClasses), kSummedOverDp},
    {MeshShape{.dp = 2, .tp = 3}, Layout().with(Axis::kDp, kByRows).with(Axis::kTp, kByTokens),
     kSummedOverDp.with(Axis::kTp, Placement::partial())}};

// Loss and gradient of every rank of a mesh against the double loops over the whole.
template <typename T>
void check(const Case& c, int64_t num_classes, double smoothing) {
  SCOPED_TRACE(fmt::format("dp {} cp {} tp {}, logits {}, {} classes of {}, smoothed by {}", c.mesh.dp, c.mesh.cp,
                           c.mesh.tp, c.layout.to_string(), num_classes, dtype_name(dtype_of<T>), smoothing));
  const Shape shape{kBatch, kSequence, num_classes};
  const std::vector<float> values = random_values("logits", shape.num_elements(), 2);
  const Targets targets = make_targets(num_classes);
  run_ranks(c.mesh.dp * c.mesh.cp * c.mesh.tp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, c.mesh, device);
    const Tensor whole = whole_tensor<T>(device, shape, Rows(values.begin(), values.end()));
    const Expected expected = expect(doubles<T>(whole), targets, smoothing);
    const Tensor whole_targets = Tensor::from<int32_t>(device, Shape{kBatch, kSequence}, targets);
    const Variable logits = Variable::leaf(piece_of(whole, c.layout, mesh), shape, c.layout);
    const Variable loss = cross_entropy(logits, piece_of(whole_targets, c.layout, mesh), kCoefficient, mesh, smoothing);
    EXPECT_EQ(loss.layout(), c.loss_layout);
    expect_loss(loss, expected.loss, mesh);
    run_backward(loss);
    EXPECT_EQ(logits.gradient()->layout, c.layout);
    const Tensor dlogits = piece_of(whole_tensor<float>(device, shape, expected.dlogits), c.layout, mesh);
    EXPECT_LT(relative_error(doubles<T>(logits.gradient()->tensor), doubles<float>(dlogits)),
              tolerance(dtype_of<T>).summed)
        << "rank " << world.rank();
  });
}

// log softmax of each row's target, by double loops.
TEST(TargetScores, GiveTheLogProbabilitiesOnEveryMesh) {
  for (const Case& c : kCases) {
    for (const int64_t num_classes : {2, 13, 301}) {
      SCOPED_TRACE(fmt::format("dp {} cp {} tp {}, {} classes", c.mesh.dp, c.mesh.cp, c.mesh.tp, num_classes));
      const Shape shape{kBatch, kSequence, num_classes};
      const std::vector<float> values = random_values("logits", shape.num_elements(), 2);
      const Targets targets = make_targets(num_classes);
      run_ranks(c.mesh.dp * c.mesh.cp * c.mesh.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, c.mesh, device);
        const Tensor whole = Tensor::from<float>(device, shape, values);
        const Tensor whole_targets = Tensor::from<int32_t>(device, Shape{kBatch, kSequence}, targets);
        const Variable scores = target_scores(Variable::constant(piece_of(whole, c.layout, mesh), shape, c.layout),
                                              piece_of(whole_targets, c.layout, mesh), mesh);
        EXPECT_EQ(scores.global_shape(), (Shape{kBatch, kSequence, 3}));
        const std::vector<float> found =
            redistribute(scores.tensor(), scores.global_shape(), scores.layout(), Layout(), mesh).to_vector<float>();
        for (std::size_t r = 0; r < targets.size(); ++r) {
          if (targets[r] < 0) continue;
          const std::size_t begin = r * static_cast<std::size_t>(num_classes);
          double sum = 0;
          for (int64_t v = 0; v < num_classes; ++v) {
            sum += std::exp(static_cast<double>(values[begin + static_cast<std::size_t>(v)]));
          }
          const double expected =
              static_cast<double>(values[begin + static_cast<std::size_t>(targets[r])]) - std::log(sum);
          EXPECT_NEAR(target_log_probability(std::span(found).subspan(3 * r, 3)), expected,
                      tolerance(DType::kFloat32).summed * std::max(1.0, -expected))
              << "row " << r;
        }
      });
    }
  }
}

// Classes that do not divide by the ranks, and fewer of them than ranks.
TEST(CrossEntropy, EqualsDoubleLoopsOnEveryMesh) {
  for (const Case& c : kCases) {
    for (const int64_t num_classes : {2, 7, 13, 301}) {
      for (const double smoothing : {0.0, kSmoothing}) {
        check<float>(c, num_classes, smoothing);
        check<BFloat16>(c, num_classes, smoothing);
      }
    }
  }
}

TEST(CrossEntropy, OracleGradientIsTheDerivative) {
  const std::vector<float> values = random_values("logits", kBatch * kSequence * 3, 2);
  Rows logits(values.begin(), values.end()), numeric;
  const Targets targets = make_targets(3);
  for (double& x : logits) {
    const double saved = x, h = 1e-5;
    x = saved + h;
    const double up = expect(logits, targets, kSmoothing).loss;
    x = saved - h;
    numeric.push_back(kSeed * (up - expect(logits, targets, kSmoothing).loss) / (2 * h));
    x = saved;
  }
  EXPECT_LT(relative_error(expect(logits, targets, kSmoothing).dlogits, numeric), tolerance(DType::kFloat32).summed);
}

// The head of a language model: the weight by rows on `tp`, so the logits by classes.
TEST(CrossEntropy, TrainsAVocabularyShardedWeightAsOneRankDoes) {
  constexpr int64_t kWidth = 6;
  for (const int64_t num_classes : {2, 13}) {
    const Shape x_shape{kBatch, kSequence, kWidth}, w_shape{num_classes, kWidth};
    const std::vector<float> x_values = random_values("x", x_shape.num_elements());
    const std::vector<float> w_values = random_values("w", w_shape.num_elements());
    const Rows x(x_values.begin(), x_values.end()), w(w_values.begin(), w_values.end());
    const Targets targets = make_targets(num_classes);
    const auto at = [](int64_t row, int64_t c) { return static_cast<std::size_t>(row * kWidth + c); };
    Rows logits;
    for (int64_t r = 0; r < kBatch * kSequence; ++r) {
      for (int64_t o = 0; o < num_classes; ++o) {
        double sum = 0;
        for (int64_t c = 0; c < kWidth; ++c) sum += x[at(r, c)] * w[at(o, c)];
        logits.push_back(sum);
      }
    }
    const Expected expected = expect(logits, targets);
    Rows dx(x.size()), dw(w.size());
    for (int64_t r = 0; r < kBatch * kSequence; ++r) {
      for (int64_t o = 0; o < num_classes; ++o) {
        const double d = expected.dlogits[static_cast<std::size_t>(r * num_classes + o)];
        for (int64_t c = 0; c < kWidth; ++c) {
          dx[at(r, c)] += d * w[at(o, c)];
          dw[at(o, c)] += d * x[at(r, c)];
        }
      }
    }
    for (const MeshShape& shape : {MeshShape{}, MeshShape{.tp = 2}, MeshShape{.tp = 3}, MeshShape{.dp = 2, .tp = 2}}) {
      SCOPED_TRACE(fmt::format("dp {} tp {}, {} classes", shape.dp, shape.tp, num_classes));
      run_ranks(shape.dp * shape.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, shape, device);
        const Layout batch = on_mesh(Layout().with(Axis::kDp, kByRows), mesh);
        const Layout by_classes = on_mesh(Layout().with(Axis::kTp, Placement::shard(0)), mesh);
        const Tensor whole_targets = Tensor::from<int32_t>(device, Shape{kBatch, kSequence}, targets);
        Parameter weight("head");
        weight.global_shape = w_shape;
        weight.lay_out(by_classes);
        weight.value = weight.compute = piece_of(whole_tensor<float>(device, w_shape, w), by_classes, mesh);
        const Variable input =
            Variable::leaf(piece_of(whole_tensor<float>(device, x_shape, x), batch, mesh), x_shape, batch);

        const Variable loss = cross_entropy(
            linear(redistribute(input, batch, mesh), Variable::of(weight, true), Variable(), DType::kFloat32),
            piece_of(whole_targets, batch, mesh), kCoefficient, mesh);
        expect_loss(loss, expected.loss, mesh);
        run_backward(loss);
        const double bound = tolerance(DType::kFloat32).summed;
        const Tensor gradient =
            redistribute(weight.gradient.tensor(), w_shape, weight.gradient.layout(), Layout(), mesh);
        EXPECT_LT(relative_error(gradient.to_vector<float>(), dw), bound) << "weight";
        const Tensor dx_piece = piece_of(whole_tensor<float>(device, x_shape, dx), batch, mesh);
        EXPECT_EQ(input.gradient()->layout, batch);
        EXPECT_LT(relative_error(input.gradient()->tensor.to_vector<float>(), doubles<float>(dx_piece)), bound) << "x";
      });
    }
  }
}

// An operation with its input as the result, which tells where its gradient lies.
Variable copied(const Variable& x, const void*& gradient) {
  return record("copied", {x}, x.tensor().clone(), x.global_shape(), x.layout(),
                [&gradient](const Gradient& dy, InputGradients& in) {
                  gradient = dy.tensor.raw();
                  in.add(0, dy.tensor, dy.layout);
                });
}

TEST(CrossEntropy, GradientTakesTheLogitsMemoryIfNobodyElseHoldsIt) {
  OneRank rank;
  const Shape shape{kBatch, kSequence, 7};
  const std::vector<float> values = random_values("logits", shape.num_elements());
  const Tensor targets = Tensor::from<int32_t>(rank.device, Shape{kBatch, kSequence}, make_targets(7));
  const Variable x = Variable::leaf(Tensor::from<float>(rank.device, shape, values), shape, Layout());
  for (const bool held : {false, true}) {
    const void* gradient = nullptr;
    Variable logits = copied(x, gradient);
    const void* const memory = logits.tensor().raw();
    const Variable loss = cross_entropy(logits, targets, kCoefficient, rank.mesh);
    if (!held) logits = Variable();
    run_backward(loss);
    EXPECT_EQ(gradient == memory, !held);
    if (held) {
      EXPECT_EQ(logits.tensor().to_vector<float>(), values);
    }
  }
}

TEST(CrossEntropy, RefusesWhatItCannotTake) {
  OneRank rank;
  const Tensor t = Tensor::zeros(rank.device, DType::kFloat32, Shape{2, 3});
  const std::vector<int32_t> classes{0, 2};
  const Tensor targets = Tensor::from<int32_t>(rank.device, Shape{2}, classes);
  for (const ReduceOp reduce : {ReduceOp::kSum, ReduceOp::kMax}) {
    const Layout partial = Layout().with(Axis::kTp, Placement::partial(reduce));
    EXPECT_THROW(cross_entropy(Variable::constant(t, t.shape(), partial), targets, 1, rank.mesh), LayoutError);
  }
  const Variable logits = Variable::leaf(t, t.shape(), Layout());
  EXPECT_THROW(cross_entropy(logits, targets.slice(0, 0, 1), 1, rank.mesh), InternalError);
  for (const double smoothing : {-0.1, 1.0, std::nan("")}) {
    EXPECT_THROW(cross_entropy(logits, targets, 1, rank.mesh, smoothing), InternalError);
  }
  const Variable loss = cross_entropy(logits, targets, 1, rank.mesh);
  const Gradient summand{Tensor::zeros(rank.device, DType::kFloat64, Shape{1}),
                         Layout().with(Axis::kTp, Placement::partial())};
  EXPECT_THROW(backward(std::span(&loss, 1), std::span(&summand, 1), {}), LayoutError);
}

}  // namespace
}  // namespace triptych::test
