#include <bit>
#include <random>

#include "emulator/ptx/number_formats.h"
#include "emulator/ptx/opcode_support.h"

namespace triptych::emulator {
namespace {

// The fragments' layouts, element by element, as the PTX ISA states them in "Matrix Fragments for mma": an oracle that
// shares nothing with the implementation's loops over registers.
struct Position {
  int row, column;
};

Position a_16bit(int lane, int i, int k) {
  const int group = lane >> 2, thread = lane % 4;
  if (k == 16) {
    const int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
    return {row, i < 4 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8};
  }
  return {i < 2 ? group : group + 8, thread * 2 + (i & 1)};
}

Position b_16bit(int lane, int i, int k) {
  const int group = lane >> 2, thread = lane % 4;
  if (k == 16) return {i < 2 ? thread * 2 + (i & 1) : thread * 2 + (i & 1) + 8, group};
  return {thread * 2 + i, group};
}

Position a_tf32(int lane, int i, int k) {
  const int group = lane >> 2, thread = lane % 4;
  if (k == 8) return {i == 0 || i == 2 ? group : group + 8, i < 2 ? thread : thread + 4};
  return {i == 0 ? group : group + 8, thread};
}

Position b_tf32(int lane, int i) {
  return {i == 0 ? lane % 4 : lane % 4 + 4, lane >> 2};
}

Position c_any(int lane, int i) {
  return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)};
}

struct MmaCase {
  std::string element, accumulator;
  int k;
};

class Mma : public testing::TestWithParam<MmaCase> {};

std::string list(const std::string& name, int count) {
  std::string text = "{";
  for (int i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + name + std::to_string(i);
  return text + "}";
}

uint32_t bits_of(float value, const std::string& element) {
  if (element == "f16") return ptx::to_f16(value).bits;
  if (element == "bf16") return ptx::to_bf16(value).bits;
  return std::bit_cast<uint32_t>(value);
}

TEST_P(Mma, EqualsPlainLoops) {
  const auto& [element, accumulator, k] = GetParam();
  const bool is_tf32 = element == "tf32", float_sums = accumulator == "f32";
  const int elements_a = 16 * k / 32, elements_b = 8 * k / 32, width = is_tf32 ? 1 : 2;
  const int registers_a = elements_a / width, registers_b = elements_b / width, registers_c = float_sums ? 4 : 2;

  // Multiples of 1/8 below 8: exact in every format, and so are the sums.
  std::mt19937 generator(7);
  const auto random = [&] { return static_cast<float>(static_cast<int>(generator() % 33) - 16) / 8; };
  float a[16][16], b[16][8], c[16][8];
  for (auto& row : a)
    for (float& x : row) x = random();
  for (auto& row : b)
    for (float& x : row) x = random();
  for (auto& row : c)
    for (float& x : row) x = random();

  std::vector<uint32_t> inputs(32 * 12);  // 12 words a lane: A, B, C
  for (int lane = 0; lane < 32; ++lane) {
    uint32_t* words = inputs.data() + 12 * lane;
    for (int i = 0; i < elements_a; ++i) {
      const Position p = is_tf32 ? a_tf32(lane, i, k) : a_16bit(lane, i, k);
      words[i / width] |= bits_of(a[p.row][p.column], element) << (i % width * 16);
    }
    for (int i = 0; i < elements_b; ++i) {
      const Position p = is_tf32 ? b_tf32(lane, i) : b_16bit(lane, i, k);
      words[4 + i / width] |= bits_of(b[p.row][p.column], element) << (i % width * 16);
    }
    for (int i = 0; i < 4; ++i) {
      const Position p = c_any(lane, i);
      if (float_sums)
        words[8 + i] = std::bit_cast<uint32_t>(c[p.row][p.column]);
      else
        words[8 + i / 2] |= bits_of(c[p.row][p.column], "f16") << (i % 2 * 16);
    }
  }

  const std::string types = accumulator + "." + element + "." + element + "." + accumulator;
  std::string text =
      ".version 8.7\n.target sm_80\n.address_size 64\n.visible .entry test(.param .u64 to, .param .u64 from)\n{\n"
      ".reg .b64 %from, %to;\n.reg .b32 %lane, %a<4>, %b<4>, %c<4>, %d<4>;\nld.param.u64 %from, [from];\n"
      "ld.param.u64 %to, [to];\nmov.u32 %lane, %laneid;\nmad.wide.u32 %from, %lane, 48, %from;\n"
      "mad.wide.u32 %to, %lane, 16, %to;\n";
  const auto load = [&](const std::string& name, int count, int offset) {
    for (int i = 0; i < count; ++i) {
      text += "ld.global.b32 " + name + std::to_string(i) + ", [%from+" + std::to_string(offset + 4 * i) + "];\n";
    }
  };
  load("%a", registers_a, 0);
  load("%b", registers_b, 16);
  load("%c", registers_c, 32);
  text += "mma.sync.aligned.m16n8k" + std::to_string(k) + ".row.col." + types + " " + list("%d", registers_c) + ", " +
          list("%a", registers_a) + ", " + list("%b", registers_b) + ", " + list("%c", registers_c) + ";\n";
  for (int i = 0; i < registers_c; ++i) {
    text += "st.global.b32 [%to+" + std::to_string(4 * i) + "], %d" + std::to_string(i) + ";\n";
  }
  Engine engine;
  engine.load(text + "ret;\n}\n");
  engine.shape(1, 32);
  const uint64_t from = engine.device(inputs), to = engine.device(std::vector<uint32_t>(128));
  engine.run("test", to, from);
  const auto words = engine.host<uint32_t>(to, 128);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const Position p = c_any(lane, i);
      double expected = c[p.row][p.column];
      for (int inner = 0; inner < k; ++inner) expected += double{a[p.row][inner]} * b[inner][p.column];
      const std::size_t at = static_cast<std::size_t>(4 * lane);
      const float found = float_sums ? std::bit_cast<float>(words[at + static_cast<std::size_t>(i)])
                                     : ptx::to_float(ptx::F16{static_cast<uint16_t>(
                                           words[at + static_cast<std::size_t>(i / 2)] >> (i % 2 * 16))});
      EXPECT_EQ(found, static_cast<float>(expected)) << "lane " << lane << " element " << i;
    }
  }
  engine.shape(1, 16);  // half a warp
  EXPECT_EQ(engine.violation("test", to, from), "divergent-shuffle");
}

