#pragma once

#include <charconv>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "nn/parameter_store.h"

namespace triptych::test {

/// What make_reference.py wrote of one model: its sizes as metadata, its parameters by our names, what it was given as
/// "input/..." and what it answered as "output/...".
class ReferenceFile {
 public:
  /// Throws WorldError that names the file if it is not there or not whole.
  explicit ReferenceFile(const std::filesystem::path& path)
      : file_(File::open_read(path)), header_(read_safetensors_header(file_)) {}

  int64_t number(const std::string& key) const {
    const auto found = header_.metadata.find(key);
    require(found != header_.metadata.end(), fmt::format("must have metadata {}", key));
    const std::string& text = found->second;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(error == std::errc() && end == text.data() + text.size(),
            fmt::format("metadata {} must be a whole number, found {}", key, text));
    return value;
  }

  Shape shape(const std::string& name) const { return Shape(std::span<const int64_t>(entry(name).shape)); }

  template <typename T>
  std::vector<T> values(const std::string& name) const {
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

  std::set<std::string> parameters() const {
    std::set<std::string> names;
    for (const auto& [name, _] : header_.tensors) {
      if (name.find('/') == std::string::npos) names.insert(name);
    }
    return names;
  }

  /// Fills this rank's pieces of the parameters. On one rank the file's are the model's, all of them and no others.
  void load(ParameterStore& store, const Mesh& mesh) const {
    std::set<std::string> unread = parameters();
    for (Parameter* parameter : store.all()) {
      require(shape(parameter->name) == parameter->global_shape,
              fmt::format("parameter {} must have shape {}, found {}", parameter->name,
                          parameter->global_shape.to_string(), shape(parameter->name).to_string()));
      Tensor piece = tensor<float>(parameter->value.device(), parameter->name);
      Shape begin;
      const Shape local = local_shape(parameter->global_shape, parameter->layout, mesh, &begin);
      for (int dim = 0; dim < local.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
      parameter->value.copy_from(piece.contiguous());
      unread.erase(parameter->name);
    }
    require(mesh.shape().pp > 1 || unread.empty(),
            fmt::format("must have the model's parameters alone, found {} that it lacks", unread.size()));
    store.refresh_compute_copies();
  }

 private:
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
};

}  // namespace triptych::test
