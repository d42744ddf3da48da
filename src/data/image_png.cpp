#include <array>
#include <csetjmp>
#include <cstring>

#include <png.h>
#include <zlib.h>

#include "base/error.h"
#include "data/image_formats.h"

namespace triptych::data::formats {
namespace {

constexpr const char* kWhere = "image: PNG";

uint32_t big_endian(std::span<const std::byte> bytes, std::size_t offset) {
  uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<uint32_t>(bytes[offset + i]);
  return value;
}

[[noreturn]] void refuse(const char* reason) {
  throw WorldError(
      kWhere, fmt::format("the file must be a whole, sound image: {}. Replace the image or leave it out.", reason));
}

/// Whether the PNG specification (table 11.1) has this pair.
bool is_legal(unsigned depth, unsigned color_type) {
  switch (color_type) {
    case PNG_COLOR_TYPE_GRAY:
      return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    case PNG_COLOR_TYPE_PALETTE:
      return depth == 1 || depth == 2 || depth == 4 || depth == 8;
    case PNG_COLOR_TYPE_RGB:
    case PNG_COLOR_TYPE_GRAY_ALPHA:
    case PNG_COLOR_TYPE_RGB_ALPHA:
      return depth == 8 || depth == 16;
    default:
      return false;
  }
}

struct Input {
  std::span<const std::byte> rest;
  char message[160] = {};
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* input = static_cast<Input*>(png_get_error_ptr(png));
  std::strncpy(input->message, message, sizeof input->message - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}  // of chunks that are not pixels

void on_read(png_structp png, png_bytep out, std::size_t size) {
  auto* input = static_cast<Input*>(png_get_io_ptr(png));
  if (size > input->rest.size()) png_error(png, "the file ends early");
  std::memcpy(out, input->rest.data(), size);
  input->rest = input->rest.subspan(size);
}

/// Owns libpng's state; lives in the frame that calls setjmp, so a longjmp passes over no destructor.
struct Reader {
  Input input;
  png_structp png = nullptr;
  png_infop info = nullptr;

  explicit Reader(std::span<const std::byte> encoded) : input{encoded} {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, on_error, on_warning);
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_read_struct(&png, nullptr, nullptr);
      throw WorldError(kWhere,
                       "libpng could not start: out of memory, or its version differs from the one built with.");
    }
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

}  // namespace

ImageInfo probe_png(std::span<const std::byte> encoded) {
  // Signature (8), then IHDR: length (4), type (4), data (13), checksum (4).
  if (encoded.size() < 33) refuse("the file ends in its header");
  if (big_endian(encoded, 8) != 13 || big_endian(encoded, 12) != 0x49484452u) refuse("the first chunk is not IHDR");
  const uLong checksum = crc32(0, reinterpret_cast<const Bytef*>(encoded.data()) + 12, 17);
  if (checksum != big_endian(encoded, 29)) refuse("the checksum of IHDR does not match");
  const auto byte = [&](std::size_t offset) { return std::to_integer<unsigned>(encoded[offset]); };
  if (!is_legal(byte(24), byte(25)) || byte(26) != 0 || byte(27) != 0 || byte(28) > 1) {
    refuse("IHDR has an illegal bit depth, color type, compression, filter or interlace method");
  }
  const uint32_t width = big_endian(encoded, 16), height = big_endian(encoded, 20);
  check_size(kWhere, width, height);
  return {.format = ImageFormat::kPng, .width = width, .height = height};
}

void decode_png(std::span<const std::byte> encoded, Image& out, std::vector<uint8_t>& scratch,
                std::vector<uint8_t*>& rows) {
  const ImageInfo size = probe_png(encoded);
  Reader reader(encoded);
  png_structp png = reader.png;
  if (setjmp(png_jmpbuf(png)) != 0) refuse(reader.input.message);

  png_set_read_fn(png, &reader.input, on_read);
  png_set_user_limits(png, size.width, size.height);
  png_set_chunk_malloc_max(png, 1u << 20);
  png_set_benign_errors(png, 0);  // more pixels than the header says is an error as well
  // Only pixels matter: texts, profiles and the like are not even decompressed.
  static const unsigned char ignored[] =
      "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0"
      "sRGB\0tEXt\0tIME\0zTXt";
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, ignored, sizeof ignored / 5);

  png_read_info(png, reader.info);
  png_set_expand(png);    // palette and 1, 2, 4 bits to 8; tRNS to alpha
  png_set_scale_16(png);  // round(v * 255 / 65535)
  png_set_gray_to_rgb(png);
  const int num_passes = png_set_interlace_handling(png);
  png_read_update_info(png, reader.info);
  const unsigned channels = png_get_channels(png, reader.info);
  if (channels < 3 || channels > 4 || png_get_rowbytes(png, reader.info) != std::size_t{channels} * size.width) {
    png_error(png, "an unexpected row size");
  }

  shape(out, size.width, size.height);
  const std::size_t num_pixels = std::size_t{size.width} * size.height;
  const bool alpha = channels == 4;
  if (num_passes == 1 && alpha) {  // a row at a time
    scratch.resize(std::size_t{4} * size.width);
    for (std::size_t y = 0; y < size.height; ++y) {
      png_read_row(png, scratch.data(), nullptr);
      composite_on_white(scratch.data(), size.width, out.pixels.data() + 3 * y * size.width);
    }
  } else {
    if (alpha) scratch.resize(4 * num_pixels);
    uint8_t* base = alpha ? scratch.data() : out.pixels.data();
    rows.resize(size.height);
    for (std::size_t y = 0; y < size.height; ++y) rows[y] = base + y * channels * size.width;
    png_read_image(png, rows.data());
    if (alpha) composite_on_white(base, num_pixels, out.pixels.data());
  }
  png_read_end(png, nullptr);  // the rest of the pixels' checksum, and the end marker
}

}  // namespace triptych::data::formats
