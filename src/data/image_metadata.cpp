#include "data/image_metadata.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/core.h>
#include <zlib.h>

namespace triptych::data {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t kMaxProfileBytes = std::size_t{1} << 20;  // what is looked at of a compressed colour profile
constexpr std::size_t kMaxNameBytes = 60;                       // of a colour profile, in a remark

uint32_t byte_at(Bytes bytes, std::size_t i) {
  return std::to_integer<uint32_t>(bytes[i]);
}

/// The unsigned number of `size` bytes at `offset`, which are there.
uint32_t number_at(Bytes bytes, std::size_t offset, std::size_t size, bool little_endian) {
  uint32_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    value = value << 8 | byte_at(bytes, offset + (little_endian ? size - 1 - i : i));
  }
  return value;
}

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Calls visit(kind, payload) for each part of a file before its pixels ("APP1", of a JPEG) or, where the format allows
/// them behind, all of it ("eXIf", "EXIF"), until that returns false. Ends where a part would lie outside the file, and
/// where the picture ends: what lies behind it is nobody's.
template <typename Visit>
void visit_jpeg(Bytes file, const Visit& visit) {
  std::size_t at = 2;
  while (at + 4 <= file.size() && byte_at(file, at) == 0xFF) {
    const uint32_t marker = byte_at(file, at + 1);
    if (marker == 0xFF) {  // filling
      ++at;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) return;  // pixels, or the end
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {
      at += 2;
      continue;
    }
    const std::size_t length = number_at(file, at + 2, 2, false);
    if (length < 2 || length > file.size() - at - 2) return;
    if (marker >= 0xE0 && marker <= 0xEF) {
      const char name[] = {'A', 'P', 'P', static_cast<char>(marker - 0xE0 < 10 ? '0' + (marker - 0xE0) : '+')};
      if (!visit(std::string_view(name, sizeof name), file.subspan(at + 4, length - 2))) return;
    }
    at += 2 + length;
  }
}

template <typename Visit>
void visit_png(Bytes file, const Visit& visit) {
  std::size_t at = 8;
  while (at + 12 <= file.size()) {
    const std::size_t length = number_at(file, at, 4, false);
    if (length > file.size() - at - 12) return;
    const std::string_view kind = text_of(file.subspan(at + 4, 4));
    if (kind == "IEND") return;
    if (kind != "IDAT") {
      const uLong checksum =
          crc32(0, reinterpret_cast<const Bytef*>(file.data()) + at + 4, static_cast<uInt>(length + 4));
      const bool is_sound = checksum == number_at(file, at + 8 + length, 4, false);
      if (is_sound && !visit(kind, file.subspan(at + 8, length))) return;
    }
    at += 12 + length;
  }
}

template <typename Visit>
void visit_webp(Bytes file, const Visit& visit) {
  if (file.size() < 12) return;
  file = file.first(std::min<std::size_t>(file.size(), std::size_t{8} + number_at(file, 4, 4, true)));
  std::size_t at = 12;
  while (at + 8 <= file.size()) {
    const std::size_t length = number_at(file, at + 4, 4, true);
    if (length > file.size() - at - 8) return;
    if (!visit(text_of(file.subspan(at, 4)), file.subspan(at + 8, length))) return;
    at += 8 + length + length % 2;
  }
}

template <typename Visit>
void visit_parts(ImageFormat format, Bytes file, const Visit& visit) {
  switch (format) {
    case ImageFormat::kJpeg:
      return visit_jpeg(file, visit);
    case ImageFormat::kPng:
      return visit_png(file, visit);
    case ImageFormat::kWebp:
      return visit_webp(file, visit);
  }
}

/// The orientation in a TIFF structure's first directory.
std::optional<uint8_t> orientation_in(Bytes tiff) {
  if (tiff.size() < 8) return std::nullopt;
  const std::string_view mark = text_of(tiff.first(2));
  if (mark != "II" && mark != "MM") return std::nullopt;
  const bool little = mark == "II";
  if (number_at(tiff, 2, 2, little) != 42) return std::nullopt;
  const std::size_t directory = number_at(tiff, 4, 4, little);
  if (directory > tiff.size() - 2) return std::nullopt;
  const std::size_t count = number_at(tiff, directory, 2, little);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) return std::nullopt;
    if (number_at(tiff, entry, 2, little) != 0x0112) continue;
    const uint32_t type = number_at(tiff, entry + 2, 2, little);
    constexpr uint32_t kShort = 3, kLong = 4;
    if ((type != kShort && type != kLong) || number_at(tiff, entry + 4, 4, little) != 1) return std::nullopt;
    const uint32_t value = number_at(tiff, entry + 8, type == kShort ? 2 : 4, little);
    if (value < 1 || value > 8) return std::nullopt;
    return static_cast<uint8_t>(value);
  }
  return std::nullopt;
}

