#include "nn/positions.h"

#include <cmath>

#include "module_check.h"
#include "nn/decoding.h"
#include "nn/embeddings.h"
#include "ops/rotary.h"

namespace triptych::test {
namespace {

constexpr int64_t kTokens = 3, kColumns = 8;

// Vaswani et al. 2017, section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i + 1) = cos of the same.
std::vector<double> waves() {
  std::vector<double> table;
  for (int64_t s = 0; s < kTokens; ++s) {
    for (int64_t i = 0; i < kColumns / 2; ++i) {
      const double angle = static_cast<double>(s) / std::pow(10000.0, 2.0 * static_cast<double>(i) / kColumns);
      table.push_back(std::sin(angle));
      table.push_back(std::cos(angle));
    }
  }
  return table;
}

TEST(SinusoidalPositions, AreThePapersInALine) {
  EXPECT_LT(relative_error(sinusoidal_positions({.sequence = kTokens}, kColumns), waves()),
            tolerance(DType::kFloat32).local);
  EXPECT_THROW(sinusoidal_positions({.sequence = 3}, 7), InternalError);
}

// He et al. 2022's code, by hand: sines and cosines of the column, then of the row, with waves 1 and 100 times 2 pi.
TEST(SinusoidalPositions, AreThoseOfMaeInAGrid) {
  const double s = 0.8414709848078965, c = 0.5403023058681398;          // of 1
  const double s100 = 0.009999833334166664, c100 = 0.9999500004166653;  // of 0.01
  const std::vector<double> zero{0, 0, 1, 1}, one{s, s100, c, c100};
  std::vector<double> expected(8, 0.0);  // the class token has none
  for (const auto& [row, column] : {std::pair{0, 0}, {0, 1}, {1, 0}, {1, 1}}) {
    const auto &of_column = column == 0 ? zero : one, &of_row = row == 0 ? zero : one;
    expected.insert(expected.end(), of_column.begin(), of_column.end());
    expected.insert(expected.end(), of_row.begin(), of_row.end());
  }
  const std::vector<float> found = sinusoidal_positions({.sequence = 5, .side = 2}, 8);
  EXPECT_LT(relative_error(found, expected), tolerance(DType::kFloat32).local);
  EXPECT_THROW(sinusoidal_positions({.sequence = 4, .side = 2}, 6), InternalError);
}

TEST(SinusoidalPositions, AreAddedOnEveryMesh) {
  ModuleSetup setup;
  setup.batch = 2;
  setup.inputs = {{"x", Shape{2, kTokens, kColumns}, "batch"}};
  setup.make = [](ParameterStore& store) -> Module {
    const Positions positions(store, "text", PositionKind::kSinusoidal, {.sequence = kTokens}, kColumns);
    EXPECT_TRUE(store.all().empty()) << "nothing of them is learned";
    return [positions](std::span<const Variable> inputs, const Pass& pass, const Range&) {
      const Variable y = positions.add_to(inputs[0], pass);
      EXPECT_EQ(y.layout(), pass.layout("stream"));
      return y;
    };
  };
  check_module(setup, [](const Wholes& values) {
    std::vector<double> y = values.at("x");
    const std::vector<double> table = waves();
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += table[i % table.size()];
    return y;
  });
}

TEST(Positions, ADecodersTokensGetThoseOfTheirPlace) {
  OneRank rank;
  const Plan plan = sequence_parallel_plan();
  for (const PositionKind kind : kPositionKinds) {
    SCOPED_TRACE(position_name(kind));
    ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
    const Positions positions(store, "text", kind, {.sequence = kTokens}, kColumns);
    Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan, .record = false};
    const Shape shape{2, kTokens, kColumns};
    const Tensor x = Tensor::from<float>(rank.device, shape, random_values("x", shape.num_elements()));
    const Tensor whole = positions.add_to(Variable::constant(x, shape, Layout()), pass).tensor();
    EXPECT_EQ(whole.to_vector<float>() == x.to_vector<float>(),
              kind == PositionKind::kRotary || kind == PositionKind::kNone);
    DecodingCache cache(kTokens);
    pass.cache = &cache;
    for (int64_t s = 0; s < kTokens; ++s) {
      const Tensor token = x.slice(1, s, 1).contiguous();
      const Variable y = positions.add_to(Variable::constant(token, token.shape(), Layout()), pass);
      EXPECT_EQ(y.tensor().to_vector<float>(), whole.slice(1, s, 1).to_vector<float>());
      cache.advance();
    }
  }
}

// ---- Rotary

// Su et al. 2021, equation 16: the product of a turned query and a turned key depends on their distance alone.
TEST(RotaryAngles, ProductsDependOnDistancesAlone) {
  OneRank rank;
  constexpr int64_t kLength = 9, kDim = 6;
  const std::vector<float> table = rotary_angles({.sequence = kLength}, kDim, 100);
  const Tensor angles = Tensor::from<float>(rank.device, Shape{kLength, kDim}, table);
  const auto turned = [&](const std::string& name) {  // one vector at every position
    const std::vector<float> one = random_values(name, kDim);
    std::vector<float> all;
    for (int64_t s = 0; s < kLength; ++s) all.insert(all.end(), one.begin(), one.end());
    const Shape shape{1, kLength, kDim};
    return rotary(Variable::constant(Tensor::from<float>(rank.device, shape, all), shape, Layout()), angles)
        .tensor()
        .to_vector<float>();
  };
  const std::vector<float> q = turned("q"), k = turned("k");
  const auto product = [&](int64_t m, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < kDim; ++i) {
      sum += static_cast<double>(q[static_cast<std::size_t>(m * kDim + i)]) *
             static_cast<double>(k[static_cast<std::size_t>(n * kDim + i)]);
    }
    return sum;
  };
  for (int64_t distance = -4; distance <= 4; ++distance) {
    for (int64_t m = 4; m + 1 < kLength && m + 1 - distance < kLength; ++m) {
      EXPECT_NEAR(product(m, m - distance), product(m + 1, m + 1 - distance), 1e-5);
    }
  }
  EXPECT_GT(std::abs(product(0, 0) - product(0, 3)), 1e-2) << "and do depend on them";
}

