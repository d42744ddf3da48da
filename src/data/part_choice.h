#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/rooms.h"

namespace triptych::data {

/// Some of the parts that a sample may have: an image, a text of each of the roles, a box, a label.
struct PartChoice {
  bool images = false, captions = false, questions = false, answers = false, phrases = false, boxes = false;
  bool labels = false;
};

/// A part and what one of it is called.
struct NamedPart {
  std::string_view name;
  bool PartChoice::*chosen;
};
inline constexpr std::array kParts{
    NamedPart{"image", &PartChoice::images},       NamedPart{"caption", &PartChoice::captions},
    NamedPart{"question", &PartChoice::questions}, NamedPart{"answer", &PartChoice::answers},
    NamedPart{"phrase", &PartChoice::phrases},     NamedPart{"box", &PartChoice::boxes},
    NamedPart{"label", &PartChoice::labels}};

/// Choices of parts, numbered: part k of kParts is bit k.
inline constexpr std::size_t kNumPartChoices = std::size_t{1} << kParts.size();
constexpr std::size_t number_of(const PartChoice& parts) {
  std::size_t number = 0;
  for (std::size_t k = 0; k < kParts.size(); ++k) number |= std::size_t{parts.*kParts[k].chosen} << k;
  return number;
}

}  // namespace triptych::data
