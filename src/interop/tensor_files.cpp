#include "interop/tensor_files.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/strict_json.h"

namespace triptych::interop {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;
constexpr int kMaxJsonDepth = 64;
constexpr std::string_view kIndexSuffix = ".index.json";

// The file of a folder that is to be opened.
fs::path file_in(const fs::path& folder, Library library) {
  std::vector<std::string_view> names{"model.safetensors", "model.safetensors.index.json"};
  if (library == Library::kOpenClip) names.insert(names.begin(), "open_clip_model.safetensors");
  for (const std::string_view name : names) {
    if (fs::exists(folder / name)) return folder / name;
  }
  std::string pickles;
  for (const fs::path& entry : list_folder(folder)) {
    const std::string extension = entry.extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") pickles = entry.filename().string();
  }
  if (!pickles.empty()) {
    throw UserError(folder.string(),
                    fmt::format("must have its weights as safetensors, found {}, a pickle, which runs code when it is "
                                "read. Save them anew: model.save_pretrained(DIR), or safetensors.torch.save_file",
                                pickles));
  }
  throw UserError(folder.string(), fmt::format("must have {}, found none of them. Name the folder that the library "
                                               "saved the model in, or a safetensors file",
                                               fmt::join(names, ", ")));
}

}  // namespace

json read_json_file(const fs::path& path) {
  const json root = parse_strict_json(read_text_file(path, kMaxJsonBytes), kMaxJsonDepth, path.string());
  if (!root.is_object()) throw WorldError(path.string(), "must hold a JSON object; it is no config of a model");
  return root;
}

TensorFiles TensorFiles::open(const fs::path& path, Library library) {
  if (!fs::exists(path)) throw UserError(path.string(), "there is no such file or folder. Check the path");
  const fs::path file = fs::is_directory(path) ? file_in(path, library) : path;
  TensorFiles result;
  if (!file.string().ends_with(kIndexSuffix)) {
    if (file.extension() != ".safetensors") {
      throw UserError(file.string(),
                      "must be a folder, a .safetensors file or its .index.json. Other forms of weights run code when "
                      "they are read: save them as safetensors first");
    }
    result.add(file, nullptr);
    return result;
  }
  const json index = read_json_file(file);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    throw WorldError(file.string(), "must have a weight_map from tensors to files; it is no index");
  }
  std::map<std::string, std::string> in_index;  // file by tensor
  std::vector<std::string> names;
  for (const auto& [tensor, value] : map->items()) {
    const std::string name = value.is_string() ? value.get<std::string>() : "";
    // A file beside the index, and none elsewhere.
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == ".." ||
        !name.ends_with(".safetensors") || name.find('\0') != std::string::npos) {
      throw WorldError(file.string(), fmt::format("tensor `{}` must lie in a .safetensors file beside the index, found "
                                                  "{}",
                                                  tensor.substr(0, 200), value.dump().substr(0, 200)));
    }
    in_index.emplace(tensor, name);
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) result.add(file.parent_path() / name, &in_index);
  if (!in_index.empty()) {
    throw WorldError(file.string(),
                     fmt::format("must say which file each tensor is in, found {} that are not where it "
                                 "says, the first `{}` in {}",
                                 in_index.size(), in_index.begin()->first.substr(0, 200), in_index.begin()->second));
  }
  return result;
}

// Tensors that are found are taken out of the index.
void TensorFiles::add(const fs::path& path, std::map<std::string, std::string>* in_index) {
  auto file = std::make_shared<const File>(File::open_read(path));
  for (auto& [name, entry] : read_safetensors_header(*file).tensors) {
    if (in_index != nullptr) {
      const auto found = in_index->find(name);
      if (found == in_index->end() || found->second != path.filename().string()) {
        throw WorldError(path.string(), fmt::format("tensor `{}` is not in this file by the index; one of them is of "
                                                    "another model",
                                                    name.substr(0, 200)));
      }
      in_index->erase(found);
    }
    file_of_.emplace(name, files_.size());
    tensors_.emplace(name, entry);
  }
  files_.push_back(std::move(file));
}

void TensorFiles::read(const std::string& name, int64_t begin, std::span<float> out) const {
  const checkpoint::SafetensorsEntry& entry = tensors_.at(name);
  const File& file = *files_[file_of_.at(name)];
  const std::size_t width = dtype_bytes(entry.dtype);
  const uint64_t offset = entry.offset + static_cast<uint64_t>(begin) * width;
  TRIPTYCH_CHECK(offset + out.size() * width <= entry.offset + entry.bytes, "elements of {}", name);
  if (entry.dtype == DType::kFloat32) return file.pread(std::as_writable_bytes(out), offset);
  if (entry.dtype != DType::kBFloat16 && entry.dtype != DType::kFloat16) {
    throw WorldError(file.path().string(),
                     fmt::format("tensor `{}` must be of float32, float16 or bfloat16, found {}. Save the model in one "
                                 "of these",
                                 name, dtype_name(entry.dtype)));
  }
  constexpr std::size_t kSlice = std::size_t{1} << 20;
  std::vector<uint16_t> halves(std::min(out.size(), kSlice));
  for (std::size_t at = 0; at < out.size(); at += kSlice) {
    const std::span<uint16_t> part = std::span(halves).first(std::min(kSlice, out.size() - at));
    file.pread(std::as_writable_bytes(part), offset + at * width);
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (entry.dtype == DType::kBFloat16) {
        BFloat16 value;
        value.bits = part[i];
        out[at + i] = static_cast<float>(value);
      } else {
        Float16 value;
        value.bits = part[i];
        out[at + i] = static_cast<float>(value);
      }
    }
  }
}

}  // namespace triptych::interop
