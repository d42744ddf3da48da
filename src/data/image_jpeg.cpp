#include <algorithm>
#include <csetjmp>
#include <cstdio>

#include <jerror.h>
#include <jpeglib.h>

#include "base/error.h"
#include "data/image_formats.h"

namespace triptych::data::formats {
namespace {

constexpr const char* kWhere = "image: JPEG";

// A progressive file may repeat a scan of the whole image in a few bytes; sound encoders write about ten.
constexpr int kMaxScans = 100;

/// libjpeg reports errors by longjmp to where decoding began; the message waits here.
struct ErrorSink {
  jpeg_error_mgr base;  // first: libjpeg hands back a pointer to it
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void fail(j_common_ptr info) {
  auto* sink = reinterpret_cast<ErrorSink*>(info->err);
  info->err->format_message(info, sink->message);
  std::longjmp(sink->jump, 1);
}

/// Bytes between the last pixels and the end marker that are all zero: cameras and editors fill up with them.
bool is_filling(j_common_ptr info) {
  if (info->err->msg_code != JWRN_EXTRANEOUS_DATA || info->err->msg_parm.i[1] != JPEG_EOI) return false;
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  // The decoder has read just behind the last of them, all of the file being in memory.
  const JOCTET* end = decompress->src->next_input_byte;
  return std::all_of(end - info->err->msg_parm.i[0], end, [](JOCTET byte) { return byte == 0; });
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;  // tracing
  // Every warning is a sign of damage (bytes that no part of the image claims come from a header that lies about its
  // height), but for an Adobe marker of an unknown kind, and filling.
  if (info->err->msg_code != JWRN_ADOBE_XFORM && !is_filling(info)) fail(info);
}

void on_progress(j_common_ptr info) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number > kMaxScans) {
    auto* sink = reinterpret_cast<ErrorSink*>(info->err);
    std::snprintf(sink->message, sizeof sink->message, "more than %d scans", kMaxScans);
    std::longjmp(sink->jump, 1);
  }
}

/// Owns the decompressor; lives in the frame that calls setjmp, so a longjmp passes over no destructor.
struct Decompressor {
  jpeg_decompress_struct info{};
  ErrorSink errors{};
  jpeg_progress_mgr progress{};

  Decompressor() {
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = fail;
    errors.base.emit_message = on_message;
    errors.base.output_message = [](j_common_ptr) {};
    progress.progress_monitor = on_progress;
  }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  ~Decompressor() { jpeg_destroy_decompress(&info); }

  [[noreturn]] void rethrow() const {
    throw WorldError(kWhere,
                     fmt::format("the file must be a whole, sound image: {}. Replace the image or leave it out.",
                                 static_cast<const char*>(errors.message)));
  }

  /// May longjmp.
  void read_header(std::span<const std::byte> encoded) {
    jpeg_create_decompress(&info);
    info.progress = &progress;
    jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(encoded.data()),
                 static_cast<unsigned long>(encoded.size()));
    jpeg_read_header(&info, TRUE);
  }
};

/// Inks to RGB. Adobe's files store them inverted, so that 255 is no ink.
void cmyk_to_rgb(const uint8_t* cmyk, std::size_t num_pixels, bool inverted, uint8_t* rgb) {
  const uint8_t flip = inverted ? 0 : 255;
  for (std::size_t i = 0; i < num_pixels; ++i) {
    const uint32_t k = cmyk[4 * i + 3] ^ flip;
    for (std::size_t c = 0; c < 3; ++c) {
      rgb[3 * i + c] = static_cast<uint8_t>(((cmyk[4 * i + c] ^ flip) * k + 127u) / 255u);
    }
  }
}

}  // namespace

ImageInfo probe_jpeg(std::span<const std::byte> encoded) {
  Decompressor jpeg;
  if (setjmp(jpeg.errors.jump) != 0) jpeg.rethrow();
  jpeg.read_header(encoded);
  check_size(kWhere, jpeg.info.image_width, jpeg.info.image_height);
  return {.format = ImageFormat::kJpeg, .width = jpeg.info.image_width, .height = jpeg.info.image_height};
}

void decode_jpeg(std::span<const std::byte> encoded, unsigned reduction, Image& out, std::vector<uint8_t>& scratch) {
  Decompressor jpeg;
  jpeg_decompress_struct& info = jpeg.info;
  if (setjmp(jpeg.errors.jump) != 0) jpeg.rethrow();
  jpeg.read_header(encoded);
  check_size(kWhere, info.image_width, info.image_height);
  const bool four_inks = info.num_components == 4;
  info.out_color_space = four_inks ? JCS_CMYK : JCS_RGB;
  info.scale_num = 1;
  info.scale_denom = reduction;
  jpeg_start_decompress(&info);
  shape(out, info.output_width, info.output_height);
  if (four_inks) scratch.resize(std::size_t{4} * info.output_width);
  while (info.output_scanline < info.output_height) {
    uint8_t* row = out.pixels.data() + std::size_t{3} * info.output_scanline * info.output_width;
    JSAMPROW target = four_inks ? scratch.data() : row;
    jpeg_read_scanlines(&info, &target, 1);
    if (four_inks) cmyk_to_rgb(scratch.data(), info.output_width, info.saw_Adobe_marker, row);
  }
  jpeg_finish_decompress(&info);  // reads on to the end marker, so a cut file is found
}

}  // namespace triptych::data::formats