// As `transformers` has Llama's: theta = 10000^(-2 i / D), one table for both halves.
TEST(RotaryAngles, AreLlamasInALine) {
  const std::vector<float> table = rotary_angles({.sequence = 4}, 4, 10000);
  std::vector<double> expected;
  for (const double p : {0.0, 1.0, 2.0, 3.0}) {
    for (const double angle : {p, p * 0.01}) expected.push_back(std::cos(angle));
    for (const double angle : {p, p * 0.01}) expected.push_back(std::sin(angle));
  }
  EXPECT_LT(relative_error(table, expected), tolerance(DType::kFloat32).local);
  EXPECT_THROW(rotary_angles({.sequence = 4}, 3, 10000), InternalError);
}

// Half of the angles from the row, half from the column; the class token stays as it is.
TEST(RotaryAngles, TurnByRowAndColumnInAGrid) {
  const std::vector<float> table = rotary_angles({.sequence = 5, .side = 2}, 8, 10000);
  std::vector<double> expected{1, 1, 1, 1, 0, 0, 0, 0};
  for (const auto& [row, column] : {std::pair{0.0, 0.0}, {0.0, 1.0}, {1.0, 0.0}, {1.0, 1.0}}) {
    const std::vector<double> angles{row, row * 0.01, column, column * 0.01};
    for (const double angle : angles) expected.push_back(std::cos(angle));
    for (const double angle : angles) expected.push_back(std::sin(angle));
  }
  EXPECT_LT(relative_error(table, expected), tolerance(DType::kFloat32).local);
  EXPECT_THROW(rotary_angles({.sequence = 4, .side = 2}, 6, 10000), InternalError);
}

// ---- Another grid

// OpenCV 5.0.0, cv2.resize(..., interpolation=cv2.INTER_CUBIC) of float32 [3, 3, 2]: the same cubic, a = -0.75.
TEST(InterpolatePositions, IsTheBicubicOfAnotherLibrary) {
  const std::vector<float> front{7, -7};
  const std::vector<float> grid{0,      0,           -0.3f, 0.78332692f,  -0.6f, 0.97384763f,  0.1f, 0.99166483f,
                                -0.15f, 0.51550138f, -0.3f, -0.35078323f, 0.4f,  -0.25554112f, 0.2f, -0.91616595f,
                                0.2f,   -0.88345468f};
  const std::vector<double> larger{
      0.01966087,  -0.1820073, -0.1052256, 0.2346223,  -0.3144001, 0.8090383,  -0.5287587, 1.052832,   -0.6589825,
      1.129042,    0.0444833,  0.4450037,  -0.0748824, 0.6145058,  -0.267,     0.7824907,  -0.4420538, 0.6307018,
      -0.5438496,  0.4709554,  0.1240001,  1.037377,   0.01379999, 0.8692859,  -0.15,      0.5155014,  -0.2598001,
      -0.04894892, -0.3144,    -0.4339465, 0.311517,   0.3650296,  0.2104825,  0.06427406, 0.07500014, -0.379963,
      0.03045374,  -0.6689241, 0.02304983, -0.8098022, 0.4475393,  -0.3101526, 0.3520256,  -0.6470351, 0.2336,
      -1.053606,   0.2283583,  -1.029609,  0.2493824,  -0.9231656};
  const std::vector<double> smaller{-0.0441536, 0.3856432,   -0.4983559, 0.7284398,
                                    0.2890755,  -0.08102729, 0.09640273, -0.7855005};
  std::vector<float> positions = front;
  positions.insert(positions.end(), grid.begin(), grid.end());
  for (const auto& [side, of_grid] : {std::pair{int64_t{5}, larger}, {int64_t{2}, smaller}}) {
    std::vector<double> expected(front.begin(), front.end());  // the class token's stays
    expected.insert(expected.end(), of_grid.begin(), of_grid.end());
    const std::vector<float> found =
        interpolate_positions(positions, {.sequence = 10, .side = 3}, {.sequence = side * side + 1, .side = side}, 2);
    EXPECT_LT(relative_error(found, expected), tolerance(DType::kFloat32).local) << side;
  }
  EXPECT_EQ(interpolate_positions(positions, {.sequence = 10, .side = 3}, {.sequence = 10, .side = 3}, 2), positions);
  EXPECT_THROW(interpolate_positions(positions, {.sequence = 10, .side = 3}, {.sequence = 4, .side = 2}, 2),
               InternalError);
}

