#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace triptych::data {

// Why a sample is left out, in the few words that an ingest counts by.
inline constexpr std::string_view kMalformed = "cannot be understood";
inline constexpr std::string_view kBadText = "text missing, empty, too long or not UTF-8";
inline constexpr std::string_view kBadLabel = "label without meaning";
inline constexpr std::string_view kBadBoxes = "boxes outside the image, or unusable";
inline constexpr std::string_view kDoubleId = "id given twice";
inline constexpr std::string_view kNoImage = "image missing, empty or too large";
inline constexpr std::string_view kBadHeader = "image of an unknown format, or its header damaged";
inline constexpr std::string_view kBadPixels = "image's pixels damaged";
inline constexpr std::string_view kCutArchive = "archive cut or damaged, what follows in it is missing";

/// A sample breaks a rule; those after it may be sound. The text is the rule alone, and the caller adds where it is.
struct SampleFault : UserError {
  /// `reason` is one of the constants above.
  SampleFault(std::string_view reason_, std::string_view rule) : UserError("line", rule), reason(reason_) {}
  std::string_view reason;
};

/// The rule alone, without its place in brackets.
inline std::string rule_of(const Error& error) {
  const std::string_view text = error.what();
  return std::string(text.starts_with("[line] ") ? text.substr(7) : text);
}

}  // namespace triptych::data
