#include <climits>

#include "emulator/ptx/opcode_support.h"

namespace triptych::emulator {
namespace {

constexpr uint64_t u(int64_t value) {
  return static_cast<uint64_t>(value);
}
constexpr uint64_t w(int64_t value) {
  return static_cast<uint32_t>(value);
}  // as a 32-bit result reads

struct Case {
  std::string body, result;
  Row row;
  uint64_t expected;
};

class IntegerOpcode : public testing::TestWithParam<Case> {};

TEST_P(IntegerOpcode, GivesTheValue) {
  const Case& c = GetParam();
  EXPECT_EQ(run_rows(c.body, c.result, {c.row})[0], c.expected) << c.body;
}

// Values worked out by hand from the PTX ISA's definitions.
INSTANTIATE_TEST_SUITE_P(
    Table, IntegerOpcode,
    testing::Values(
        Case{"add.s32 %r, %w0, %w1;", "%r", {w(INT_MAX), 1}, 0x80000000},
        Case{"add.u16 %s, %h0, %h1;", "%s", {0xFFFF, 2}, 1},
        Case{"add.sat.s32 %r, %w0, %w1;", "%r", {w(INT_MAX), 1}, 0x7FFFFFFF},
        Case{"sub.sat.s32 %r, %w0, %w1;", "%r", {w(INT_MIN), 1}, 0x80000000},
        Case{"sub.s64 %d, %a0, %a1;", "%d", {3, 5}, u(-2)}, Case{"mul.lo.s32 %r, %w0, %w1;", "%r", {w(-7), 6}, w(-42)},
        Case{"mul.hi.s32 %r, %w0, %w1;", "%r", {w(-2), 1 << 30}, w(-1)},
        Case{"mul.hi.u32 %r, %w0, %w1;", "%r", {0xFFFFFFFF, 0xFFFFFFFF}, 0xFFFFFFFE},
        Case{"mul.wide.s32 %d, %w0, %w1;", "%d", {w(-3), w(INT_MAX)}, u(-3LL * INT_MAX)},
        Case{"mul.wide.u32 %d, %w0, %w1;", "%d", {0xFFFFFFFF, 2}, 0x1FFFFFFFE},
        Case{"mul.wide.s16 %r, %h0, %h1;", "%r", {0xFFFF, 0x7FFF}, w(-32767)},
        Case{"mad.wide.s32 %d, %w0, %w1, %a2;", "%d", {w(-3), 5, 100}, 85},
        Case{"mad.lo.s32 %r, %w0, %w1, %w2;", "%r", {5, 6, w(-31)}, w(-1)},
        Case{"mad.hi.u32 %r, %w0, %w1, %w2;", "%r", {1u << 31, 6, 4}, 7},
        Case{"mul24.lo.u32 %r, %w0, %w1;", "%r", {0xFF000002, 3}, 6},
        Case{"div.s32 %r, %w0, %w1;", "%r", {w(-7), 2}, w(-3)}, Case{"rem.s32 %r, %w0, %w1;", "%r", {w(-7), 2}, w(-1)},
        Case{"div.s32 %r, %w0, %w1;", "%r", {w(INT_MIN), w(-1)}, w(INT_MIN)},
        Case{"rem.u64 %d, %a0, %a1;", "%d", {u(-1), 10}, 5}, Case{"abs.s32 %r, %w0;", "%r", {w(-9)}, 9},
        Case{"neg.s64 %d, %a0;", "%d", {9}, u(-9)}, Case{"min.s32 %r, %w0, %w1;", "%r", {w(-1), 1}, w(-1)},
        Case{"min.u32 %r, %w0, %w1;", "%r", {w(-1), 1}, 1}, Case{"max.s64 %d, %a0, %a1;", "%d", {u(-5), u(-6)}, u(-5)},
        Case{"sad.s32 %r, %w0, %w1, %w2;", "%r", {3, 10, 1}, 8},
        Case{"and.b32 %r, %w0, %w1;", "%r", {0xF0F0, 0xFF00}, 0xF000},
        Case{"or.b64 %d, %a0, %a1;", "%d", {1, u(1LL << 40)}, (1LL << 40) + 1},
        Case{"xor.b16 %s, %h0, %h1;", "%s", {0xFF, 0x0F}, 0xF0}, Case{"not.b32 %r, %w0;", "%r", {0xFFFF0000}, 0xFFFF},
        Case{"cnot.b32 %r, %w0;", "%r", {0}, 1},
        Case{"lop3.b32 %r, %w0, %w1, %w2, 0x96;", "%r", {12, 10, 9}, 12 ^ 10 ^ 9},
        Case{"lop3.b32 %r, %w0, %w1, %w2, 0xEA;", "%r", {12, 10, 1}, (12 & 10) | 1},
        Case{"shl.b32 %r, %w0, %w1;", "%r", {3, 4}, 48}, Case{"shl.b32 %r, %w0, %w1;", "%r", {3, 32}, 0},
        Case{"shr.s32 %r, %w0, %w1;", "%r", {w(-16), 2}, w(-4)},
        Case{"shr.s32 %r, %w0, %w1;", "%r", {w(-16), 99}, w(-1)}, Case{"shr.u64 %d, %a0, %w1;", "%d", {u(-1), 60}, 15},
        Case{"shf.l.wrap.b32 %r, %w0, %w1, %w2;", "%r", {0x80000000, 1, 33}, 3},
        Case{"shf.r.clamp.b32 %r, %w0, %w1, %w2;", "%r", {7, 9, 40}, 9},
        Case{"shf.r.wrap.b32 %r, %w0, %w1, %w2;", "%r", {0x10, 1, 4}, 0x10000001},
        Case{"prmt.b32 %r, %w0, %w1, %w2;", "%r", {0x33221100, 0x77665584, 0xC741}, 0xFF778411},
        Case{"bfe.u32 %r, %w0, %w1, %w2;", "%r", {0xABCD, 4, 8}, 0xBC},
        Case{"bfe.s32 %r, %w0, %w1, %w2;", "%r", {0xABCD, 4, 8}, w(int8_t(0xBC))},
        Case{"bfe.s32 %r, %w0, %w1, %w2;", "%r", {0x80000000, 28, 8}, w(-8)},
        Case{"bfe.u32 %r, %w0, %w1, %w2;", "%r", {5, 0, 0}, 0},
        Case{"bfi.b32 %r, %w0, %w1, %w2, 8;", "%r", {0x5A, 0xFFFFFFFF, 4}, 0xFFFFF5AF},
        Case{"brev.b32 %r, %w0;", "%r", {1}, 0x80000000}, Case{"bmsk.clamp.b32 %r, %w0, %w1;", "%r", {4, 8}, 0xFF0},
        Case{"popc.b64 %r, %a0;", "%r", {u(-1)}, 64}, Case{"clz.b32 %r, %w0;", "%r", {1}, 31},
        Case{"clz.b64 %r, %a0;", "%r", {0}, 64}, Case{"bfind.u32 %r, %w0;", "%r", {0x100}, 8},
        Case{"bfind.s32 %r, %w0;", "%r", {w(-1)}, 0xFFFFFFFF}, Case{"bfind.shiftamt.u32 %r, %w0;", "%r", {0x100}, 23},
        Case{"szext.wrap.s32 %r, %w0, %w1;", "%r", {0x1F, 5}, w(-1)},
        Case{"cvt.s32.s8 %r, %w0;", "%r", {0x80}, w(-128)}, Case{"cvt.u32.u8 %r, %w0;", "%r", {0x1FF}, 255},
        Case{"cvt.sat.u8.s32 %r, %w0;", "%r", {w(-5)}, 0}, Case{"cvt.sat.s8.s32 %r, %w0;", "%r", {300}, 127},
        Case{"cvt.s64.s32 %d, %w0;", "%d", {w(-2)}, u(-2)}, Case{"cvt.u16.u32 %s, %w0;", "%s", {0x12345}, 0x2345},
        Case{
            "setp.lt.s32 %p0|%p1, %w0, %w1;\nselp.b32 %t0, 1, 0, %p0;\nselp.b32 %t1, 2, 0, %p1;\nadd.u32 %r, %t0, %t1;",
            "%r",
            {w(-1), 1},
            1},
        Case{"setp.lt.u32 %p0, %w0, %w1;\nsetp.eq.or.s32 %p1, %w0, %w1, !%p0;\nselp.b32 %r, 1, 0, %p1;",
             "%r",
             {w(-1), 1},
             1},
        Case{"setp.hi.u32 %p0, %w0, %w1;\nselp.b32 %r, 1, 0, %p0;", "%r", {3, 2}, 1},
        Case{"set.eq.u32.s32 %r, %w0, %w1;", "%r", {3, 3}, 0xFFFFFFFF},
        Case{"slct.s32.s32 %r, %w0, %w1, %w2;", "%r", {3, 4, w(-1)}, 4},
        Case{"mov.b64 %d, {%w0, %w1};", "%d", {1, 2}, 0x200000001},
        Case{"mov.b64 {%t0, %r}, %a0;", "%r", {0x500000006}, 5}, Case{"mov.b32 %r, {%h0, %h1};", "%r", {1, 2}, 0x20001},
        Case{"mov.b64 {_, %r}, %a0;", "%r", {0x700000006}, 7}));

TEST(IntegerOpcode, DividesLanesApart) {
  std::vector<Row> rows;
  for (uint64_t i = 0; i < 32; ++i) rows.push_back({1000 + i, i});
  const auto results = run_rows("div.u32 %r, %w0, %w1;", "%r", rows);
  for (uint64_t i = 1; i < 32; ++i) EXPECT_EQ(results[i], (1000 + i) / i);
}

TEST(IntegerOpcode, IndexedBranch) {
  const std::string body =
      "brx.idx %w0, TABLE;\nTABLE: .branchtargets L0, L1, L2;\nL0: mov.u32 %r, 10; bra.uni END;\nL1: mov.u32 "
      "%r, 11; bra.uni END;\nL2: mov.u32 %r, 12;\nEND:";
  EXPECT_EQ(run_rows(body, "%r", {{0}, {1}, {2}, {1}}), (std::vector<uint64_t>{10, 11, 12, 11}));
}

TEST(IntegerOpcode, SpecialRegisters) {
  std::vector<Row> rows(32);
  const auto check = [&](const std::string& name, auto expected) {
    const auto results = run_rows("mov.u32 %r, " + name + ";", "%r", rows);
    for (unsigned i = 0; i < 32; ++i) EXPECT_EQ(results[i], expected(i)) << name;
  };
  check("%laneid", [](unsigned i) { return i; });
  check("%ntid.x", [](unsigned) { return 32U; });
  check("%warpid", [](unsigned) { return 0U; });
  check("%lanemask_lt", [](unsigned i) { return (1U << i) - 1; });
  check("%lanemask_ge", [](unsigned i) { return ~((1U << i) - 1); });
  check("WARP_SZ", [](unsigned) { return 32U; });
}

TEST(IntegerOpcode, SelectCarriesWhatIsUndefinedOnlyAsFarAsItIsUsed) {
  Engine engine;
  engine.shape(1, 32);
  const uint64_t from = engine.device(std::vector<Row>(32)), to = engine.uninitialised(256);
  engine.load(one_warp_kernel("setp.eq.u32 %p0, %w0, 0;\nselp.b32 %r, 5, %t3, %p0;", "%r"));
  EXPECT_EQ(engine.violation("test", to, from), "") << engine.message;
  engine.load(one_warp_kernel("setp.ne.u32 %p0, %w0, 0;\nselp.b32 %r, 5, %t3, %p0;", "%r"));
  EXPECT_EQ(engine.violation("test", to, from), "uninitialised-read");
  engine.load(one_warp_kernel("mov.b32 %t1, %t3;\nmov.b32 %r, 1;", "%r"));
  EXPECT_EQ(engine.violation("test", to, from), "") << engine.message;
  engine.load(one_warp_kernel("mov.b32 %t1, %t3;\nadd.u32 %r, %t1, 1;", "%r"));
  EXPECT_EQ(engine.violation("test", to, from), "uninitialised-read");
  EXPECT_NE(engine.message.find("add.u32 %r, %t1, 1;"), std::string::npos) << engine.message;
  // Written by the lanes below 16 only.
  engine.load(one_warp_kernel(
      "setp.lt.u32 %p0, %lane, 16;\n@%p0 mov.u32 %t3, 1;\n@%p0 add.u32 %t4, %t3, 1;\nmov.u32 %r, 1;", "%r"));
  EXPECT_EQ(engine.violation("test", to, from), "") << engine.message;
  engine.load(one_warp_kernel("setp.lt.u32 %p0, %lane, 16;\n@%p0 mov.u32 %t3, 1;\nadd.u32 %r, %t3, 1;", "%r"));
  EXPECT_EQ(engine.violation("test", to, from), "uninitialised-read");
  EXPECT_NE(engine.message.find("thread (16, 0, 0)"), std::string::npos) << engine.message;
}

TEST(IntegerOpcode, UnknownOnesAreNamedAtTheFirstLaunch) {
  Engine engine;
  engine.shape(1, 32);
  const uint64_t from = engine.device(std::vector<Row>(32)), to = engine.uninitialised(256);
  for (const std::string body : {"frobnicate.b32 %r, %w0;", "add.cc.u32 %r, %w0, %w1;", "add.f16.strange %s, %h0, %h1;",
                                 "mul.wide.u64 %d, %a0, %a1;", "ld.global.L7::much.b32 %r, [%at];"}) {
    engine.load(one_warp_kernel(body + "\nmov.u32 %r, 0;", "%r"));
    EXPECT_EQ(engine.violation("test", to, from), "unknown-opcode") << body;
    EXPECT_NE(engine.message.find(body.substr(0, body.find(' '))), std::string::npos) << engine.message;
  }
  engine.load(one_warp_kernel("call.uni vprintf, ();", "%d"));
  EXPECT_EQ(engine.violation("test", to, from), "unsupported");
}

TEST(IntegerOpcode, AreCounted) {
  const auto count = [](const std::string& opcode) -> uint64_t {
    for (const auto& [name, executions] : opcode_coverage()) {
      if (name == opcode) return executions;
    }
    return 0;
  };
  const uint64_t before = count("bfind.u64");
  run_rows("bfind.u64 %r, %a0;\nbfind.u64 %r, %a1;", "%r", {{1}});
  EXPECT_EQ(count("bfind.u64"), before + 2);
}

}  // namespace
}  // namespace triptych::emulator