INSTANTIATE_TEST_SUITE_P(Shapes, Mma,
                         testing::Values(MmaCase{"f16", "f32", 16}, MmaCase{"bf16", "f32", 16},
                                         MmaCase{"f16", "f16", 16}, MmaCase{"f16", "f32", 8}, MmaCase{"bf16", "f32", 8},
                                         MmaCase{"f16", "f16", 8}, MmaCase{"tf32", "f32", 8},
                                         MmaCase{"tf32", "f32", 4}));

struct LoadCase {
  int count;
  bool transposed;
};

class MatrixLoad : public testing::TestWithParam<LoadCase> {};

// Rows of 16 bytes lie `stride` bytes apart in shared memory; `shift` moves the addresses.
std::string matrix_kernel(int count, bool transposed, int shift, bool barrier) {
  const std::string n = std::to_string(count);
  std::string text =
      ".version 8.7\n.target sm_90\n.address_size 64\n.visible .entry test(.param .u64 to)\n{\n.shared .align 16 .b8 "
      "tile[1024];\n.reg .b64 %to;\n.reg .b32 %lane, %base, %row, %d<4>, %v, %k;\nld.param.u64 %to, [to];\nmov.u32 "
      "%lane, %laneid;\nmad.wide.u32 %to, %lane, 16, %to;\nmov.u32 %base, tile;\nmad.lo.u32 %row, %lane, 32, "
      "%base;\n";
  // Lane l writes row l: elements l * 256 + column.
  for (int word = 0; word < 4; ++word) {
    text += "shl.b32 %v, %lane, 8;\nmul.lo.u32 %k, %v, 65537;\nadd.u32 %v, %k, " +
            std::to_string(2 * word + ((2 * word + 1) << 16)) + ";\nst.shared.b32 [%row+" + std::to_string(4 * word) +
            "], %v;\n";
  }
  if (barrier) text += "bar.warp.sync 0xffffffff;\n";
  text += "add.u32 %row, %row, " + std::to_string(shift) + ";\n";
  text += "ldmatrix.sync.aligned.m8n8.x" + n + (transposed ? ".trans" : "") + ".shared.b16 " + list("%d", count) +
          ", [%row];\n";
  for (int i = 0; i < count; ++i)
    text += "st.global.b32 [%to+" + std::to_string(4 * i) + "], %d" + std::to_string(i) + ";\n";
  return text + "ret;\n}\n";
}

