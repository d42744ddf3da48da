#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "emulator/ptx/engine_support.h"
#include "emulator/ptx/number_formats.h"

namespace triptych::emulator {
namespace {

std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

class Basic : public testing::TestWithParam<int> {
 protected:
  Basic() { engine.load_file("basic", GetParam()); }
  Engine engine;
};

INSTANTIATE_TEST_SUITE_P(Targets, Basic, testing::Values(80, 90), testing::PrintToStringParamName());

TEST_P(Basic, KnowsTargetAndParameters) {
  const auto module = Module::parse(
      ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u32 a, .param "
      ".align 8 .b8 b[12], .param .u64 c) { ret; }",
      "text");
  EXPECT_EQ(module->target(), 90);
  const Module::Kernel* kernel = module->find("k");
  ASSERT_NE(kernel, nullptr);
  ASSERT_EQ(kernel->parameters.size(), 3U);
  EXPECT_EQ(kernel->parameters[1].offset, 8U);
  EXPECT_EQ(kernel->parameters[2].offset, 24U);
  EXPECT_EQ(kernel->parameter_bytes, 32U);
  EXPECT_EQ(module->find("none"), nullptr);
}

TEST_P(Basic, Axpy) {
  for (const int n : {1, 31, 257, 1000}) {
    const auto x = random_floats(static_cast<std::size_t>(n), 1), y = random_floats(static_cast<std::size_t>(n), 2);
    const uint64_t device_x = engine.device(x), device_y = engine.device(y);
    engine.shape(static_cast<uint32_t>(n + 127) / 128, 128);
    const LaunchResult result = engine.run("axpy", device_y, device_x, 1.5F, n);
    const auto found = engine.host<float>(device_y, static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(found[i], std::fma(1.5F, x[i], y[i]));
    EXPECT_EQ(result.reads.num_bytes(), 8U * static_cast<unsigned>(n));
    EXPECT_EQ(result.writes.ranges().size(), 1U);
    EXPECT_TRUE(result.writes.intersects(device_y, device_y + 1));
    EXPECT_FALSE(result.writes.intersects(device_x, device_x + 4U * static_cast<unsigned>(n)));
    EXPECT_EQ(result.bytes_loaded, 8U * static_cast<unsigned>(n));
    EXPECT_EQ(result.bytes_stored, 4U * static_cast<unsigned>(n));
  }
}

TEST_P(Basic, CopiesVectors) {
  const auto x = random_floats(4 * 37, 3);
  const uint64_t from = engine.device(x), to = engine.uninitialised(x.size() * 4);
  engine.shape(2, 32);
  engine.run("copy_vectors", to, from, 37);
  EXPECT_EQ(engine.host<float>(to, x.size()), x);
}

TEST_P(Basic, BlockSum) {
  const auto x = random_floats(1000, 4);
  const uint64_t from = engine.device(x), to = engine.uninitialised(16);
  for (const uint64_t seed : {0, 1, 2, 3}) {
    engine.launch.seed = seed;
    engine.shape(4, 256);
    engine.run("block_sum", to, from, 1000);
    const auto sums = engine.host<float>(to, 4);
    for (std::size_t block = 0; block < 4; ++block) {
      double sum = 0;
      for (std::size_t i = block * 256; i < std::min<std::size_t>(1000, block * 256 + 256); ++i) sum += x[i];
      EXPECT_NEAR(sums[block], sum, 1e-4);
    }
  }
}

TEST_P(Basic, MathFunctions) {
  const std::vector<float> x{0.1F, -0.7F, 1.0F, 2.5F, -3.25F, 10.5F, -20.0F, 0.001F, 55.0F};
  const uint64_t from = engine.device(x), to = engine.uninitialised(x.size() * 64);
  engine.shape(1, 32);
  engine.run("functions", to, from, static_cast<int>(x.size()));
  const auto y = engine.host<float>(to, x.size() * 16);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], a = std::fabs(v), scaled = static_cast<double>(x[i] * 1000.0F);
    const double expected[16] = {std::exp(v),
                                 std::log(a),
                                 std::tanh(v),
                                 std::erf(v),
                                 std::sin(v),
                                 std::cos(scaled),
                                 std::sqrt(a),
                                 1 / std::sqrt(a),
                                 1 / v,
                                 std::pow(a, 1.7F),
                                 std::expm1(v),
                                 std::log1p(a),
                                 std::exp(v),
                                 std::cbrt(v),
                                 std::floor(v) + std::ceil(v) + std::rint(v) + std::trunc(v),
                                 std::fmod(v, static_cast<double>(0.37F))};
    for (std::size_t f = 0; f < 16; ++f) {
      EXPECT_NEAR(y[16 * i + f], expected[f], 4e-6 * std::fabs(expected[f]) + 2e-7) << "function " << f << " of " << v;
    }
  }
}

struct Table {
  uint64_t values;
  int counts[20];
  double scale;
};

TEST_P(Basic, CallsAndLocalMemory) {
  const auto x = random_floats(32, 5);
  Table table{engine.device(x), {}, 0.25};
  for (int i = 0; i < 20; ++i) table.counts[i] = i % 7;
  const uint64_t to = engine.uninitialised(128);
  engine.shape(1, 32);
  engine.run("calls", to, table, 11);
  const auto y = engine.host<float>(to, 32);
  for (int t = 0; t < 32; ++t) {
    float result = x[static_cast<std::size_t>((t + 3) % 32)] + 0.25F;
    if (t >= 8) {
      float sum = 0;
      for (int i = 0; i < table.counts[t % 20]; ++i) sum = std::fma(x[static_cast<std::size_t>(i)], 2.0F, sum);
      result += sum;
    }
    const float expected[6] = {result + 100, result * 3, result - 7, -result, result / 3, result + 0.5F};
    EXPECT_FLOAT_EQ(y[static_cast<std::size_t>(t)], expected[t % 6]) << t;
  }
}

TEST_P(Basic, Halves) {
  const auto x = random_floats(64, 6);
  const uint64_t from = engine.device(x), b = engine.uninitialised(128), h = engine.uninitialised(128);
  engine.shape(1, 32);
  engine.run("halves", b, h, from, 64);
  const auto bits_b = engine.host<uint16_t>(b, 64), bits_h = engine.host<uint16_t>(h, 64);
  for (std::size_t i = 0; i < 64; ++i) {
    const double vb = ptx::to_float(ptx::to_bf16(x[i])), vh = ptx::to_float(ptx::to_f16(x[i]));
    EXPECT_EQ(bits_b[i], ptx::to_bf16(vb * vb + 1).bits);
    EXPECT_EQ(bits_h[i], ptx::to_f16(ptx::to_float(ptx::to_f16(vh * vh)) + 1.0).bits);
  }
}

TEST_P(Basic, AtomicsOfBlocksDoNotRace) {
  std::vector<unsigned> x(1000), expected(16);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<unsigned>(i * i), ++expected[x[i] % 16];
  const uint64_t from = engine.device(x), counts = engine.device(std::vector<unsigned>(16));
  engine.shape(3, 64);
  engine.run("histogram", counts, from, 1000);
  EXPECT_EQ(engine.host<unsigned>(counts, 16), expected);
}

TEST_P(Basic, LastBlockMayReadTheOthers) {
  const auto x = random_floats(500, 7);
  const uint64_t from = engine.device(x), sums = engine.uninitialised(28), total = engine.uninitialised(4),
                 counter = engine.device(std::vector<unsigned>(1));
  engine.shape(7, 32);
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    engine.launch.seed = seed;
    engine.run("last_block_sum", total, sums, counter, from, 500);
    double sum = 0;
    for (const float value : x) sum += value;
    EXPECT_NEAR(engine.host<float>(total, 1)[0], sum, 1e-4);
  }
}

