#include "data/shard_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/annotation_rules.h"
#include "data/caption_text.h"
#include "data/child_process.h"
#include "data/hdf5_handle.h"
#include "data/image_decoder.h"
#include "data/shard_format.h"

namespace triptych::data {
namespace {

[[noreturn]] void fail(std::string_view where, std::string_view action) {
  throw WorldError(
      where, fmt::format("HDF5 cannot {} ({}). Is the disk full or the folder read-only?", action, hdf5_reason()));
}

/// Creates objects in one file and turns every failure into an error that names it.
class Builder {
 public:
  Builder(std::string where, hid_t file) : where_(std::move(where)), file_(file) {}

  void group(const char* name) const {
    Hdf5Handle properties = object_properties(H5P_GROUP_CREATE);
    const Hdf5Handle group(H5Gcreate2(file_, name, H5P_DEFAULT, properties.get(), H5P_DEFAULT), H5Gclose);
    if (!group.valid()) fail(where_, fmt::format("create the group {}", name));
  }

  void array(const char* name, hid_t type, const void* data, hsize_t count) const {
    const Hdf5Handle properties = object_properties(H5P_DATASET_CREATE);
    const Hdf5Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose);
    // Filling before writing would write every byte twice.
    if (!space.valid() || H5Pset_layout(properties.get(), H5D_CONTIGUOUS) < 0 ||
        H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER) < 0) {
      fail(where_, fmt::format("describe {}", name));
    }
    Hdf5Handle array(H5Dcreate2(file_, name, type, space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT), H5Dclose);
    if (!array.valid()) fail(where_, fmt::format("create {}", name));
    if (count != 0 && H5Dwrite(array.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
      fail(where_, fmt::format("write {}", name));
    }
    if (!array.close()) fail(where_, fmt::format("close {}", name));
  }

  void attribute(const char* name, hid_t type, const void* value) const {
    const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Hdf5Handle attribute(H5Acreate2(file_, name, type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (!attribute.valid() || H5Awrite(attribute.get(), type, value) < 0) {
      fail(where_, fmt::format("write the attribute {}", name));
    }
  }

  void attribute(const char* name, std::string_view value) const {
    const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    if (!type.valid() || H5Tset_size(type.get(), value.size()) < 0 || H5Tset_strpad(type.get(), H5T_STR_NULLPAD) < 0 ||
        H5Tset_cset(type.get(), H5T_CSET_UTF8) < 0) {
      fail(where_, fmt::format("describe the attribute {}", name));
    }
    attribute(name, type.get(), value.data());
  }

 private:
  /// Without times of creation, so that the same samples give the same bytes.
  Hdf5Handle object_properties(hid_t kind) const {
    Hdf5Handle properties(H5Pcreate(kind), H5Pclose);
    if (!properties.valid() || H5Pset_obj_track_times(properties.get(), false) < 0) fail(where_, "make properties");
    return properties;
  }

  std::string where_;
  hid_t file_;
};

/// What is wrong with a sample's boxes; nothing if all is well.
std::string boxes_fault(const SampleView& sample) {
  if (sample.boxes.empty()) return {};
  if (sample.image.empty()) return fault_of_boxes(sample.boxes, 0, 0, sample.roles);
  try {
    const ImageInfo info = probe_image(sample.image);
    return fault_of_boxes(sample.boxes, info.seen_width(), info.seen_height(), sample.roles);
  } catch (const WorldError& error) {
    return error.what();
  }
}

}  // namespace

ShardWriter::ShardWriter(std::filesystem::path path, std::string data_set_id)
    : path_(std::move(path)), data_set_id_(std::move(data_set_id)) {
  if (!is_data_set_id(data_set_id_)) {
    throw UserError(path_.string(), fmt::format("a data-set id is 1 to {} letters, digits, '-', '_' or '.', found '{}'",
                                                kMaxDataSetIdBytes, data_set_id_.substr(0, 2 * kMaxDataSetIdBytes)));
  }
}

bool ShardWriter::has_room(uint64_t image_bytes) const {
  return image_bytes <= kMaxWrittenShardBytes - std::min<uint64_t>(image_bytes_.size(), kMaxWrittenShardBytes) &&
         ids_.size() < kMaxSamplesPerShard;
}

void ShardWriter::add(const SampleView& sample) {
  TRIPTYCH_CHECK(!closed_, "add after close");
  const auto refuse = [&](const std::string& rule) {
    throw UserError(path_.string(), fmt::format("sample {} (id {}): {}", ids_.size(), sample.id, rule));
  };
  if (sample.image.empty() && sample.captions.empty()) refuse("has neither image nor captions");
  if (sample.image.size() > kMaxImageBytes) {
    refuse(fmt::format("its image has {} bytes, at most {} are allowed", sample.image.size(), kMaxImageBytes));
  }
  if (!has_room(sample.image.size())) {
    refuse(fmt::format("the shard would pass {} bytes of images or {} samples. Begin another shard",
                       kMaxWrittenShardBytes, kMaxSamplesPerShard));
  }
  if (sample.captions.size() > kMaxCaptionsPerSample) {
    refuse(fmt::format("has {} captions, at most {} are allowed", sample.captions.size(), kMaxCaptionsPerSample));
  }
  for (std::size_t k = 0; k < sample.captions.size(); ++k) {
    const std::string_view caption = sample.captions[k];
    if (caption.empty()) refuse(fmt::format("caption {} is empty. Leave it out", k));
    if (!is_utf8(caption)) refuse(fmt::format("caption {} is not UTF-8", k));
    if (!has_visible_text(caption)) {
      refuse(fmt::format("caption {} has no text, only {}. Leave it out", k, code_points(caption)));
    }
    if (caption.size() > kMaxCaptionBytes) {
      refuse(fmt::format("caption {} has {} bytes, at most {} are allowed", k, caption.size(), kMaxCaptionBytes));
    }
  }
  if (sample.label && *sample.label < 0) refuse(fmt::format("the label {} is negative", *sample.label));
  TRIPTYCH_CHECK(sample.roles.empty() || sample.roles.size() == sample.captions.size(), "{} roles of {} captions",
                 sample.roles.size(), sample.captions.size());
  if (const std::string fault = fault_of_roles(sample.roles); !fault.empty()) refuse(fault);
  if (const std::string fault = boxes_fault(sample); !fault.empty()) refuse(fault);

  image_bytes_.insert(image_bytes_.end(), sample.image.begin(), sample.image.end());
  image_offsets_.push_back(image_bytes_.size());
  for (const std::string_view caption : sample.captions) {
    caption_bytes_.append(caption);
    caption_offsets_.push_back(caption_bytes_.size());
  }
  caption_first_.push_back(num_captions());
  ids_.push_back(sample.id);
  labels_.push_back(sample.label.value_or(kNoLabel));
  any_label_ |= sample.label.has_value();
  for (std::size_t k = 0; k < sample.captions.size(); ++k) {
    roles_.push_back(sample.roles.empty() ? TextRole::kCaption : sample.roles[k]);
    any_role_ |= roles_.back() != TextRole::kCaption;
  }
  for (const BoxRecord& box : sample.boxes) {
    box_corners_.insert(box_corners_.end(), {box.left, box.top, box.right, box.bottom});
    box_classes_.push_back(box.class_number);
    box_phrases_.push_back(box.phrase);
  }
  box_first_.push_back(box_classes_.size());
}

void ShardWriter::write_hdf5(const std::filesystem::path& path) const {
  const QuietHdf5 quiet;
  const std::string where = path_.string();
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  const Hdf5Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  // The headers of version 1.8 and later carry checksums; the older default ones do not.
  if (H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18) < 0 ||
      H5Pset_obj_track_times(creation.get(), false) < 0) {
    fail(where, "make file properties");
  }
  Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  if (!file.valid()) fail(where, fmt::format("create {}", path.string()));

