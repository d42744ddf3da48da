#include "checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/coverage.h"
#include "checkpoint/safetensors.h"

namespace triptych::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxDifferences = 5;
/// Runs shorter than this are copied out of a window of the file; longer ones are read straight to their place.
constexpr uint64_t kDirectBytes = uint64_t{64} << 10;
constexpr uint64_t kWindowBytes = uint64_t{1} << 20;
/// A window pays only where at least this share of its bytes is wanted.
constexpr uint64_t kSparseFactor = 16;

/// Copies contiguous runs out of a file, in ascending order of their offsets.
class RunReader {
 public:
  RunReader(const File& file, uint64_t end, bool use_window) : file_(file), end_(end), use_window_(use_window) {}

  void read(uint64_t offset, std::span<std::byte> out) {
    if (!use_window_ || out.size() >= kDirectBytes) return file_.pread(out, offset);
    if (offset < begin_ || offset + out.size() > begin_ + window_.size()) {
      begin_ = offset;
      window_.resize(std::min(kWindowBytes, end_ - offset));
      file_.pread(window_, offset);
    }
    std::memcpy(out.data(), window_.data() + (offset - begin_), out.size());
  }

 private:
  const File& file_;
  uint64_t end_;  ///< of the last run
  bool use_window_;
  uint64_t begin_ = 0;
  std::vector<std::byte> window_;
};

/// Copies the elements that a piece in a file shares with a box to their places in `out`.
void copy_overlap(const File& file, uint64_t piece_offset, const Overlap& overlap, const TensorBox& box,
                  std::byte* out) {
  const ManifestPiece& piece = *overlap.piece;
  const std::size_t num_dims = box.shape.size();
  const uint64_t element = dtype_bytes(box.dtype);

  // The trailing dims that both the piece and the box hold whole make one run.
  uint64_t run = element;
  std::size_t num_outer = num_dims;
  while (num_outer > 0) {
    const std::size_t d = num_outer - 1;
    run *= static_cast<uint64_t>(overlap.shape[d]);
    num_outer = d;
    if (overlap.shape[d] != piece.shape[d] || overlap.shape[d] != box.shape[d]) break;
  }
  std::vector<uint64_t> piece_stride(num_dims), box_stride(num_dims);
  uint64_t piece_step = element, box_step = element;
  for (std::size_t d = num_dims; d-- > 0;) {
    piece_stride[d] = piece_step;
    box_stride[d] = box_step;
    piece_step *= static_cast<uint64_t>(piece.shape[d]);
    box_step *= static_cast<uint64_t>(box.shape[d]);
  }
  uint64_t from = piece_offset, to = 0, last = piece_offset;
  for (std::size_t d = 0; d < num_dims; ++d) {
    from += static_cast<uint64_t>(overlap.begin[d] - piece.begin[d]) * piece_stride[d];
    to += static_cast<uint64_t>(overlap.begin[d] - box.begin[d]) * box_stride[d];
    last += static_cast<uint64_t>(overlap.begin[d] - piece.begin[d]) * piece_stride[d];
    if (d < num_outer) last += static_cast<uint64_t>(overlap.shape[d] - 1) * piece_stride[d];
  }
  const bool is_dense = num_outer == 0 || piece_stride[num_outer - 1] <= kSparseFactor * run;
  RunReader reader(file, last + run, is_dense);
  std::vector<int64_t> index(num_outer, 0);
  while (true) {
    reader.read(from, {out + to, run});
    std::size_t d = num_outer;
    while (d > 0) {
      --d;
      from += piece_stride[d];
      to += box_stride[d];
      if (++index[d] < overlap.shape[d]) break;
      from -= static_cast<uint64_t>(overlap.shape[d]) * piece_stride[d];
      to -= static_cast<uint64_t>(overlap.shape[d]) * box_stride[d];
      index[d] = 0;
      if (d == 0) return;
    }
    if (num_outer == 0) return;
  }
}

std::string describe(DType dtype, std::span<const int64_t> shape) {
  return fmt::format("{} {}", dtype_name(dtype), format_shape(shape));
}

}  // namespace

struct CheckpointReader::Impl {
  struct Shard {
    std::once_flag once;
    std::optional<File> file;
    SafetensorsHeader header;
  };

