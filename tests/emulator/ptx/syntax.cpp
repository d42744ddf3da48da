#include "emulator/ptx/syntax.h"

#include <array>
#include <string_view>
#include <utility>

namespace triptych::emulator::ptx {
namespace {

struct TypeFacts {
  std::string_view name;
  int bytes;
  bool is_signed, is_float;
};

// In the order of Type.
constexpr std::array<TypeFacts, 22> kTypes{
    {{"", 0, false, false},    {"pred", 0, false, false}, {"b8", 1, false, false},    {"b16", 2, false, false},
     {"b32", 4, false, false}, {"b64", 8, false, false},  {"b128", 16, false, false}, {"u8", 1, false, false},
     {"u16", 2, false, false}, {"u32", 4, false, false},  {"u64", 8, false, false},   {"s8", 1, true, false},
     {"s16", 2, true, false},  {"s32", 4, true, false},   {"s64", 8, true, false},    {"f16", 2, true, true},
     {"f16x2", 4, true, true}, {"bf16", 2, true, true},   {"bf16x2", 4, true, true},  {"tf32", 4, true, true},
     {"f32", 4, true, true},   {"f64", 8, true, true}}};

const TypeFacts& facts(Type type) {
  return kTypes[static_cast<std::size_t>(type)];
}

}  // namespace

Type parse_type(std::string_view name) {
  for (std::size_t i = 1; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<Type>(i);
  }
  return Type::None;
}

int bytes_of(Type type) {
  return facts(type).bytes;
}
bool is_signed(Type type) {
  return facts(type).is_signed;
}
bool is_float(Type type) {
  return facts(type).is_float;
}

}  // namespace triptych::emulator::ptx