  const Builder builder(where, file.get());
  const bool any_box = !box_classes_.empty();
  const int64_t version = any_role_ || any_box ? kAnnotatedShardVersion : kShardFormatVersion;
  const uint64_t samples = num_samples(), captions = num_captions();
  builder.attribute("format", kShardFormatName);
  builder.attribute("format_version", H5T_STD_I64LE, &version);
  builder.attribute("data_set_id", data_set_id_);
  builder.attribute("num_samples", H5T_STD_U64LE, &samples);
  builder.attribute("num_captions", H5T_STD_U64LE, &captions);
  builder.group("images");
  builder.group("captions");
  builder.group("samples");
  builder.array("images/offsets", H5T_STD_U64LE, image_offsets_.data(), image_offsets_.size());
  builder.array("images/bytes", H5T_STD_U8LE, image_bytes_.data(), image_bytes_.size());
  builder.array("captions/first", H5T_STD_U64LE, caption_first_.data(), caption_first_.size());
  builder.array("captions/offsets", H5T_STD_U64LE, caption_offsets_.data(), caption_offsets_.size());
  builder.array("captions/bytes", H5T_STD_U8LE, caption_bytes_.data(), caption_bytes_.size());
  builder.array("samples/ids", H5T_STD_U64LE, ids_.data(), ids_.size());
  if (any_label_) builder.array("samples/labels", H5T_STD_I64LE, labels_.data(), labels_.size());
  if (any_role_) builder.array("captions/roles", H5T_STD_U8LE, roles_.data(), roles_.size());
  if (any_box) {
    builder.group("boxes");
    builder.array("boxes/first", H5T_STD_U64LE, box_first_.data(), box_first_.size());
    builder.array("boxes/corners", H5T_STD_I32LE, box_corners_.data(), box_corners_.size());
    builder.array("boxes/classes", H5T_STD_I64LE, box_classes_.data(), box_classes_.size());
    builder.array("boxes/phrases", H5T_STD_I32LE, box_phrases_.data(), box_phrases_.size());
  }
  if (!file.close()) fail(where, "flush the file");
}

void ShardWriter::close() {
  TRIPTYCH_CHECK(!closed_, "close twice");
  closed_ = true;
  const std::filesystem::path temporary = path_.string() + fmt::format(".tmp{}", ::getpid());
  try {
    // HDF5 crashes while it cleans up after a failed write, so a full disk must not happen to it in this process.
    const ChildBlame blame{path_.string(), "writing it", "is the disk full?", ErrorKind::kWorld};
    ChildLimits limits;
    limits.wall_ms = 3600 * 1000;  // a slow disk is no fault
    limits.cpu_s = 600;
    run_in_child(blame, limits, [&] {
      write_hdf5(temporary);
      return std::string();
    });
    File::open_read(temporary).sync_and_close();
    std::filesystem::rename(temporary, path_);
  } catch (const std::filesystem::filesystem_error& error) {
    ::unlink(temporary.c_str());
    throw WorldError(path_.string(),
                     fmt::format("cannot rename the finished shard to it ({})", error.code().message()));
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(path_.has_parent_path() ? path_.parent_path() : ".");
}

}  // namespace triptych::data