  std::string path_of(std::size_t file) const { return (folder / manifest.files[file].name).string(); }

  void check_hash(std::size_t file, const Hash128& found) const {
    if (found.hex() == manifest.files[file].hash) return;
    throw WorldError(path_of(file),
                     fmt::format("must hash to {} as the manifest says, found {}; the file was altered or damaged "
                                 "after it was saved. Resume from another checkpoint.",
                                 manifest.files[file].hash, found.hex()));
  }

  /// The file opened and checked; done once, by the first thread that asks.
  const Shard& shard(std::size_t file) {
    Shard& shard = *shards[file];
    std::call_once(shard.once, [&] {
      const fs::path path = folder / manifest.files[file].name;
      check_hash(file, hash_file(path));
      File opened = File::open_read(path);
      shard.header = read_safetensors_header(opened);
      shard.file.emplace(std::move(opened));
    });
    return shard;
  }

  /// Where a piece lies in its file; the file's own header must agree with the manifest.
  const SafetensorsEntry& entry_of(const Shard& shard, const std::string& name, DType dtype,
                                   const ManifestPiece& piece) const {
    const auto found = shard.header.tensors.find(piece.key);
    if (found == shard.header.tensors.end()) {
      throw WorldError(path_of(piece.file), fmt::format("must hold `{}` as the manifest says, found nothing of that "
                                                        "name; the checkpoint is damaged",
                                                        piece.key));
    }
    const SafetensorsEntry& entry = found->second;
    if (entry.dtype != dtype || entry.shape != piece.shape) {
      throw WorldError(path_of(piece.file),
                       fmt::format("must hold `{}` of `{}` as {}, found {}; the checkpoint is damaged", piece.key, name,
                                   describe(dtype, piece.shape), describe(entry.dtype, entry.shape)));
    }
    return entry;
  }

  std::size_t find_file(const std::string& name) const {
    for (std::size_t i = 0; i < manifest.files.size(); ++i) {
      if (manifest.files[i].name == name) return i;
    }
    return manifest.files.size();
  }

  fs::path folder;
  Manifest manifest;
  std::vector<std::unique_ptr<Shard>> shards;
};

CheckpointReader::CheckpointReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;
CheckpointReader::~CheckpointReader() = default;

CheckpointReader CheckpointReader::open(const std::filesystem::path& folder, std::string_view which) {
  auto impl = std::make_unique<Impl>();
  impl->folder = resolve_checkpoint(folder, which);
  impl->manifest = read_manifest(impl->folder / kManifestName);
  for (const ManifestFile& file : impl->manifest.files) {
    const fs::path file_path = impl->folder / file.name;
    std::error_code error;
    if (!fs::is_regular_file(file_path, error)) {
      throw WorldError(file_path.string(),
                       "must be there as the manifest says, found nothing; the checkpoint is "
                       "damaged. Resume from another checkpoint.");
    }
    if (const uint64_t bytes = fs::file_size(file_path, error); error || bytes != file.bytes) {
      throw WorldError(file_path.string(),
                       fmt::format("must have {} bytes as the manifest says, found {}; the file is truncated or "
                                   "altered. Resume from another checkpoint.",
                                   file.bytes, bytes));
    }
    impl->shards.push_back(std::make_unique<Impl::Shard>());
  }
  return CheckpointReader(std::move(impl));
}

const std::filesystem::path& CheckpointReader::folder() const {
  return impl_->folder;
}

const Manifest& CheckpointReader::manifest() const {
  return impl_->manifest;
}

bool CheckpointReader::contains(const std::string& name) const {
  return impl_->manifest.tensors.contains(name);
}

void CheckpointReader::read(const TensorBox& box, std::byte* out) {
  TRIPTYCH_CHECK(is_inside(box), "box {} at {} of `{}` {}", format_shape(box.shape), format_shape(box.begin), box.name,
                 format_shape(box.global_shape));
  require(std::span(&box, 1), false);
  const ManifestTensor& tensor = impl_->manifest.tensors.at(box.name);
  const std::vector<Overlap> overlaps = overlaps_of(tensor.pieces, box.begin, box.shape);
  if (const std::string broken = check_exact_cover(overlaps, box.shape); !broken.empty()) {
    throw WorldError((impl_->folder / kManifestName).string(),
                     fmt::format("`{}`: {}; the checkpoint is damaged", box.name, broken));
  }
  for (const Overlap& overlap : overlaps) {
    const Impl::Shard& shard = impl_->shard(overlap.piece->file);
    const SafetensorsEntry& entry = impl_->entry_of(shard, box.name, tensor.dtype, *overlap.piece);
    copy_overlap(*shard.file, entry.offset, overlap, box, out);
  }
}

