#include "data/sample_description.h"

#include <utility>

#include "base/text.h"
#include "data/caption_text.h"
#include "data/sample_fault.h"

namespace triptych::data {

void add_text(std::string text, TextRole role, SampleDescription& sample) {
  const auto refuse = [&](const std::string& rule) {
    const std::string name = (role == TextRole::kAnswer ? "an " : "a ") + std::string(text_role_name(role));
    throw SampleFault(kBadText, name + rule);
  };
  if (text.empty()) refuse(" is empty; leave it out");
  if (text.size() > kMaxCaptionBytes) {
    refuse(fmt::format(" has {} bytes, at most {} are allowed", text.size(), kMaxCaptionBytes));
  }
  if (!is_utf8(text)) refuse(" is not UTF-8");
  if (!has_visible_text(text)) {
    refuse(fmt::format(" has no text, only {}, of which no token is left; leave it out", code_points(text)));
  }
  if (sample.texts.size() == kMaxCaptionsPerSample) {
    refuse(fmt::format(" is one too many: at most {} texts are allowed", kMaxCaptionsPerSample));
  }
  sample.texts.push_back(std::move(text));
  sample.roles.push_back(role);
}

void add_stripped_caption(std::string_view text, SampleDescription& sample) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  text = first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  add_text(std::string(text), TextRole::kCaption, sample);
}

std::string shown_name(std::string_view name) {
  constexpr std::size_t kMaxShown = 60;
  if (name.size() <= kMaxShown) return std::string(name);
  std::size_t end = kMaxShown;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // not within a letter
  return std::string(name.substr(0, end)) + "...";
}

}  // namespace triptych::data
