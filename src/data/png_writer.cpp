#include "data/png_writer.h"

#include <algorithm>
#include <string>

#include <fmt/core.h>
#include <png.h>

#include "base/checked.h"
#include "base/error.h"
#include "data/transforms.h"

namespace triptych::data {

std::vector<std::byte> encode_png(uint32_t width, uint32_t height, std::span<const uint8_t> rgb) {
  TRIPTYCH_CHECK(width >= 1 && height >= 1 && uint64_t{width} * height <= kMaxImagePixels &&
                     rgb.size() == uint64_t{width} * height * 3,
                 "{} x {} pixels in {} bytes", width, height, rgb.size());
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = PNG_FORMAT_RGB;
  // The bound on what any image of this size can take, so that it is compressed once, not once more to ask for the
  // size.
  png_alloc_size_t num_bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::byte> png(num_bytes);
  const int row_stride = 0;  // packed rows
  if (png_image_write_to_memory(&image, png.data(), &num_bytes, 0, rgb.data(), row_stride, nullptr) == 0) {
    const std::string reason = image.message;
    png_image_free(&image);
    throw InternalError("png", fmt::format("{} x {} pixels cannot be encoded: {}.", width, height, reason));
  }
  png.resize(num_bytes);
  png.shrink_to_fit();
  return png;
}

Image contact_sheet(std::span<const Image> images, uint32_t columns, uint32_t cell_pixels) {
  TRIPTYCH_CHECK(columns >= 1 && cell_pixels >= 1, "{} columns of {} pixels", columns, cell_pixels);
  const uint64_t margin = std::max(cell_pixels / 16, 1u), pitch = uint64_t{cell_pixels} + 2 * margin;
  const uint64_t num_cells = std::max<uint64_t>(images.size(), 1);
  const uint64_t num_columns = std::min<uint64_t>(columns, num_cells);
  const uint64_t num_rows = (num_cells + num_columns - 1) / num_columns;
  TRIPTYCH_CHECK(pitch <= kMaxImagePixels && num_cells + num_columns <= kMaxImagePixels / pitch / pitch,
                 "{} images of {} pixels a side", images.size(), cell_pixels);

  Image sheet{narrow<uint32_t>(num_columns * pitch), narrow<uint32_t>(num_rows * pitch), {}};
  sheet.pixels.assign(std::size_t{sheet.width} * sheet.height * 3, 255);
  Resizer resizer;
  std::vector<uint8_t> cell(std::size_t{cell_pixels} * cell_pixels * 3);
  const std::size_t row_bytes = std::size_t{cell_pixels} * 3;
  for (std::size_t i = 0; i < images.size(); ++i) {
    resizer.resize(images[i], center_square(images[i].width, images[i].height), cell_pixels, cell);
    const std::size_t left = (i % num_columns) * pitch + margin, top = (i / num_columns) * pitch + margin;
    for (std::size_t y = 0; y < cell_pixels; ++y) {
      std::copy_n(cell.begin() + static_cast<std::ptrdiff_t>(y * row_bytes), row_bytes,
                  sheet.pixels.begin() + static_cast<std::ptrdiff_t>(((top + y) * sheet.width + left) * 3));
    }
  }
  return sheet;
}

}  // namespace triptych::data
