#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "data/image_decoder.h"
#include "data/ingest_source.h"

namespace triptych::data {

/// A record on its way through a thread that checks its image, and what that has found.
struct IngestItem {
  IngestRecord record;
  ImageInfo image{};
  std::vector<std::string> remarks;
  std::string_view reason;  ///< not empty: the sample is bad
  std::string problem;
  std::exception_ptr failure;
  uint64_t read_bytes = 0;  ///< of the image, as the source gave it
  std::atomic<bool> is_checked = false;
};

/// On any thread: everything about the image that needs no other sample. Reads it where the source has but named it.
///
///   decode   its pixels too
void check_image(IngestItem& item, bool decode);

/// Throws SampleFault unless the boxes lie in the image, which was checked, and it is what the source takes it for.
void check_boxes(const IngestItem& item);

}  // namespace triptych::data
