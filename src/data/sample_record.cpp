#include "data/sample_record.h"

#include <algorithm>

#include "base/error.h"

namespace triptych::data {

std::string_view SampleBuffer::caption(std::size_t k) const {
  TRIPTYCH_CHECK(k < caption_ends.size(), "caption {} of {}", k, caption_ends.size());
  const uint32_t begin = k == 0 ? 0 : caption_ends[k - 1];
  return std::string_view(caption_bytes).substr(begin, caption_ends[k] - begin);
}

uint32_t SampleRecord::num_texts(TextRole asked) const {
  if (roles.empty()) return asked == TextRole::kCaption ? num_captions : 0;
  return static_cast<uint32_t>(std::ranges::count(roles, asked));
}

uint32_t SampleRecord::nth_text(TextRole asked, uint32_t n) const {
  for (uint32_t k = 0, left = n; k < num_captions; ++k) {
    if (role(k) == asked && left-- == 0) return k;
  }
  throw InternalError("data set", fmt::format("text {} of role {} of a sample that has {}", n, text_role_name(asked),
                                              num_texts(asked)));
}

}  // namespace triptych::data
