#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/image_decoder.h"

namespace triptych::data {

/// `rgb[height, width, 3]` as the bytes of a PNG file: lossless, 8 bits a channel. Sizes are at least 1 and agree with
/// the span (a failed check otherwise).
std::vector<std::byte> encode_png(uint32_t width, uint32_t height, std::span<const uint8_t> rgb);

/// Images side by side in rows of `columns`, left to right and top to bottom, on white: of each the centre square, as
/// evaluation sees it, in `cell_pixels` a side, with a margin of a 16th of a cell around each. No image gives an empty
/// sheet of one cell.
Image contact_sheet(std::span<const Image> images, uint32_t columns, uint32_t cell_pixels);

}  // namespace triptych::data
