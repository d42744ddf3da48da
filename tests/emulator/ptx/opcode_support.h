#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "emulator/ptx/engine_support.h"

namespace triptych::emulator {

/// A kernel of one warp made of a few instructions. Lane i gets its inputs from row i: 64-bit words, `%a0` to `%a3` as
/// .b64 and `%w0` to `%w3` as their low .b32, `%h0` to `%h3` their low .b16; it leaves its results in `%d` (.b64),
/// `%r` (.b32) or `%s` (.b16), whichever `result` names.
inline std::string one_warp_kernel(const std::string& body, const std::string& result, int target = 90) {
  std::string text = ".version 8.7\n.target sm_" + std::to_string(target) + "\n.address_size 64\n";
  text += ".visible .entry test(.param .u64 to, .param .u64 from)\n{\n";
  text += ".reg .b64 %a<4>, %d, %base, %at, %out;\n.reg .b32 %w<4>, %r, %t<9>, %lane;\n.reg .b16 %h<4>, %s;\n";
  text += ".reg .pred %p<4>;\n.reg .f32 %f<4>;\n.reg .f64 %fd<4>;\n";
  text += "ld.param.u64 %base, [from];\nld.param.u64 %out, [to];\nmov.u32 %lane, %tid.x;\n";
  text += "mad.wide.u32 %at, %lane, 32, %base;\nmad.wide.u32 %out, %lane, 8, %out;\n";
  for (int i = 0; i < 4; ++i) {
    const std::string n = std::to_string(i);
    text += "ld.global.b64 %a" + n + ", [%at+" + std::to_string(8 * i) + "];\n";
    text += "cvt.u32.u64 %w" + n + ", %a" + n + ";\ncvt.u16.u64 %h" + n + ", %a" + n + ";\n";
  }
  text += body + "\n";
  if (result == "%r") text += "cvt.u64.u32 %d, %r;\n";
  if (result == "%s") text += "cvt.u64.u16 %d, %s;\n";
  return text + "st.global.b64 [%out], %d;\nret;\n}\n";
}

struct Row {
  uint64_t a = 0, b = 0, c = 0, d = 0;
};

/// Runs `body` for each of at most 32 rows and returns the results.
inline std::vector<uint64_t> run_rows(const std::string& body, const std::string& result, std::vector<Row> rows) {
  Engine engine;
  engine.load(one_warp_kernel(body, result));
  const std::size_t count = rows.size();
  rows.resize(32);
  const uint64_t from = engine.device(rows), to = engine.uninitialised(256);
  engine.shape(1, 32);
  const std::string violation = engine.violation("test", to, from);
  EXPECT_EQ(violation, "") << body << ": " << engine.message;
  if (!violation.empty()) return std::vector<uint64_t>(count);
  auto results = engine.host<uint64_t>(to, 32);
  results.resize(count);
  return results;
}

}  // namespace triptych::emulator
