#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// A box of COCO: left, top, width and height in pixels, and the id of its category.
struct CocoBox {
  std::array<double, 4> corners{};
  int64_t category = 0;
  bool is_crowd = false;
};

/// An image of a COCO file with what annotations say of it.
struct CocoImage {
  std::string file;  ///< empty if annotations name an image that is not listed
  uint32_t width = 0, height = 0;
  std::vector<std::string> captions;
  std::vector<CocoBox> boxes;
  std::string problem;  ///< of one of its annotations, the first; empty if all are sound
};

/// What COCO files say, by the images' ids. Takes memory for every image, caption and box, less than the files are
/// long; segmentations, keypoints and what else there is are read past.
struct CocoSet {
  std::map<uint64_t, CocoImage> images;
  std::map<int64_t, std::string> categories;
};

/// Adds what a COCO file says, of captions or of instances, to what others of the same set said. Throws UserError if
/// the file is not JSON or no COCO file, or if it says of an image or a category what another does not say.
void read_coco(const std::filesystem::path& path, CocoSet& set);

}  // namespace triptych::data
