#include "tasks/text_rows.h"

#include <vector>

namespace triptych::tasks {

Fields text_rows(Device& device, const Tokenizer& tokenizer, std::span<const std::string> texts, int64_t length) {
  const auto rows = static_cast<int64_t>(texts.size());
  const auto width = static_cast<std::size_t>(length);
  std::vector<int32_t> tokens(texts.size() * width), lengths;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    lengths.push_back(tokenizer.encode(texts[i], std::span(tokens).subspan(i * width, width)));
  }
  Fields fields(rows);
  fields.set("tokens", Tensor::from<int32_t>(device, Shape{rows, length}, std::span<const int32_t>(tokens)));
  fields.set("lengths", Tensor::from<int32_t>(device, Shape{rows}, std::span<const int32_t>(lengths)));
  return fields;
}

}  // namespace triptych::tasks
