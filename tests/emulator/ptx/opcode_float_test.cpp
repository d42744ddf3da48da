#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "emulator/ptx/number_formats.h"
#include "emulator/ptx/opcode_support.h"

namespace triptych::emulator {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

uint64_t f(float value) {
  return std::bit_cast<uint32_t>(value);
}
uint64_t d(double value) {
  return std::bit_cast<uint64_t>(value);
}

struct Case {
  std::string body, result;
  Row row;
  uint64_t expected;
};

class FloatOpcode : public testing::TestWithParam<Case> {};

TEST_P(FloatOpcode, GivesTheBits) {
  const Case& c = GetParam();
  EXPECT_EQ(run_rows(c.body, c.result, {c.row})[0], c.expected) << c.body;
}

constexpr float kEps = 0x1p-23F;

// Halves: 0x3C00 is 1 in float16, 0x3F80 in bfloat16.
INSTANTIATE_TEST_SUITE_P(
    Table, FloatOpcode,
    testing::Values(
        Case{"add.f32 %r, %w0, %w1;", "%r", {f(1), f(0x1p-24F)}, f(1)},
        Case{"add.rp.f32 %r, %w0, %w1;", "%r", {f(1), f(0x1p-60F)}, f(1 + kEps)},
        Case{"add.rm.f32 %r, %w0, %w1;", "%r", {f(1), f(-0x1p-60F)}, f(1 - 0x1p-24F)},
        Case{"add.rz.f32 %r, %w0, %w1;", "%r", {f(-1), f(-0x1p-60F)}, f(-1)},
        Case{"sub.f32 %r, %w0, %w1;", "%r", {f(1), f(3)}, f(-2)},
        Case{"mul.rz.f32 %r, %w0, %w1;", "%r", {f(1 + kEps), f(1 + kEps)}, f(1 + 2 * kEps)},
        Case{"mul.rp.f32 %r, %w0, %w1;", "%r", {f(1 + kEps), f(1 + kEps)}, f(1 + 3 * kEps)},
        Case{"add.ftz.f32 %r, %w0, %w1;", "%r", {1, f(0)}, 0}, Case{"add.f32 %r, %w0, %w1;", "%r", {1, f(0)}, 1},
        Case{"add.sat.f32 %r, %w0, %w1;", "%r", {f(1), f(3)}, f(1)},
        Case{"mul.sat.f32 %r, %w0, %w1;", "%r", {f(kNaN), f(3)}, f(0)},
        Case{"fma.rn.f32 %r, %w0, %w1, %w2;", "%r", {f(1 + kEps), f(1 - kEps), f(-1)}, f(-kEps* kEps)},
        Case{"fma.rm.f32 %r, %w0, %w1, %w2;", "%r", {f(1), f(1), f(-0x1p-60F)}, f(1 - 0x1p-24F)},
        Case{"fma.rz.f32 %r, %w0, %w1, %w2;", "%r", {f(3), f(0x1p-80F), f(1)}, f(1)},
        Case{"fma.rp.f32 %r, %w0, %w1, %w2;", "%r", {f(3), f(0x1p-80F), f(1)}, f(1 + kEps)},
        Case{"div.rn.f32 %r, %w0, %w1;", "%r", {f(1), f(3)}, f(1.0F / 3.0F)},
        Case{"rcp.rn.f32 %r, %w0;", "%r", {f(3)}, f(1.0F / 3.0F)},
        Case{"sqrt.rn.f32 %r, %w0;", "%r", {f(2)}, f(0x1.6A09E6p0F)},
        Case{"rsqrt.approx.f32 %r, %w0;", "%r", {f(4)}, f(0.5F)},
        Case{"ex2.approx.ftz.f32 %r, %w0;", "%r", {f(-3)}, f(0.125F)},
        Case{"ex2.approx.ftz.f32 %r, %w0;", "%r", {f(-140)}, f(0)}, Case{"lg2.approx.f32 %r, %w0;", "%r", {f(8)}, f(3)},
        Case{"sin.approx.f32 %r, %w0;", "%r", {f(0)}, f(0)}, Case{"cos.approx.f32 %r, %w0;", "%r", {f(0)}, f(1)},
        Case{"tanh.approx.f32 %r, %w0;", "%r", {f(100)}, f(1)},
        Case{"min.f32 %r, %w0, %w1;", "%r", {f(kNaN), f(2)}, f(2)},
        Case{"max.f32 %r, %w0, %w1;", "%r", {f(-0.0F), f(0)}, f(0)},
        Case{"min.f32 %r, %w0, %w1;", "%r", {f(0), f(-0.0F)}, f(-0.0F)},
        Case{"max.NaN.f32 %r, %w0, %w1;", "%r", {f(kNaN), f(2)}, f(kNaN)},
        Case{"abs.f32 %r, %w0;", "%r", {f(-2)}, f(2)}, Case{"neg.f32 %r, %w0;", "%r", {f(0)}, f(-0.0F)},
        Case{"copysign.f32 %r, %w0, %w1;", "%r", {f(-1), f(5)}, f(-5)},
        Case{"add.f64 %d, %a0, %a1;", "%d", {d(1), d(0x1p-52)}, d(1 + 0x1p-52)},
        Case{"fma.rn.f64 %d, %a0, %a1, %a2;", "%d", {d(3), d(5), d(-1)}, d(14)},
        Case{"rcp.approx.ftz.f64 %d, %a0;", "%d", {d(4)}, d(0.25)},
        Case{"testp.infinite.f32 %p0, %w0;\nselp.b32 %r, 1, 0, %p0;", "%r", {f(-kInfinity)}, 1},
        Case{"setp.lt.f32 %p0, %w0, %w1;\nselp.b32 %r, 1, 0, %p0;", "%r", {f(kNaN), f(1)}, 0},
        Case{"setp.ltu.f32 %p0, %w0, %w1;\nselp.b32 %r, 1, 0, %p0;", "%r", {f(kNaN), f(1)}, 1},
        Case{"setp.ne.f32 %p0, %w0, %w1;\nselp.b32 %r, 1, 0, %p0;", "%r", {f(kNaN), f(1)}, 0},
        Case{"setp.neu.f32 %p0, %w0, %w1;\nselp.b32 %r, 1, 0, %p0;", "%r", {f(kNaN), f(1)}, 1},
        Case{"setp.num.f32 %p0, %w0, %w1;\nselp.b32 %r, 1, 0, %p0;", "%r", {f(kNaN), f(1)}, 0},
        Case{"set.gt.f32.f32 %r, %w0, %w1;", "%r", {f(2), f(1)}, f(1)},
        Case{"set.eq.f16x2.f16x2 %r, %w0, %w1;", "%r", {0x3C003C00, 0x3C003C01}, 0x3C000000},
        // To integers: rounding, saturation, NaN.
        Case{"cvt.rzi.s32.f32 %r, %w0;", "%r", {f(-2.7F)}, 0xFFFFFFFE},
        Case{"cvt.rni.s32.f32 %r, %w0;", "%r", {f(2.5F)}, 2},
        Case{"cvt.rmi.s32.f32 %r, %w0;", "%r", {f(-2.1F)}, 0xFFFFFFFD},
        Case{"cvt.rpi.u32.f32 %r, %w0;", "%r", {f(2.1F)}, 3},
        Case{"cvt.rzi.s32.f32 %r, %w0;", "%r", {f(3e9F)}, 0x7FFFFFFF},
        Case{"cvt.rzi.u32.f32 %r, %w0;", "%r", {f(-1)}, 0}, Case{"cvt.rzi.s32.f32 %r, %w0;", "%r", {f(kNaN)}, 0},
        Case{"cvt.rzi.s64.f32 %d, %w0;", "%d", {f(kNaN)}, uint64_t{1} << 63},
        Case{"cvt.rzi.u64.f64 %d, %a0;", "%d", {d(1e19)}, 10000000000000000000U},
        Case{"cvt.rni.f32.f32 %r, %w0;", "%r", {f(3.5F)}, f(4)},
        // To floats.
        Case{"cvt.rn.f32.s32 %r, %w0;", "%r", {16777217}, f(16777216)},
        Case{"cvt.rp.f32.s32 %r, %w0;", "%r", {16777217}, f(16777218)},
        Case{"cvt.rz.f32.u64 %r, %a0;", "%r", {~uint64_t{0}}, f(0x1.FFFFFEp63F)},
        Case{"cvt.rn.f32.u64 %r, %a0;", "%r", {~uint64_t{0}}, f(0x1p64F)},
        Case{"cvt.rn.f64.s64 %d, %a0;", "%d", {static_cast<uint64_t>(-5)}, d(-5)},
        Case{"cvt.rn.f32.f64 %r, %a0;", "%r", {d(1 + 0x1p-25)}, f(1)},
        Case{"cvt.rp.f32.f64 %r, %a0;", "%r", {d(1 + 0x1p-50)}, f(1 + kEps)},
        Case{"cvt.f64.f32 %d, %w0;", "%d", {f(0.1F)}, d(static_cast<double>(0.1F))},
        Case{"cvt.sat.f32.f32 %r, %w0;", "%r", {f(-2)}, f(0)},
        Case{"cvt.rn.f16.f32 %s, %w0;", "%s", {f(65519)}, 0x7BFF},
        Case{"cvt.rn.f16.f32 %s, %w0;", "%s", {f(65520)}, 0x7C00},
        Case{"cvt.rz.f16.f32 %s, %w0;", "%s", {f(65520)}, 0x7BFF},
        Case{"cvt.rn.f16.f32 %s, %w0;", "%s", {f(0x1p-24F)}, 1},
        Case{"cvt.rn.f16.f32 %s, %w0;", "%s", {f(0x1p-25F)}, 0},
        Case{"cvt.rn.f16.f32 %s, %w0;", "%s", {f(0x1.8p-25F)}, 1},
        Case{"cvt.f32.f16 %r, %h0;", "%r", {0x0001}, f(0x1p-24F)},
        Case{"cvt.f32.f16 %r, %h0;", "%r", {0xFC00}, f(-kInfinity)},
        Case{"cvt.rn.bf16.f32 %s, %w0;", "%s", {f(1 + 0x1p-8F)}, 0x3F80},
        Case{"cvt.rn.bf16.f32 %s, %w0;", "%s", {f(1 + 0x1.8p-7F)}, 0x3F82},
        Case{"cvt.rz.bf16.f32 %s, %w0;", "%s", {f(1 + 0x1.8p-7F)}, 0x3F81},
        Case{"cvt.rn.bf16.f32 %s, %w0;", "%s", {f(kNaN)}, 0x7FFF},
        Case{"cvt.rn.bf16.f32 %s, %w0;", "%s", {f(0x1.FFFFFEp127F)}, 0x7F80},
        Case{"cvt.f32.bf16 %r, %h0;", "%r", {0x4049}, 0x40490000},
        Case{"cvt.rn.bf16x2.f32 %r, %w0, %w1;", "%r", {f(1), f(2)}, 0x3F804000},
        Case{"cvt.rn.f16x2.f32 %r, %w0, %w1;", "%r", {f(1), f(2)}, 0x3C004000},
        Case{"cvt.rn.relu.bf16x2.f32 %r, %w0, %w1;", "%r", {f(-1), f(2)}, 0x00004000},
        Case{"cvt.rna.tf32.f32 %r, %w0;", "%r", {0x3F801000}, 0x3F802000},
        Case{"cvt.rna.tf32.f32 %r, %w0;", "%r", {0x3F800FFF}, 0x3F800000},
        Case{"cvt.rn.f16.s32 %s, %w0;", "%s", {2049}, 0x6800}, Case{"cvt.rn.bf16.s32 %s, %w0;", "%s", {257}, 0x4380},
        // 16-bit arithmetic.
        Case{"add.rn.f16 %s, %h0, %h1;", "%s", {0x3C00, 0x1000}, 0x3C00},
        Case{"fma.rn.f16x2 %r, %w0, %w1, %w2;", "%r", {0x3C004000, 0x40004200, 0x3C003C00}, 0x42004700},
        // (1 + ulp)^2 + the smallest number: just above what rounds to 1 + 2 ulp.
        Case{"fma.rn.f16 %s, %h0, %h1, %h2;", "%s", {0x3C01, 0x3C01, 0x0001}, 0x3C02},
        Case{"fma.rn.bf16 %s, %h0, %h1, %h2;", "%s", {0x3F81, 0x3F81, 0x0001}, 0x3F82},
        Case{"mul.rn.bf16x2 %r, %w0, %w1;", "%r", {0x40003F80, 0x40403F80}, 0x40C03F80},
        Case{"max.bf16x2 %r, %w0, %w1;", "%r", {0x40003F80, 0xC0407FC0}, 0x40003F80},
        Case{"neg.bf16x2 %r, %w0;", "%r", {0x3F80BF80}, 0xBF803F80},
        Case{"ex2.approx.ftz.bf16x2 %r, %w0;", "%r", {0x40003F80}, 0x40804000},
        Case{"tanh.approx.f16 %s, %h0;", "%s", {0x7800}, 0x3C00}));

// Every half there is, both ways, against the definition by ldexp.
TEST(NumberFormats, EveryHalfIsItsValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
    const double sign = bits >> 15 != 0 ? -1 : 1;
    const ptx::F16 half{static_cast<uint16_t>(bits)};
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(ptx::to_float(half)), fraction != 0);
      continue;
    }
    const double value =
        sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
    ASSERT_EQ(ptx::to_float(half), value);
    ASSERT_EQ(ptx::to_f16_nearest(static_cast<float>(value)).bits, bits);
    ASSERT_EQ(ptx::to_f16(value).bits, bits);
  }
}

TEST(NumberFormats, TheFastRoundingsAreTheGeneralOne) {
  std::mt19937 generator(1);
  for (int i = 0; i < 200000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(generator()));
    ASSERT_EQ(ptx::to_f16_nearest(x).bits, ptx::to_f16(x).bits) << x;
    ASSERT_EQ(ptx::to_bf16_nearest(x).bits, ptx::to_bf16(x).bits) << x;
  }
}

TEST(NumberFormats, RoundingToOddLosesNothing) {
  // 1 + 2^-11 is a tie of float16; what is added decides it, however small.
  const double tie = 1 + 0x1p-11;
  EXPECT_EQ(ptx::to_f16_nearest(ptx::to_odd_float(ptx::fma_to_odd(tie, 1, 0x1p-100))).bits, 0x3C01);
  EXPECT_EQ(ptx::to_f16_nearest(ptx::to_odd_float(ptx::fma_to_odd(tie, 1, -0x1p-100))).bits, 0x3C00);
  EXPECT_EQ(ptx::to_f16_nearest(ptx::to_odd_float(ptx::fma_to_odd(tie, 1, 0))).bits, 0x3C00);
}

}  // namespace
}  // namespace triptych::emulator