// ---- Segments

TEST(SegmentTable, TellsTokensApartOnEveryMesh) {
  const std::vector<int32_t> segments{0, 2, 2, 1, 0, 0};  // [2, kTokens]
  std::vector<ParallelRun> runs = kParallelRuns;
  runs.push_back({{.dp = 2, .tp = 2}, true, Recompute::kSelective, DType::kBFloat16});
  for (const bool one_for_all : {false, true}) {
    SCOPED_TRACE(one_for_all ? "a modality" : "segments");
    ModuleSetup setup;
    setup.batch = 2;
    setup.inputs = {{"x", Shape{2, kTokens, kColumns}, "batch"}};
    setup.make = [&](ParameterStore& store) -> Module {
      const SegmentTable table(store, "text", 3, kColumns);
      return [&, table](std::span<const Variable> inputs, const Pass& pass, const Range& rows) {
        const Tensor all = Tensor::from<int32_t>(pass.device, Shape{2, kTokens}, segments);
        const Tensor of_rows = all.slice(0, rows.begin, rows.length).contiguous();
        const Variable y = one_for_all ? table.add_one(inputs[0], 1, pass) : table.add_each(inputs[0], of_rows, pass);
        EXPECT_EQ(y.layout(), pass.layout("stream"));
        return y;
      };
    };
    check_module(
        setup,
        [&](const Wholes& values) {
          std::vector<double> y = values.at("x");
          const std::vector<double>& table = values.at("text.segments");
          for (std::size_t i = 0; i < y.size(); ++i) {
            const std::size_t column = i % kColumns;
            const std::size_t row = one_for_all ? 1 : static_cast<std::size_t>(segments[i / kColumns]);
            y[i] += table[row * kColumns + column];
          }
          return y;
        },
        runs);
  }
}

// ---- An image's patches, with what a config may choose

TEST(PatchEmbeddingOptions, ANormStandsBeforeTheFirstBlock) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  const Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan, .record = false};
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 2 * 4 * 4 * 3; ++i) pixels.push_back(static_cast<uint8_t>(i * 37));
  const Tensor images = Tensor::from<uint8_t>(rank.device, Shape{2, 4, 4, 3}, pixels);
  PatchEmbedding::Config config{
      .size = 4, .patch = 2, .width = 8, .class_token = true, .positions = PositionKind::kSinusoidal};
  ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
  const std::vector<float> x = PatchEmbedding(store, "image", config).forward(images, pass).tensor().to_vector<float>();
  config.norm = NormConfig{.kind = NormKind::kRms, .epsilon = 1e-3f};
  ParameterStore again(rank.device, rank.mesh, plan, 3, DType::kFloat32);
  const std::vector<float> y = PatchEmbedding(again, "image", config).forward(images, pass).tensor().to_vector<float>();
  EXPECT_EQ(again.all().size(), store.all().size() + 1);
  EXPECT_EQ(again.all().back()->name, "image.norm.weight");
  std::vector<double> expected(x.begin(), x.end());
  for (std::size_t row = 0; row < expected.size(); row += 8) {
    double squares = 0;
    for (std::size_t c = 0; c < 8; ++c) squares += expected[row + c] * expected[row + c] / 8;
    for (std::size_t c = 0; c < 8; ++c) expected[row + c] /= std::sqrt(squares + 1e-3);
  }
  EXPECT_LT(relative_error(y, expected), tolerance(DType::kFloat32).local);
}

}  // namespace
}  // namespace triptych::test
