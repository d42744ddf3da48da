#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/image_decoder.h"

namespace triptych::data {

/// How the stored rows and columns are to be seen: the orientation 1 to 8 that the file's EXIF block states (JPEG:
/// APP1; PNG: eXIf; WebP: EXIF), 1 where there is none or it states another number. Never throws: a block that is cut,
/// points outside itself or has a wrong checksum counts as none, since it says nothing about the pixels. Cost: walks
/// the headers of the file's parts, no pixel. Thread-safe. Source: CIPA DC-008 (EXIF 2.32), 4.5.4 and 4.6.4 A;
/// TIFF 6.0, section 2.
uint8_t exif_orientation(ImageFormat format, std::span<const std::byte> encoded);

/// Turns and mirrors an image, stored as `orientation` says, to how it is seen; 5 to 8 exchange width and height.
/// `scratch` is memory for the other copy.
void apply_orientation(uint8_t orientation, Image& image, std::vector<uint8_t>& scratch);

/// What a file says of its pixels that decoding passes over, or that it ends before they do, each as a clause ("a
/// colour profile other than sRGB (Display P3) is not applied"): colour profiles, gamma and code points other than
/// sRGB's, and animation. Orientation is not among them, since it is applied. For telling at ingest; bounded like the
/// above, and never throws.
std::vector<std::string> image_remarks(std::span<const std::byte> encoded);

}  // namespace triptych::data