TEST_P(Basic, TheSeedDecidesWhoComesFirst) {
  const auto arrivals = [&](uint64_t seed) {
    const uint64_t order = engine.uninitialised(16 * 4), counter = engine.device(std::vector<unsigned>(1));
    engine.shape(4, 128);
    engine.launch.seed = seed;
    engine.run("arrival_order", order, counter);
    return engine.host<unsigned>(order, 16);
  };
  std::set<std::vector<unsigned>> orders;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    auto order = arrivals(seed);
    EXPECT_EQ(order, arrivals(seed));
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(order[i], 32 * i);
  }
  EXPECT_EQ(orders.size(), 8U);
}

TEST_P(Basic, Votes) {
  std::vector<int> x(32);
  for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(i)] = i % 5 - 2;
  const uint64_t from = engine.device(x), to = engine.uninitialised(1024);
  engine.shape(1, 32);
  engine.run("votes", to, from);
  const auto y = engine.host<unsigned>(to, 256);
  unsigned ballot = 0, sum = 0, positive = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    ballot |= unsigned{x[i] > 0} << i;
    sum += static_cast<unsigned>(x[i]);
    positive += x[i] > 0;
  }
  for (std::size_t t = 0; t < 32; ++t) {
    unsigned equal = 0;
    for (std::size_t i = 0; i < 32; ++i) equal |= unsigned{x[i] == x[t]} << i;
    const unsigned up = static_cast<unsigned>(x[t % 16 < 3 ? t : t - 3]),
                   indexed = static_cast<unsigned>(x[t / 8 * 8 + 5]);
    const unsigned expected[8] = {ballot, 2, equal, sum, static_cast<unsigned>(-2), positive, 2, up + indexed};
    for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(y[8 * t + i], expected[i]) << "lane " << t << " value " << i;
  }
}

