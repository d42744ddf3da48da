#include "data/caption_text.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include <fmt/core.h>

namespace triptych::data {
namespace {

/// The code point that begins at `at`, which moves behind it; a byte that begins none stands for itself.
uint32_t next_code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t lead = byte(at++);
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
  uint32_t value = more == 0 ? lead : lead & (0x3Fu >> more);
  for (int k = 0; k < more && at < text.size() && (byte(at) & 0xC0) == 0x80; ++k)
    value = value << 6 | (byte(at++) & 0x3F);
  return value;
}

struct CodeRange {
  uint32_t first, last;
};

// Unicode 15: general categories Cc, Cf, Zs, Zl, Zp; Default_Ignorable_Code_Point; the blank Braille pattern; the
// replacement character and SentencePiece's own sign of a space, which its normalisation makes spaces of; private use
// and noncharacters are left out: some fonts give them ink.
constexpr std::array kInvisible{
    CodeRange{0x0000, 0x0020},   CodeRange{0x007F, 0x00A0},   CodeRange{0x00AD, 0x00AD},   CodeRange{0x034F, 0x034F},
    CodeRange{0x0600, 0x0605},   CodeRange{0x061C, 0x061C},   CodeRange{0x06DD, 0x06DD},   CodeRange{0x070F, 0x070F},
    CodeRange{0x0890, 0x0891},   CodeRange{0x08E2, 0x08E2},   CodeRange{0x115F, 0x1160},   CodeRange{0x1680, 0x1680},
    CodeRange{0x17B4, 0x17B5},   CodeRange{0x180B, 0x180F},   CodeRange{0x2000, 0x200F},   CodeRange{0x2028, 0x202F},
    CodeRange{0x205F, 0x206F},   CodeRange{0x2581, 0x2581},   CodeRange{0x2800, 0x2800},   CodeRange{0x3000, 0x3000},
    CodeRange{0x3164, 0x3164},   CodeRange{0xFE00, 0xFE0F},   CodeRange{0xFEFF, 0xFEFF},   CodeRange{0xFFA0, 0xFFA0},
    CodeRange{0xFFF0, 0xFFFB},   CodeRange{0xFFFD, 0xFFFD},   CodeRange{0x110BD, 0x110BD}, CodeRange{0x110CD, 0x110CD},
    CodeRange{0x13430, 0x1343F}, CodeRange{0x1BCA0, 0x1BCA3}, CodeRange{0x1D173, 0x1D17A}, CodeRange{0xE0000, 0xE0FFF},
};

bool is_visible(uint32_t code_point) {
  const auto* range = std::ranges::lower_bound(kInvisible, code_point, {}, &CodeRange::last);
  return range == kInvisible.end() || code_point < range->first;
}

}  // namespace

bool has_visible_text(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (is_visible(next_code_point(text, at))) return true;
  }
  return false;
}

std::string code_points(std::string_view text, std::size_t most) {
  std::string result;
  std::size_t at = 0;
  for (std::size_t k = 0; k < most && at < text.size(); ++k) {
    result += fmt::format("{}U+{:04X}", k == 0 ? "" : " ", next_code_point(text, at));
  }
  return at < text.size() ? result + " ..." : result;
}

}  // namespace triptych::data