constexpr std::string_view kExifMark{"Exif\0\0", 6};

/// Only what is shown of it; names come from outside.
std::string printable_name(std::string_view name) {
  std::string result;
  for (const char c : name.substr(0, kMaxNameBytes)) result += c >= 0x20 && c < 0x7F ? c : '?';
  return result;
}

/// The name in an ICC profile's `desc` tag; empty if it has none that can be read. Source: ICC.1:2022, 7.2, 7.3, 10.15;
/// ICC.1:2001-04, 6.5.17.
std::string profile_name(Bytes profile) {
  if (profile.size() < 132) return {};
  const std::size_t count = std::min<std::size_t>(number_at(profile, 128, 4, false), 100);
  for (std::size_t i = 0; i < count && 132 + 12 * (i + 1) <= profile.size(); ++i) {
    const std::size_t entry = 132 + 12 * i;
    if (text_of(profile.subspan(entry, 4)) != "desc") continue;
    const std::size_t offset = number_at(profile, entry + 4, 4, false), size = number_at(profile, entry + 8, 4, false);
    if (offset > profile.size() || size > profile.size() - offset || size < 28) return {};
    const Bytes tag = profile.subspan(offset, size);
    if (text_of(tag.first(4)) == "desc") {
      const std::size_t length = number_at(tag, 8, 4, false);
      if (length == 0 || length > tag.size() - 12) return {};
      return std::string(text_of(tag.subspan(12, length - 1)));
    }
    if (text_of(tag.first(4)) != "mluc") return {};
    const std::size_t length = number_at(tag, 20, 4, false), start = number_at(tag, 24, 4, false);
    if (start > tag.size() || length > tag.size() - start) return {};
    std::string name;  // UTF-16; names are ASCII but for the vendor's own letters
    for (std::size_t k = 0; k + 1 < length; k += 2) {
      const uint32_t unit = number_at(tag, start + k, 2, false);
      name += unit < 0x80 ? static_cast<char>(unit) : '?';
    }
    return name;
  }
  return {};
}

std::optional<std::string> remark_on_profile(Bytes profile) {
  const std::string name = profile_name(profile);
  // Grey and ink profiles describe other spaces, but their values are read as the format says.
  if (name.find("sRGB") != std::string::npos || name.find("IEC 61966-2") != std::string::npos ||
      name.find("IEC61966-2") != std::string::npos || name == "c2") {  // "c2": Facebook's small sRGB profile
    return std::nullopt;
  }
  return fmt::format("a colour profile other than sRGB ({}) is not applied",
                     name.empty() ? "without a name" : printable_name(name));
}

/// The profile in an iCCP chunk: a name, zero, the method, zlib data.
std::vector<std::byte> inflate_profile(Bytes chunk) {
  const std::size_t name = text_of(chunk.first(std::min<std::size_t>(chunk.size(), 80))).find('\0');
  if (name == std::string_view::npos || name + 2 > chunk.size()) return {};
  const Bytes packed = chunk.subspan(name + 2);
  std::vector<std::byte> profile(std::min<std::size_t>(kMaxProfileBytes, 64 + packed.size() * 64));
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return {};
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(profile.data());
  stream.avail_out = static_cast<uInt>(profile.size());
  inflate(&stream, Z_FINISH);  // whatever came out is looked at
  profile.resize(std::min<std::size_t>(profile.size(), stream.total_out));
  inflateEnd(&stream);
  return profile;
}

/// Whether a file surely lacks some of its pixels: no end marker behind the beginning of a JPEG's, a PNG whose chunks
/// do not reach the last, a WebP's pixels that are shorter than they say. Looks at no pixel.
bool is_surely_cut(ImageFormat format, Bytes file) {
  if (format == ImageFormat::kJpeg) {
    std::size_t pixels = 2;
    visit_jpeg(file, [&](std::string_view, Bytes payload) {
      pixels = static_cast<std::size_t>(payload.data() + payload.size() - file.data());
      return true;
    });
    return text_of(file).substr(pixels).find("\xFF\xD9") == std::string_view::npos;
  }
  if (format == ImageFormat::kPng) {
    std::size_t at = 8;
    while (at + 12 <= file.size()) {
      if (text_of(file.subspan(at + 4, 4)) == "IEND") return false;
      const std::size_t length = number_at(file, at, 4, false);
      if (length > file.size() - at - 12) return true;
      at += 12 + length;
    }
    return true;
  }
  bool has_pixels = false;
  visit_webp(file, [&](std::string_view kind, Bytes) { return !(has_pixels |= kind == "VP8 " || kind == "VP8L"); });
  return !has_pixels;
}

