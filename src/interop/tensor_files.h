#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "interop/families.h"

namespace triptych::interop {

/// The tensors of another library's model: one safetensors file, or several with their index. Nobody vouches for them:
/// all headers, and the index against them, are checked when they are opened.
class TensorFiles {
 public:
  /// Of a folder the files that the library writes: model.safetensors or model.safetensors.index.json, of open_clip
  /// open_clip_model.safetensors too. Or one such file, of any name.
  /// Throws UserError if there are none (and says what is there instead), WorldError if they are damaged or the index
  /// does not say what they hold.
  static TensorFiles open(const std::filesystem::path& path, Library library);

  /// By name. Offsets are of the tensor's file.
  const std::map<std::string, checkpoint::SafetensorsEntry>& tensors() const { return tensors_; }
  /// Elements [begin, begin + out.size()) of a tensor of float32, float16 or bfloat16, exactly. Throws WorldError that
  /// names it if it is of another type.
  void read(const std::string& name, int64_t begin, std::span<float> out) const;
  std::size_t num_files() const { return files_.size(); }

 private:
  void add(const std::filesystem::path& path, std::map<std::string, std::string>* in_index);

  std::vector<std::shared_ptr<const File>> files_;
  std::map<std::string, checkpoint::SafetensorsEntry> tensors_;
  std::map<std::string, std::size_t> file_of_;
};

/// A JSON file of a model: an object. At most 64 MiB, 64 levels. Throws WorldError.
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace triptych::interop
