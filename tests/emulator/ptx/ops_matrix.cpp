#include <array>
#include <cstring>

#include <fmt/format.h>

#include "emulator/ptx/block.h"
#include "emulator/ptx/builder.h"
#include "emulator/ptx/number_formats.h"
#include "emulator/ptx/warp.h"

// ldmatrix, stmatrix, mma: fragments as "Matrix Fragments for mma" of the PTX ISA lays them out

namespace triptych::emulator::ptx {
namespace {

bool gather_whole_warp(Warp& warp) {
  if (!warp.gather(kAllLanes)) return false;
  if (warp.mask() == kAllLanes) return true;
  warp.fail("divergent-shuffle", first_lane(warp.mask()),
            fmt::format("executes a matrix instruction with the lanes {:#010x}. All 32 must take part.", warp.mask()));
}

// ---- ldmatrix, stmatrix: 8 x 8 matrices of 16-bit elements; lane 8 m + r gives the address of row r of matrix m. Lane
// l holds elements 2 (l % 4) and the next of row l / 4, or with .trans of column l / 4.

constexpr unsigned kRowBytes = 16;

struct MatrixElement {
  unsigned row, column;
};

MatrixElement element_of(int lane, unsigned half, bool transposed) {
  const unsigned major = static_cast<unsigned>(lane) / 4, minor = static_cast<unsigned>(lane) % 4 * 2 + half;
  return transposed ? MatrixElement{minor, major} : MatrixElement{major, minor};
}

uint64_t row_address(Warp& warp, const Op& op, int matrix, unsigned row) {
  const int lane = matrix * 8 + static_cast<int>(row);
  const Operand& base = op.source(0);
  const uint64_t address = (base.bytes == 8 ? warp.lanes<uint64_t>(base)[lane] : warp.lanes<uint32_t>(base)[lane]) +
                           static_cast<uint64_t>(op.offset);
  if (address % kRowBytes == 0) return address;
  warp.fail("misaligned-access", lane,
            fmt::format("gives {:#x} as the address of a matrix row: it must be a multiple of 16.", address));
}

// A lane reads words, of which it keeps one half where it takes a column: whole rows are read together anyway.
void run_ldmatrix(Warp& warp, const Op& op) {
  if (!gather_whole_warp(warp)) return;
  const bool transposed = op.mode != 0;
  std::array<std::array<uint32_t, kLanes>, 4> loaded{};  // a result may be the address's register
  for (int matrix = 0; matrix < op.count; ++matrix) {
    std::array<uint64_t, 8> rows{};
    for (unsigned row = 0; row < 8; ++row) rows[row] = row_address(warp, op, matrix, row);
    for (int lane = 0; lane < kLanes; ++lane) {
      const auto word_of = [&](const MatrixElement& e) {
        uint32_t word = 0;
        std::memcpy(&word, warp.block().shared().read(warp, lane, rows[e.row] + e.column / 2 * 4, 4), 4);
        return word;
      };
      const MatrixElement first = element_of(lane, 0, transposed), second = element_of(lane, 1, transposed);
      uint32_t value = word_of(first);
      if (transposed) {
        const unsigned shift = first.column % 2 * 16;
        value = (value >> shift & 0xFFFF) | (word_of(second) >> shift << 16);
      }
      loaded[static_cast<unsigned>(matrix)][static_cast<unsigned>(lane)] = value;
    }
  }
  for (int matrix = 0; matrix < op.count; ++matrix) {
    std::memcpy(warp.lanes<uint32_t>(op.result(matrix)), loaded[static_cast<unsigned>(matrix)].data(),
                sizeof(uint32_t) * kLanes);
  }
}

void run_stmatrix(Warp& warp, const Op& op) {
  if (!gather_whole_warp(warp)) return;
  for (int matrix = 0; matrix < op.count; ++matrix) {
    const uint32_t* values = warp.lanes<uint32_t>(op.source(1 + matrix));
    for (int lane = 0; lane < kLanes; ++lane) {
      for (unsigned half = 0; half < 2; ++half) {
        const MatrixElement e = element_of(lane, half, op.mode != 0);
        const auto value = static_cast<uint16_t>(values[lane] >> (16 * half));
        warp.block().shared().write(warp, lane, row_address(warp, op, matrix, e.row) + e.column * 2, 2,
                                    reinterpret_cast<const std::byte*>(&value));
      }
    }
  }
}

// Shape, count and the list of registers, of which a single one stands without braces.
std::vector<Term> take_matrices(Builder& builder, const Term& registers) {
  const bool known = builder.take("sync") && builder.take("aligned") && builder.take("m8n8");
  const std::string_view count = builder.take_any({"x1", "x2", "x4"});
  if (!known || count.empty()) builder.unknown("only .sync.aligned.m8n8 with .x1, .x2, .x4 is known");
  builder.op.mode = builder.take("trans") ? 1 : 0;
  builder.take_any({"shared", "shared::cta"});
  if (builder.take_type() != Type::B16) builder.unknown("only 16-bit elements are known");
  builder.op.count = static_cast<uint8_t>(count[1] - '0');
  builder.op.space = Space::Shared;
  std::vector<Term> list = registers.kind == Term::Kind::Vector ? registers.elements : std::vector<Term>{registers};
  if (list.size() != builder.op.count) builder.unknown("not as many registers");
  return list;
}

void build_ldmatrix(Builder& builder) {
  for (const Term& element : take_matrices(builder, builder.term(0))) builder.result(element, 4);
  builder.address(builder.term(1));
  builder.run(run_ldmatrix);
}

void build_stmatrix(Builder& builder) {
  const auto elements = take_matrices(builder, builder.term(1));
  builder.address(builder.term(0));
  for (const Term& element : elements) builder.source(element, Type::B32);
  builder.run(run_stmatrix);
}

// ---- mma: D = A B + C. With g = lane / 4 and t = lane % 4, register r of a lane holds
//
//   16-bit A   rows g, g + 8 alternating by r; columns 2t and 2t + 1, plus 8 from register 2 on
//   16-bit B   rows 2t and 2t + 1, plus 8 r; column g
//   tf32   A   rows g, g + 8 alternating by r; column t, plus 4 from register 2 on
//   tf32   B   row t + 4 r; column g
//   C, D       row g, plus 8 in the second half; columns 2t and 2t + 1
//
// Products of these inputs are exact in float32. Hardware sums them in an order and width of its own; here they are
// added one by one in float32.

constexpr int kM = 16, kN = 8, kMaxK = 16;

template <class Half>
std::array<float, 2> elements_of(uint32_t bits) {
  return {to_float(Half{static_cast<uint16_t>(bits)}), to_float(Half{static_cast<uint16_t>(bits >> 16)})};
}

struct Factors {
  float a[kM][kMaxK], b[kMaxK][kN];
};

template <class Element, int k>
void gather_factors(Warp& warp, const Op& op, Factors& factors) {
  constexpr bool kIsTF32 = std::is_same_v<Element, TF32>;
  constexpr int kWidth = kIsTF32 ? 1 : 2;  // elements of a register
  constexpr int kRegistersB = k / (4 * kWidth), kRegistersA = 2 * kRegistersB;
  for (int r = 0; r < kRegistersA + kRegistersB; ++r) {
    const bool is_a = r < kRegistersA;
    const int index = is_a ? r : r - kRegistersA;
    const uint32_t* registers = warp.lanes<uint32_t>(op.source(r));
    for (int lane = 0; lane < kLanes; ++lane) {
      const int group = lane / 4, first = lane % 4 * kWidth + (is_a ? index / 2 : index) * 4 * kWidth;
      std::array<float, 2> values{};
      if constexpr (kIsTF32) {
        values[0] = to_float(TF32{registers[lane]});
      } else {
        values = elements_of<Element>(registers[lane]);
      }
      for (int i = 0; i < kWidth; ++i) {
        if (is_a) {
          factors.a[group + index % 2 * 8][first + i] = values[static_cast<unsigned>(i)];
        } else {
          factors.b[first + i][group] = values[static_cast<unsigned>(i)];
        }
      }
    }
  }
}

template <class Element, class Accumulator, int k>
void run_mma(Warp& warp, const Op& op) {
  if (!gather_whole_warp(warp)) return;
  constexpr int kFactorRegisters = 3 * k / (std::is_same_v<Element, TF32> ? 4 : 8);
  Factors factors;
  gather_factors<Element, k>(warp, op, factors);

  float sums[kM][kN];
  constexpr bool kIsFloat = std::is_same_v<Accumulator, float>;
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      const Operand& from = op.source(kFactorRegisters + (kIsFloat ? i : i / 2));
      sums[row][column] = kIsFloat ? warp.lanes<float>(from)[lane] : to_float(warp.lanes<F16>(from)[2 * lane + i % 2]);
    }
  }
  for (int row = 0; row < kM; ++row) {
    for (int inner = 0; inner < k; ++inner) {
      const float a = factors.a[row][inner];
      for (int column = 0; column < kN; ++column) sums[row][column] += a * factors.b[inner][column];
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const float sum = sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
      if constexpr (kIsFloat) {
        warp.lanes<float>(op.result(i))[lane] = sum;
      } else {
        warp.lanes<F16>(op.result(i / 2))[2 * lane + i % 2] = to_f16_nearest(sum);
      }
    }
  }
}

