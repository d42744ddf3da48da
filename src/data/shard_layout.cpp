#include "data/shard_layout.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "base/file.h"
#include "data/child_process.h"
#include "data/hdf5_handle.h"

namespace triptych::data {
namespace {

constexpr std::string_view kRemedy = "Write it as docs/shard-format.md says";
constexpr hsize_t kMaxStringBytes = 256;  // of an attribute; the longest legal one is a data-set id

/// The open file, in the child. Every broken rule is a UserError.
class Opened {
 public:
  explicit Opened(const std::filesystem::path& path)
      : where_(path.string()), file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose) {
    if (!file_.valid())
      refuse(fmt::format("HDF5 cannot open it ({})", hdf5_reason()), "It may be damaged; write it again");
  }

  [[noreturn]] void refuse(std::string_view rule, std::string_view remedy = kRemedy) const {
    throw UserError(where_, fmt::format("{}. {}.", rule, remedy));
  }

  std::string text(const char* name) const {
    const Hdf5Handle attribute = scalar_attribute(name);
    const Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose);
    if (H5Tget_class(type.get()) != H5T_STRING) refuse(fmt::format("the attribute '{}' must be a string", name));
    if (H5Tis_variable_str(type.get()) > 0) {
      char* value = nullptr;
      const Hdf5Handle memory(H5Tcopy(type.get()), H5Tclose);
      if (H5Aread(attribute.get(), memory.get(), static_cast<void*>(&value)) < 0) unreadable(name);
      return value == nullptr ? "" : std::string(value, ::strnlen(value, kMaxStringBytes));
    }
    const std::size_t bytes = H5Tget_size(type.get());
    if (bytes == 0 || bytes > kMaxStringBytes) {
      refuse(fmt::format("the attribute '{}' has {} bytes, at most {} are allowed", name, bytes, kMaxStringBytes));
    }
    std::string value(bytes, '\0');
    if (H5Aread(attribute.get(), type.get(), value.data()) < 0) unreadable(name);
    value.resize(::strnlen(value.data(), bytes));
    return value;
  }