TEST_P(Basic, Integers) {
  std::vector<long long> x{5, -3, 1LL << 40, 77, -(1LL << 62), 12345678901234, -1, 9, 100, 3, 0, 4096};
  std::mt19937_64 generator(8);
  while (x.size() < 33) x.push_back(static_cast<long long>(generator()));
  const uint64_t from = engine.device(x), to = engine.uninitialised(32 * 12 * 8);
  engine.shape(1, 32);
  engine.run("integers", to, from, 33);
  const auto y = engine.host<long long>(to, 32 * 12);
  const auto brev = [](uint64_t v) {
    uint64_t r = 0;
    for (int i = 0; i < 64; ++i) r |= (v >> i & 1) << (63 - i);
    return static_cast<long long>(r);
  };
  for (std::size_t i = 0; i < 32; ++i) {
    const long long a = x[i], b = x[i + 1];
    const auto ua = static_cast<uint32_t>(a), ub = static_cast<uint32_t>(b);
    const uint32_t permuted =
        ((ub >> 16) & 0xFF) | (ub & 0xFF) << 8 | ((ua >> 16) & 0xFF) << 16 | ((ub >> 8) & 0xFF) << 24;
    const float narrow = static_cast<float>(b);
    const int saturated = narrow >= 2147483648.0F    ? INT32_MAX
                          : narrow <= -2147483648.0F ? INT32_MIN
                                                     : static_cast<int>(narrow);
    const long long expected[12] = {b != 0 ? a / b : 0,
                                    b != 0 ? a % b : 0,
                                    static_cast<long long>((__int128{a} * b) >> 64),
                                    static_cast<long long>(uint64_t{ua} * ub >> 32),
                                    std::popcount(static_cast<uint64_t>(a)) +
                                        std::countl_zero(static_cast<uint64_t>(b)) +
                                        (a == 0 ? 0 : std::countr_zero(static_cast<uint64_t>(a)) + 1),
                                    brev(static_cast<uint64_t>(a)),
                                    permuted,
                                    static_cast<long long>(static_cast<uint32_t>((uint64_t{ub} << 32 | ua) >> 7)),
                                    static_cast<short>(a) * static_cast<signed char>(b),
                                    std::min(std::max(a, b), 1000LL),
                                    a >> (b & 63),
                                    static_cast<long long>(static_cast<double>(a) * 1e-3) + saturated};
    for (std::size_t k = 0; k < 12; ++k)
      EXPECT_EQ(y[12 * i + k], expected[k]) << "value " << k << " of " << a << ", " << b;
  }
}

}  // namespace
}  // namespace triptych::emulator