/// What was found of the parts that are remarked on. Each part stands once in a sound file; of more, the first counts,
/// so that a file's remarks do not grow with its length.
struct Findings {
  bool has_profile = false, has_code_points = false, is_srgb = false, is_animated = false;
  std::optional<uint32_t> gamma;  // times 100000
};

}  // namespace

uint8_t exif_orientation(ImageFormat format, Bytes encoded) {
  const std::string_view wanted = format == ImageFormat::kJpeg ? "APP1" : format == ImageFormat::kPng ? "eXIf" : "EXIF";
  uint8_t orientation = 1;
  visit_parts(format, encoded, [&](std::string_view kind, Bytes payload) {
    if (kind != wanted) return true;
    const bool marked = text_of(payload).starts_with(kExifMark);
    if (format == ImageFormat::kJpeg && !marked) return true;  // XMP lies in APP1 too
    orientation = orientation_in(marked ? payload.subspan(kExifMark.size()) : payload).value_or(1);
    return false;
  });
  return orientation;
}

void apply_orientation(uint8_t orientation, Image& image, std::vector<uint8_t>& scratch) {
  if (orientation <= 1 || orientation > 8) return;
  const std::size_t width = image.width, height = image.height;
  // Seen from the stored (x, y): 2 mirrors x, 4 y, 3 both; 5 to 8 are these after an exchange of x and y.
  const bool is_exchanged = orientation >= 5;
  const bool mirrors_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool mirrors_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const std::size_t seen_width = is_exchanged ? height : width, seen_height = is_exchanged ? width : height;
  scratch.resize(image.pixels.size());
  for (std::size_t y = 0; y < seen_height; ++y) {
    for (std::size_t x = 0; x < seen_width; ++x) {
      const std::size_t from_x = mirrors_x ? seen_width - 1 - x : x, from_y = mirrors_y ? seen_height - 1 - y : y;
      const std::size_t from = is_exchanged ? from_x * width + from_y : from_y * width + from_x;
      std::memcpy(scratch.data() + 3 * (y * seen_width + x), image.pixels.data() + 3 * from, 3);
    }
  }
  image.pixels.swap(scratch);
  image.width = static_cast<uint32_t>(seen_width);
  image.height = static_cast<uint32_t>(seen_height);
}

std::vector<std::string> image_remarks(Bytes encoded) {
  ImageFormat format{};
  try {
    format = probe_image(encoded).format;
  } catch (const std::exception&) {
    return {};
  }
  std::vector<std::string> remarks;
  if (is_surely_cut(format, encoded)) remarks.push_back("the file ends before its pixels do, so it cannot be decoded");
  Findings found;
  const auto add_profile = [&](Bytes profile) {
    if (const std::optional<std::string> remark = remark_on_profile(profile)) remarks.push_back(*remark);
  };
  const auto is_first = [](bool& is_found) { return !std::exchange(is_found, true); };
  constexpr std::string_view kIccMark{"ICC_PROFILE\0\1", 13};  // the first piece, which has the name
  visit_parts(format, encoded, [&](std::string_view kind, Bytes payload) {
    if (kind == "APP2" && payload.size() > 14 && text_of(payload).starts_with(kIccMark)) {
      if (is_first(found.has_profile)) add_profile(payload.subspan(14));
    } else if (kind == "ICCP") {
      if (is_first(found.has_profile)) add_profile(payload);
    } else if (kind == "iCCP") {
      if (is_first(found.has_profile)) add_profile(inflate_profile(payload));
    } else if (kind == "sRGB") {
      found.is_srgb = true;
    } else if (kind == "gAMA" && payload.size() == 4) {
      found.gamma = number_at(payload, 0, 4, false);
    } else if (kind == "cICP" && payload.size() == 4 && is_first(found.has_code_points)) {
      // ITU-T H.273: BT.709 primaries with sRGB's curve are sRGB.
      found.is_srgb = byte_at(payload, 0) == 1 && byte_at(payload, 1) == 13;
      if (!found.is_srgb) remarks.push_back("colour code points (cICP) other than sRGB's are not applied");
    } else if (kind == "acTL" && is_first(found.is_animated)) {
      remarks.push_back("an animation is taken as its first picture");
    }
    return true;
  });
  constexpr double kSrgbGamma = 45455;
  if (found.gamma && !found.is_srgb && !found.has_profile && std::abs(*found.gamma - kSrgbGamma) > 0.05 * kSrgbGamma) {
    remarks.push_back(fmt::format("a gamma other than sRGB's ({:.4g}) is not applied", *found.gamma / 1e5));
  }
  return remarks;
}

}  // namespace triptych::data