  int64_t integer(const char* name) const {
    const Hdf5Handle attribute = scalar_attribute(name);
    const Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose);
    if (H5Tget_class(type.get()) != H5T_INTEGER) refuse(fmt::format("the attribute '{}' must be an integer", name));
    int64_t value = 0;
    if (H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) < 0) unreadable(name);
    return value;
  }

  bool has(const char* name) const { return H5Lexists(file_.get(), name, H5P_DEFAULT) > 0; }

  void require_group(const char* name) const {
    require_hard_link(name);
    const Hdf5Handle group(H5Gopen2(file_.get(), name, H5P_DEFAULT), H5Gclose);
    if (!group.valid()) refuse(fmt::format("'{}' must be a group", name));
  }

  /// Place of a one-dimensional array of integers of `bytes` bytes; `count` becomes its length.
  ArrayPlace array(const char* name, std::size_t bytes, bool is_signed, uint64_t& count) const {
    require_hard_link(name);
    const Hdf5Handle array(H5Dopen2(file_.get(), name, H5P_DEFAULT), H5Dclose);
    if (!array.valid()) refuse(fmt::format("'{}' must be a dataset ({})", name, hdf5_reason()));
    check_type(name, array.get(), bytes, is_signed);
    count = length(name, array.get());
    check_storage(name, array.get());
    if (count == 0) return {};
    const haddr_t offset = H5Dget_offset(array.get());
    if (offset == HADDR_UNDEF)
      refuse(fmt::format("'{}' was created but its {} elements were never written", name, count));
    return {offset, checked_mul<uint64_t>(count, bytes, where_)};
  }

 private:
  [[noreturn]] void unreadable(const char* name) const {
    refuse(fmt::format("the attribute '{}' cannot be read ({})", name, hdf5_reason()),
           "The file may be damaged; write it again");
  }

  Hdf5Handle scalar_attribute(const char* name) const {
    if (H5Aexists(file_.get(), name) <= 0) refuse(fmt::format("the root attribute '{}' is missing", name));
    Hdf5Handle attribute(H5Aopen(file_.get(), name, H5P_DEFAULT), H5Aclose);
    const Hdf5Handle space(attribute.valid() ? H5Aget_space(attribute.get()) : H5I_INVALID_HID, H5Sclose);
    if (!space.valid()) unreadable(name);
    if (H5Sget_simple_extent_npoints(space.get()) != 1)
      refuse(fmt::format("the attribute '{}' must be one value", name));
    return attribute;
  }

  /// Soft and external links could lead into other files.
  void require_hard_link(const char* name) const {
    if (!has(name)) refuse(fmt::format("'{}' is missing", name));
    H5L_info_t info;
    if (H5Lget_info(file_.get(), name, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) {
      refuse(fmt::format("'{}' must be in the file itself, found a soft or external link", name));
    }
  }

  void check_type(const char* name, hid_t array, std::size_t bytes, bool is_signed) const {
    const std::string expected =
        fmt::format("{}int{}{}", is_signed ? "" : "u", 8 * bytes, bytes > 1 ? ", little-endian" : "");
    const Hdf5Handle type(H5Dget_type(array), H5Tclose);
    if (H5Tget_class(type.get()) != H5T_INTEGER)
      refuse(fmt::format("'{}' must be {}, found no integer", name, expected));
    const std::size_t size = H5Tget_size(type.get());
    const bool found_signed = H5Tget_sign(type.get()) == H5T_SGN_2;
    const bool big_endian = size > 1 && H5Tget_order(type.get()) != H5T_ORDER_LE;
    if (size != bytes || found_signed != is_signed || big_endian || H5Tget_precision(type.get()) != 8 * bytes ||
        H5Tget_offset(type.get()) != 0) {
      refuse(fmt::format("'{}' must be {}, found {}int{}{}", name, expected, found_signed ? "" : "u", 8 * size,
                         big_endian ? ", not little-endian" : ""));
    }
  }

  uint64_t length(const char* name, hid_t array) const {
    const Hdf5Handle space(H5Dget_space(array), H5Sclose);
    const int rank = H5Sget_simple_extent_ndims(space.get());
    hsize_t extent = 0;
    if (rank != 1 || H5Sget_simple_extent_type(space.get()) != H5S_SIMPLE ||
        H5Sget_simple_extent_dims(space.get(), &extent, nullptr) != 1) {
      refuse(fmt::format("'{}' must have one dimension, found {}", name, rank));
    }
    return extent;
  }

  void check_storage(const char* name, hid_t array) const {
    const Hdf5Handle properties(H5Dget_create_plist(array), H5Pclose);
    if (!properties.valid()) refuse(fmt::format("how '{}' is stored cannot be read ({})", name, hdf5_reason()));
    const H5D_layout_t layout = H5Pget_layout(properties.get());
    if (layout != H5D_CONTIGUOUS) {
      const char* found = layout == H5D_CHUNKED   ? "chunked (compressed or resizable)"
                          : layout == H5D_COMPACT ? "compact"
                          : layout == H5D_VIRTUAL ? "virtual"
                                                  : "unknown";
      refuse(fmt::format("'{}' must be stored contiguously, found {} storage", name, found),
             "Write it without chunks, compression, filters and maxshape, or convert the file with `h5repack -l CONTI "
             "-f NONE`");
    }
    if (H5Pget_nfilters(properties.get()) != 0) refuse(fmt::format("'{}' must have no filters", name));
    if (H5Pget_external_count(properties.get()) != 0) {
      refuse(fmt::format("'{}' must be in the file itself, found external storage", name));
    }
  }

  std::string where_;
  Hdf5Handle file_;
};

constexpr std::array<const char*, 4> kBoxArrays{"boxes/first", "boxes/corners", "boxes/classes", "boxes/phrases"};

/// The answer of the child; plain, so that it passes through a pipe as it is.
struct Answer {
  ShardLayout layout;
  std::array<char, kMaxDataSetIdBytes> data_set_id{};
};