struct Shape {
  std::string_view name, element, accumulator;
  int k, registers_a, registers_b, registers_c;
  Execute run;
};

constexpr Shape kShapes[] = {
    {"m16n8k16", "f16", "f32", 16, 4, 2, 4, &run_mma<F16, float, 16>},
    {"m16n8k16", "bf16", "f32", 16, 4, 2, 4, &run_mma<BF16, float, 16>},
    {"m16n8k16", "f16", "f16", 16, 4, 2, 2, &run_mma<F16, F16, 16>},
    {"m16n8k8", "f16", "f32", 8, 2, 1, 4, &run_mma<F16, float, 8>},
    {"m16n8k8", "bf16", "f32", 8, 2, 1, 4, &run_mma<BF16, float, 8>},
    {"m16n8k8", "f16", "f16", 8, 2, 1, 2, &run_mma<F16, F16, 8>},
    {"m16n8k8", "tf32", "f32", 8, 4, 2, 4, &run_mma<TF32, float, 8>},
    {"m16n8k4", "tf32", "f32", 4, 2, 1, 4, &run_mma<TF32, float, 4>},
};

// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {d}, {a}, {b}, {c}`
void build_mma(Builder& builder) {
  const bool known = builder.take("sync") && builder.take("aligned") && builder.take("row") && builder.take("col");
  if (!known) builder.unknown("only .sync.aligned with .row.col is known");
  const std::string_view name = builder.take_any({"m16n8k16", "m16n8k8", "m16n8k4"});
  const Type d = builder.take_type(), a = builder.take_type(), b = builder.take_type(), c = builder.take_type();
  for (const Shape& shape : kShapes) {
    const Type element = parse_type(shape.element), accumulator = parse_type(shape.accumulator);
    if (shape.name != name || a != element || b != element || c != accumulator || d != accumulator) continue;
    const int counts[] = {shape.registers_c, shape.registers_a, shape.registers_b, shape.registers_c};
    for (std::size_t i = 0; i < 4; ++i) {
      const auto& list = builder.term(i).elements;
      if (list.size() != static_cast<std::size_t>(counts[i]))
        builder.unknown("not as many registers as the shape needs");
      for (const Term& term : list) {
        if (i == 0) {
          builder.result(term, 4);
        } else {
          builder.source(term, i == 3 && accumulator == Type::F32 ? Type::F32 : Type::B32);
        }
      }
    }
    return builder.run(shape.run);
  }
  builder.unknown("no such shape or types");
}

}  // namespace

void add_matrix_ops(HandlerTable& table) {
  table["ldmatrix"] = build_ldmatrix;
  table["stmatrix"] = build_stmatrix;
  table["mma"] = build_mma;
}

}  // namespace triptych::emulator::ptx
