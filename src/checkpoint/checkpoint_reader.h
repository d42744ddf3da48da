#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/manifest.h"
#include "checkpoint/tensor_box.h"

namespace triptych::checkpoint {

/// One committed checkpoint, read onto any mesh: a rank asks for the boxes that it holds, and they are put together
/// from the pieces that were saved.
///
/// `open` reads the manifest and checks that every file is there with its size. A file's contents are hashed once,
/// before the first byte of it is used; files that no wanted box touches are not read. Safe to call from several
/// threads. Not collective: wrap it in `together` so that one rank's failure reaches all.
class CheckpointReader {
 public:
  ///   folder  the run's `checkpoints` folder, or one step's folder (then `which` must be "latest" or "")
  ///   which   "latest", a step ("100" or "step_00000100"), or a path to any form that `resolve_checkpoint` takes
  /// Throws UserError if there is no such checkpoint, or it is none of this format and version; WorldError if it is
  /// damaged.
  static CheckpointReader open(const std::filesystem::path& folder, std::string_view which);

  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;
  ~CheckpointReader();

  const std::filesystem::path& folder() const;
  const Manifest& manifest() const;
  bool contains(const std::string& name) const;
  /// Equal for equal contents: a hash of the step, the save's number and every file's name and hash.
  std::string contents_id() const;

  /// Reads a box into `out` (contiguous, row-major). Throws UserError if the checkpoint's tensor of that name is
  /// missing or differs in dtype or global shape, WorldError if its file is damaged or its pieces do not cover the box.
  void read(const TensorBox& box, std::byte* out);

  /// An extra file's contents, its hash checked. UserError if the checkpoint has none of that name.
  std::string read_file(const std::string& name);

  /// Compares every tensor of the model (dtype, global shape; begin and shape are not looked at) with the checkpoint's.
  /// Throws a UserError that lists the first few missing, differing and, if `is_complete`, extra tensors.
  void require(std::span<const TensorBox> tensors, bool is_complete) const;

  /// Hashes every file and checks that the pieces of every tensor cover it exactly. Several ranks share the files among
  /// them as `part` of `num_parts`. Throws WorldError for damage. What was hashed is not hashed again by read().
  void verify(int part = 0, int num_parts = 1);

 private:
  struct Impl;
  explicit CheckpointReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace triptych::checkpoint