Answer ask_hdf5(const std::filesystem::path& path) {
  const QuietHdf5 quiet;
  const Opened file(path);
  const std::string format = file.text("format");
  if (format != kShardFormatName) {
    file.refuse(fmt::format("the attribute 'format' must be '{}', found '{}'", kShardFormatName, format));
  }
  const int64_t version = file.integer("format_version");
  if (version != kShardFormatVersion && version != kAnnotatedShardVersion) {
    file.refuse(fmt::format("format version {} is not known, only {} and {} are", version, kShardFormatVersion,
                            kAnnotatedShardVersion));
  }
  Answer answer;
  const std::string id = file.text("data_set_id");
  if (!is_data_set_id(id)) {
    file.refuse(fmt::format("the attribute 'data_set_id' must be 1 to {} letters, digits, '-', '_' or '.', found '{}'",
                            kMaxDataSetIdBytes, id));
  }
  std::copy(id.begin(), id.end(), answer.data_set_id.begin());
  const int64_t samples = file.integer("num_samples"), captions = file.integer("num_captions");
  if (samples < 0 || captions < 0 || static_cast<uint64_t>(samples) > kMaxSamplesPerShard ||
      static_cast<uint64_t>(captions) > kMaxSamplesPerShard) {
    file.refuse(fmt::format("num_samples and num_captions must be 0 to {}, found {} and {}", kMaxSamplesPerShard,
                            samples, captions));
  }

  ShardLayout& layout = answer.layout;
  layout.num_samples = static_cast<uint64_t>(samples);
  layout.num_captions = static_cast<uint64_t>(captions);
  for (const char* group : {"images", "captions", "samples"}) file.require_group(group);
  const auto of_length = [&](const char* name, std::size_t bytes, bool is_signed, uint64_t expected,
                             std::string_view reason) {
    uint64_t count = 0;
    const ArrayPlace place = file.array(name, bytes, is_signed, count);
    if (count != expected)
      file.refuse(fmt::format("'{}' must have {} elements for {}, found {}", name, expected, reason, count));
    return place;
  };
  const std::string counts = fmt::format("{} samples and {} captions", samples, captions);
  const auto sized = [&](const char* name, bool is_signed, uint64_t expected) {
    return of_length(name, 8, is_signed, expected, counts);
  };
  uint64_t ignored = 0;
  layout.image_bytes = file.array("images/bytes", 1, false, ignored);
  layout.caption_bytes = file.array("captions/bytes", 1, false, ignored);
  layout.image_offsets = sized("images/offsets", false, layout.num_samples + 1);
  layout.caption_first = sized("captions/first", false, layout.num_samples + 1);
  layout.caption_offsets = sized("captions/offsets", false, layout.num_captions + 1);
  layout.ids = sized("samples/ids", false, layout.num_samples);
  layout.has_labels = file.has("samples/labels");
  if (layout.has_labels) layout.labels = sized("samples/labels", true, layout.num_samples);

  layout.has_roles = file.has("captions/roles");
  layout.has_boxes =
      file.has("boxes") && std::ranges::any_of(kBoxArrays, [&](const char* name) { return file.has(name); });
  if (version == kShardFormatVersion && (layout.has_roles || layout.has_boxes)) {
    file.refuse(fmt::format("'{}' needs format version {}, found {}", layout.has_roles ? "captions/roles" : "boxes",
                            kAnnotatedShardVersion, version));
  }
  if (layout.has_roles) layout.roles = of_length("captions/roles", 1, false, layout.num_captions, counts);
  if (!layout.has_boxes) return answer;
  file.require_group("boxes");
  layout.box_first = sized("boxes/first", false, layout.num_samples + 1);
  layout.box_classes = file.array("boxes/classes", 8, true, layout.num_boxes);
  if (layout.num_boxes > kMaxSamplesPerShard) {
    file.refuse(fmt::format("at most {} boxes are allowed, found {}", kMaxSamplesPerShard, layout.num_boxes));
  }
  const std::string boxes = fmt::format("the {} boxes of 'boxes/classes'", layout.num_boxes);
  layout.box_corners = of_length("boxes/corners", 4, true, 4 * layout.num_boxes, boxes);
  layout.box_phrases = of_length("boxes/phrases", 4, true, layout.num_boxes, boxes);
  return answer;
}

void check_places(const std::filesystem::path& path, const ShardLayout& layout, uint64_t file_bytes) {
  std::vector<ArrayPlace> places;
  for (const ArrayPlace& place : {layout.image_bytes, layout.image_offsets, layout.caption_bytes,
                                  layout.caption_offsets, layout.caption_first, layout.ids, layout.labels, layout.roles,
                                  layout.box_first, layout.box_corners, layout.box_classes, layout.box_phrases}) {
    if (place.bytes == 0) continue;
    if (place.bytes > file_bytes || place.offset > file_bytes - place.bytes) {
      throw UserError(path.string(),
                      fmt::format("an array of {} bytes at {} does not lie in the file of {} bytes. The file "
                                  "is truncated or damaged; write it again.",
                                  place.bytes, place.offset, file_bytes));
    }
    places.push_back(place);
  }
  std::sort(places.begin(), places.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  for (std::size_t i = 1; i < places.size(); ++i) {
    if (places[i].offset < places[i - 1].offset + places[i - 1].bytes) {
      throw UserError(path.string(), fmt::format("two arrays overlap at byte {}. The file is damaged; write it again.",
                                                 places[i].offset));
    }
  }
}

}  // namespace

ShardHeader read_shard_header(const std::filesystem::path& path) {
  const uint64_t file_bytes = File::open_read(path).size();
  const ChildBlame blame{path.string(), "reading it",
                         "the file is damaged or hostile. Write it again or remove it from the folder."};
  const std::string bytes = run_in_child(blame, {}, [&] {
    // Some network file systems have no locks, and nothing here needs one.
    ::setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
    const Answer answer = ask_hdf5(path);
    return std::string(reinterpret_cast<const char*>(&answer), sizeof(answer));
  });
  TRIPTYCH_CHECK(bytes.size() == sizeof(Answer), "a child answered {} bytes", bytes.size());
  Answer answer;
  std::memcpy(static_cast<void*>(&answer), bytes.data(), sizeof(answer));
  check_places(path, answer.layout, file_bytes);
  return {std::string(answer.data_set_id.data(), ::strnlen(answer.data_set_id.data(), kMaxDataSetIdBytes)),
          answer.layout};
}

}  // namespace triptych::data
