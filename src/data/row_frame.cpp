#include "data/row_frame.h"

#include <array>
#include <string_view>

#include "data/shard_format.h"

namespace triptych::data {

bool read_frame(const ReadBytes& read, Frame& frame) {
  std::array<char, 5> head{};
  if (!read(head) || std::string_view("INCLPQRFME").find(head[0]) == std::string_view::npos) return false;
  uint64_t length = 0;
  for (std::size_t k = 4; k > 0; --k) length = length << 8 | static_cast<unsigned char>(head[k]);
  frame.kind = static_cast<FrameKind>(head[0]);
  if (length > (frame.kind == FrameKind::kImage ? kMaxImageBytes : kMaxCaptionBytes)) return false;
  frame.bytes.resize(length);
  return read(frame.bytes);
}

}  // namespace triptych::data
