#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "checkpoint/tensor_box.h"

namespace triptych::checkpoint {

/// A number or a string in a manifest. Non-negative integers come back as uint64_t, negative ones as int64_t,
/// numbers with a point or an exponent as double. A double must be finite.
using ManifestValue = std::variant<int64_t, uint64_t, double, std::string>;
using ManifestValues = std::map<std::string, ManifestValue>;

/// `values[key]` as one type. Throws WorldError naming the key if it is missing or does not fit.
uint64_t get_uint64(const ManifestValues& values, const std::string& key);
double get_double(const ManifestValues& values, const std::string& key);

/// What a run must know besides its tensors to go on as if nothing had happened. Written by every save.
struct RunState {
  int64_t step = 0;           ///< optimizer updates done
  int64_t skipped_steps = 0;  ///< of them, those whose gradients were not finite
  std::string model;          ///< fingerprint: equal for models whose tensors and meaning are equal
  std::string config;         ///< the effective config (TOML text)
  ManifestValues cursor;      ///< where the loader goes on
  ManifestValues random;      ///< seeds and counters of the random keys
  ManifestValues extra;       ///< anything else
  std::vector<std::pair<std::string, int64_t>> mesh;  ///< axes and their sizes, for information; loading ignores them
};

/// A file of the checkpoint's folder.
struct ManifestFile {
  std::string name;
  uint64_t bytes = 0;
  std::string hash;  ///< 32 hexadecimal digits: XXH3, 128 bits (`xxhsum -H2`)
};

/// A piece of a global tensor: the tensor `key` of safetensors file number `file` of the manifest.
struct ManifestPiece {
  std::size_t file = 0;
  std::string key;
  std::vector<int64_t> begin;
  std::vector<int64_t> shape;
};

struct ManifestTensor {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  std::vector<ManifestPiece> pieces;
};

/// The contents of `manifest.json`, described in docs/checkpoint-format.md.
struct Manifest {
  static constexpr int64_t kVersion = 1;
  RunState run;
  /// Counts the saves into the folder, from 1: which checkpoint is newer does not follow from the step, as a run may go
  /// back, nor from the clocks of several machines. 0: written before there was one, and older than all that have one.
  int64_t save_number = 0;
  int64_t world_size = 1;
  std::vector<ManifestFile> files;
  std::map<std::string, ManifestTensor> tensors;

  /// JSON text that carries its own hash.
  std::string to_json() const;
  /// Checks the form, the version, the text's own hash, names, shapes and that every piece lies inside its tensor.
  /// `where` names the file in errors: UserError for what is no manifest of this version, WorldError for damage.
  static Manifest from_json(std::string_view text, std::string_view where);
};

/// The manifest in a file, checked as from_json says. Throws WorldError too if it cannot be read.
Manifest read_manifest(const std::filesystem::path& path);

/// True if the file begins as a manifest of this format does, be the rest damaged or not.
bool is_manifest_of_ours(const std::filesystem::path& path);

/// The number of the save, out of the manifest's first bytes alone and unchecked; 0 if it has none.
int64_t read_save_number(const std::filesystem::path& manifest);

}  // namespace triptych::checkpoint
