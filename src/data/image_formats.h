#pragma once

// What data/image_decoder.cpp needs of each format; nothing else includes this.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "data/image_decoder.h"

namespace triptych::data::formats {

ImageInfo probe_jpeg(std::span<const std::byte> encoded);
ImageInfo probe_png(std::span<const std::byte> encoded);
ImageInfo probe_webp(std::span<const std::byte> encoded);

/// Each checks the header again through its library and bounds the size before it allocates.
void decode_jpeg(std::span<const std::byte> encoded, unsigned reduction, Image& out, std::vector<uint8_t>& scratch);
void decode_png(std::span<const std::byte> encoded, Image& out, std::vector<uint8_t>& scratch,
                std::vector<uint8_t*>& rows);
void decode_webp(std::span<const std::byte> encoded, Image& out, std::vector<uint8_t>& scratch);

/// Throws WorldError unless both sides are at least 1 and the area is at most kMaxImagePixels.
void check_size(const char* where, uint64_t width, uint64_t height);

/// Sets the size and makes room for the pixels.
void shape(Image& image, uint32_t width, uint32_t height);

/// rgb[i] = rgba[i] over white, rounded to nearest.
void composite_on_white(const uint8_t* rgba, std::size_t num_pixels, uint8_t* rgb);

}  // namespace triptych::data::formats