TEST_P(MatrixLoad, PutsElementsWhereTheFragmentsWantThem) {
  const auto [count, transposed] = GetParam();
  Engine engine;
  engine.load(matrix_kernel(count, transposed, 0, true));
  engine.shape(1, 32);
  const uint64_t to = engine.device(std::vector<uint32_t>(128));
  EXPECT_EQ(engine.violation("test", to), "") << engine.message;
  const auto words = engine.host<uint32_t>(to, 128);
  for (int lane = 0; lane < 32; ++lane) {
    for (int matrix = 0; matrix < count; ++matrix) {
      for (int half = 0; half < 2; ++half) {
        const int major = lane / 4, minor = lane % 4 * 2 + half;
        const int row = transposed ? minor : major, column = transposed ? major : minor;
        const auto found = words[static_cast<std::size_t>(4 * lane + matrix)] >> (16 * half) & 0xFFFF;
        EXPECT_EQ(found, static_cast<uint32_t>((matrix * 8 + row) * 256 + column))
            << lane << " " << matrix << " " << half;
      }
    }
  }
  engine.load(matrix_kernel(count, transposed, 8, true));
  EXPECT_EQ(engine.violation("test", to), "misaligned-access") << engine.message;
  engine.load(matrix_kernel(count, transposed, 16, true));
  EXPECT_EQ(engine.violation("test", to), "uninitialised-read") << engine.message;
  engine.load(matrix_kernel(count, transposed, 0, false));
  EXPECT_EQ(engine.violation("test", to), "shared-race") << engine.message;
}

INSTANTIATE_TEST_SUITE_P(Counts, MatrixLoad,
                         testing::Values(LoadCase{1, false}, LoadCase{2, false}, LoadCase{4, false}, LoadCase{1, true},
                                         LoadCase{2, true}, LoadCase{4, true}));

// What stmatrix stores, ldmatrix loads again, from where plain loads expect it.
TEST(MatrixStore, WritesRows) {
  for (const bool transposed : {false, true}) {
    Engine engine;
    engine.load(
        ".version 8.7\n.target sm_90\n.address_size 64\n.visible .entry test(.param .u64 to)\n{\n.shared .align 16 .b8 "
        "tile[128];\n.reg .b64 %to;\n.reg .b32 %lane, %row, %v;\nld.param.u64 %to, [to];\nmov.u32 %lane, %laneid;\n"
        "mad.wide.u32 %to, %lane, 4, %to;\nmov.u32 %v, tile;\nand.b32 %row, %lane, 7;\nmad.lo.u32 %row, %row, 16, %v;\n"
        "mad.lo.u32 %v, %lane, 131074, 65536;\nstmatrix.sync.aligned.m8n8.x1" +
        std::string(transposed ? ".trans" : "") +
        ".shared.b16 [%row], {%v};\nbar.warp.sync -1;\nmov.u32 %v, tile;\nmad.lo.u32 %row, %lane, 4, %v;\n"
        "ld.shared.b32 %v, [%row];\nst.global.b32 [%to], %v;\nret;\n}\n");
    engine.shape(1, 32);
    const uint64_t to = engine.device(std::vector<uint32_t>(32));
    ASSERT_EQ(engine.violation("test", to), "") << engine.message;
    const auto halves = engine.host<uint16_t>(to, 64);
    for (std::size_t row = 0; row < 8; ++row) {
      for (std::size_t column = 0; column < 8; ++column) {
        // Lane l gave 2 l and 2 l + 1: the elements in order, by rows or by columns.
        EXPECT_EQ(halves[8 * row + column], transposed ? 8 * column + row : 8 * row + column);
      }
    }
  }
}

}  // namespace
}  // namespace triptych::emulator
