#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/safetensors.h"
#include "nn/parameter_store.h"
#include "tensor/field.h"

namespace triptych::test {

/// What make_reference.py wrote of one model: a few words and numbers as metadata, its parameters by our names, and, by
/// a folder each, what it was given and what it answered:
///
///   field/NAME       what our model's field NAME holds
///   slot/NAME        what its slot NAME is to hold; of a vocabulary perhaps the first columns alone
///   step/NAME        float64 [1], what value NAME of a training step is to be
///   gradient/NAME    of the run's loss, by our parameter's name
///   greedy/...       texts written greedily: see compare_greedy
///
/// Parameters and gradients stand in the file, with the config as metadata, or in two checkpoints that `triptych
/// import` made: NAME.imported and NAME.gradients beside it.
class ReferenceFile {
 public:
  /// Throws WorldError that names the file if it is not there or not whole.
  explicit ReferenceFile(const std::filesystem::path& path)
      : file_(File::open_read(path)), header_(read_safetensors_header(file_)) {
    imported_folder_ = path;
    imported_folder_.replace_extension(".imported");
    if (!is_imported()) return;
    std::filesystem::path gradients = path;
    add(imported_folder_, "");
    add(gradients.replace_extension(".gradients"), "gradient/");
  }

  bool is_imported() const { return std::filesystem::exists(imported_folder_); }
  /// The config that the import wrote.
  std::filesystem::path imported_config() const { return imported_folder_ / "config.toml"; }

  const std::string& text(const std::string& key) const {
    const auto found = header_.metadata.find(key);
    require(found != header_.metadata.end(), fmt::format("must have metadata {}", key));
    return found->second;
  }
  int64_t number(const std::string& key) const {
    const std::string& text = this->text(key);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(error == std::errc() && end == text.data() + text.size(),
            fmt::format("metadata {} must be a whole number, found {}", key, text));
    return value;
  }

  Shape shape(const std::string& name) const {
    const auto found = imported_.find(name);
    if (found != imported_.end()) return found->second.shape;
    return Shape(std::span<const int64_t>(entry(name).shape));
  }

  template <typename T>
  std::vector<T> values(const std::string& name) const {
    if constexpr (std::same_as<T, float>) {
      const auto found = imported_.find(name);
      if (found != imported_.end()) return found->second.values;
    }
    const SafetensorsEntry& found = entry(name);
    require(found.dtype == dtype_of<T>,
            fmt::format("tensor {} must hold {}, found {}", name, dtype_name(dtype_of<T>), dtype_name(found.dtype)));
    std::vector<T> values(found.bytes / sizeof(T));
    file_.pread(std::as_writable_bytes(std::span(values)), found.offset);
    return values;
  }
  template <typename T>
  Tensor tensor(Device& device, const std::string& name) const {
    return Tensor::from<T>(device, shape(name), values<T>(name));
  }

  bool has(const std::string& name) const { return imported_.contains(name) || header_.tensors.contains(name); }
  /// The names in a folder: "field" gives "pixels" of "field/pixels"; "" gives the parameters'.
  std::set<std::string> names(const std::string& folder) const {
    std::set<std::string> found;
    const auto look_at = [&](const std::string& name) {
      const std::size_t slash = name.find('/');
      if (slash == std::string::npos ? folder.empty() : name.substr(0, slash) == folder) {
        found.insert(slash == std::string::npos ? name : name.substr(slash + 1));
      }
    };
    for (const auto& [name, _] : header_.tensors) look_at(name);
    for (const auto& [name, _] : imported_) look_at(name);
    return found;
  }
  Fields fields(Device& device) const {
    const std::set<std::string> all = names("field");
    require(!all.empty(), "must have a field");
    Fields fields(shape("field/" + *all.begin())[0]);
    for (const std::string& name : all) {
      const std::string full = "field/" + name;
      const bool is_byte = entry(full).dtype == DType::kUInt8;
      fields.set(name, is_byte ? tensor<uint8_t>(device, full) : tensor<int32_t>(device, full));
    }
    return fields;
  }
  /// This rank's piece of a parameter, or of its gradient: "gradient/" and the name.
  Tensor piece(const std::string& name, const Parameter& parameter, const Mesh& mesh) const {
    require(shape(name) == parameter.global_shape,
            fmt::format("{} must have shape {}, found {}", name, parameter.global_shape.to_string(),
                        shape(name).to_string()));
    Tensor piece = tensor<float>(parameter.value.device(), name);
    Shape begin;
    const Shape local = local_shape(parameter.global_shape, parameter.layout, mesh, &begin);
    for (int dim = 0; dim < local.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
    return piece.contiguous();
  }

  /// Fills this rank's pieces of the parameters. On one rank the file's are the model's, all of them and no others.
  void load(ParameterStore& store, const Mesh& mesh) const {
    std::set<std::string> unread = names("");
    for (Parameter* parameter : store.all()) {
      parameter->value.copy_from(piece(parameter->name, *parameter, mesh));
      unread.erase(parameter->name);
    }
    require(mesh.shape().pp > 1 || unread.empty(),
            fmt::format("must have the model's parameters alone, found {} that it lacks, the first {}", unread.size(),
                        unread.empty() ? "" : *unread.begin()));
    store.refresh_compute_copies();
  }

 private:
  struct Imported {
    Shape shape;
    std::vector<float> values;
  };
  // A checkpoint's tensors. One that is not a number has none there: a parameter without a gradient.
  void add(const std::filesystem::path& folder, const std::string& prefix) {
    CheckpointReader reader = CheckpointReader::open(folder, "latest");
    for (const auto& [name, tensor] : reader.manifest().tensors) {
      Imported one{Shape(std::span<const int64_t>(tensor.shape)), {}};
      one.values.resize(static_cast<std::size_t>(one.shape.num_elements()));
      const TensorBox box{.name = name,
                          .dtype = DType::kFloat32,
                          .global_shape = tensor.shape,
                          .begin = std::vector<int64_t>(tensor.shape.size(), 0),
                          .shape = tensor.shape};
      reader.read(box, reinterpret_cast<std::byte*>(one.values.data()));
      const bool is_there = std::none_of(one.values.begin(), one.values.end(), [](float x) { return std::isnan(x); });
      if (is_there) imported_.emplace(prefix + name, std::move(one));
    }
  }
  void require(bool holds, const std::string& rule) const {
    if (!holds) throw WorldError("reference", fmt::format("{} {}. Run tests/interop/run", file_.path().string(), rule));
  }
  const SafetensorsEntry& entry(const std::string& name) const {
    const auto found = header_.tensors.find(name);
    require(found != header_.tensors.end(), fmt::format("must have tensor {}", name));
    return found->second;
  }

  File file_;
  SafetensorsHeader header_;
  std::filesystem::path imported_folder_;
  std::map<std::string, Imported> imported_;
};

}  // namespace triptych::test
