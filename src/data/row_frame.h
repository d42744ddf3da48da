#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// What the child process of data/ingest_parquet.h sends: a byte for the kind, a little-endian uint32 of the length,
/// and so many bytes. A row is the frames of its parts up to kRow.
enum class FrameKind : uint8_t {
  kImage = 'I',  ///< encoded image
  kName = 'N',   ///< an image's file
  kCaption = 'C',
  kLabel = 'L',       ///< an integer or a class's name, in letters
  kBadImage = 'P',    ///< what is wrong with its image, in words
  kBadCaption = 'Q',  ///< what is wrong with a caption, in words
  kRow = 'R',         ///< the row is complete; no bytes
  kFailed = 'F',      ///< why no more can be read, in words
  kNoLibrary = 'M',
  kEnd = 'E'  ///< of the file; no bytes
};

struct Frame {
  FrameKind kind{};
  std::string bytes;
};

/// Reads exactly as many bytes as the span has; false if the stream ends before.
using ReadBytes = std::function<bool(std::span<char>)>;

/// The next frame. False if the stream ends before it or within it, the kind is unknown, or it is longer than its kind
/// may be (an image kMaxImageBytes, others kMaxCaptionBytes), which is looked at before memory is taken.
bool read_frame(const ReadBytes& read, Frame& frame);

}  // namespace triptych::data