std::string CheckpointReader::contents_id() const {
  Hasher hasher;
  const auto add = [&](std::string_view text) { hasher.update(std::as_bytes(std::span(text))); };
  add(fmt::format("{} {}\n", impl_->manifest.run.step, impl_->manifest.save_number));
  for (const ManifestFile& file : impl_->manifest.files) add(fmt::format("{} {}\n", file.name, file.hash));
  return hasher.digest().hex();
}

std::string CheckpointReader::read_file(const std::string& name) {
  const std::size_t file = impl_->find_file(name);
  if (file == impl_->manifest.files.size()) {
    throw UserError(impl_->folder.string(),
                    fmt::format("must hold the file {}, found none of that name. Use a checkpoint of a run that saves "
                                "it.",
                                name));
  }
  std::string contents = read_text_file(impl_->folder / name, impl_->manifest.files[file].bytes);
  impl_->check_hash(file, hash128(std::as_bytes(std::span(contents))));
  return contents;
}

void CheckpointReader::require(std::span<const TensorBox> tensors, bool is_complete) const {
  const std::map<std::string, ManifestTensor>& saved = impl_->manifest.tensors;
  std::vector<std::string> differences;
  std::set<std::string_view> wanted;
  for (const TensorBox& tensor : tensors) {
    wanted.insert(tensor.name);
    const auto found = saved.find(tensor.name);
    if (found == saved.end()) {
      differences.push_back(
          fmt::format("`{}` {} is missing", tensor.name, describe(tensor.dtype, tensor.global_shape)));
    } else if (found->second.dtype != tensor.dtype || found->second.shape != tensor.global_shape) {
      differences.push_back(fmt::format("`{}` must be {}, found {}", tensor.name,
                                        describe(tensor.dtype, tensor.global_shape),
                                        describe(found->second.dtype, found->second.shape)));
    }
  }
  if (is_complete) {
    for (const auto& [name, tensor] : saved) {
      if (!wanted.contains(name)) {
        differences.push_back(fmt::format("`{}` {} is not in the model", name, describe(tensor.dtype, tensor.shape)));
      }
    }
  }
  if (differences.empty()) return;
  std::string list;
  for (std::size_t i = 0; i < std::min(differences.size(), kMaxDifferences); ++i) {
    list += (i == 0 ? "" : "; ") + differences[i];
  }
  if (differences.size() > kMaxDifferences) list += fmt::format("; and {} more", differences.size() - kMaxDifferences);
  throw UserError(impl_->folder.string(),
                  fmt::format("the checkpoint must be of this model, found {} differences: {}. Use the model's "
                              "configuration that the checkpoint was saved with, or another checkpoint.",
                              differences.size(), list));
}

void CheckpointReader::verify(int part, int num_parts) {
  const auto is_mine = [&](std::size_t file) {
    return file % static_cast<std::size_t>(num_parts) == static_cast<std::size_t>(part);
  };
  std::set<std::size_t> tensor_files;
  for (const auto& [name, tensor] : impl_->manifest.tensors) {
    if (const std::string broken = check_exact_cover(tensor); !broken.empty()) {
      throw WorldError((impl_->folder / kManifestName).string(),
                       fmt::format("`{}`: {}; the checkpoint is damaged", name, broken));
    }
    for (const ManifestPiece& piece : tensor.pieces) {
      tensor_files.insert(piece.file);
      if (is_mine(piece.file)) impl_->entry_of(impl_->shard(piece.file), name, tensor.dtype, piece);
    }
  }
  for (std::size_t file = 0; file < impl_->manifest.files.size(); ++file) {
    if (is_mine(file) && !tensor_files.contains(file)) impl_->check_hash(file, hash_file(impl_->path_of(file)));
  }
}

}  // namespace triptych::checkpoint
