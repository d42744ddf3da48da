#include "checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "checkpoint/tensor_box.h"

namespace triptych::checkpoint {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensors are written as they lie in memory");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library
constexpr int kMaxHeaderDepth = 4;
constexpr std::string_view kMetadata = "__metadata__";
/// Hashed and written a slice at a time, so that a slice is still in the cache when it is written.
constexpr std::size_t kSliceBytes = std::size_t{1} << 20;

constexpr std::pair<DType, std::string_view> kDTypes[] = {
    {DType::kFloat32, "F32"}, {DType::kBFloat16, "BF16"}, {DType::kInt32, "I32"},   {DType::kInt64, "I64"},
    {DType::kUInt8, "U8"},    {DType::kFloat64, "F64"},   {DType::kFloat16, "F16"},
};

SafetensorsEntry read_entry(const std::string& name, const json& value, uint64_t data_begin, uint64_t data_bytes,
                            const std::string& path) {
  const std::string where = fmt::format("{}: tensor `{}`", path, name.substr(0, 200));
  const auto fail = [&](std::string_view rule) -> void {
    throw WorldError(where, fmt::format("{}; the file is damaged or no safetensors file", rule));
  };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
    fail("must have dtype, shape and data_offsets");
  }
  SafetensorsEntry entry;
  const json& dtype = value["dtype"];
  if (!dtype.is_string() || !parse_safetensors_dtype(dtype.get_ref<const std::string&>(), entry.dtype)) {
    fail(fmt::format("dtype must be one of F32, BF16, F16, I32, I64, U8, F64, found {}", dtype.dump().substr(0, 100)));
  }
  if (!value["shape"].is_array()) fail("shape must be a list");
  for (const json& size : value["shape"]) {
    if (!size.is_number_unsigned() || !std::in_range<int64_t>(size.get<uint64_t>())) {
      fail("shape must hold non-negative integers");
    }
    entry.shape.push_back(size.get<int64_t>());
  }
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    fail("data_offsets must be two non-negative integers");
  }
  const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
  if (begin > end || end > data_bytes) {
    fail(fmt::format("data_offsets must lie in the file's {} bytes of data, found {} to {}", data_bytes, begin, end));
  }
  const int64_t wanted =
      checked_mul(checked_volume(entry.shape, where), static_cast<int64_t>(dtype_bytes(entry.dtype)), where);
  if (end - begin != static_cast<uint64_t>(wanted)) {
    fail(fmt::format("must have the {} bytes of its shape, found {}", wanted, end - begin));
  }
  entry.offset = data_begin + begin;
  entry.bytes = end - begin;
  return entry;
}

/// The tensors, put one after another, must be the data: then none overlaps, and no byte belongs to none.
void check_tiling(const std::map<std::string, SafetensorsEntry>& tensors, uint64_t data_begin, uint64_t file_bytes,
                  const std::string& path) {
  std::vector<const std::pair<const std::string, SafetensorsEntry>*> order;
  for (const auto& item : tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.offset, a->second.bytes) < std::pair(b->second.offset, b->second.bytes);
  });
  uint64_t at = data_begin;
  for (const auto* item : order) {
    if (item->second.offset != at) {
      throw WorldError(path,
                       fmt::format("tensors must follow each other without overlap or hole, found `{}` at byte "
                                   "{} of the data where {} was expected; the file is damaged",
                                   item->first.substr(0, 200), item->second.offset - data_begin, at - data_begin));
    }
    at += item->second.bytes;
  }
  if (at != file_bytes) {
    throw WorldError(path, fmt::format("tensors must end where the file ends, found {} bytes after the last; the file "
                                       "is damaged",
                                       file_bytes - at));
  }
}

}  // namespace

std::string_view safetensors_dtype_name(DType dtype) {
  for (const auto& [known, name] : kDTypes) {
    if (known == dtype) return name;
  }
  return "?";
}

bool parse_safetensors_dtype(std::string_view name, DType& dtype) {
  for (const auto& [known, known_name] : kDTypes) {
    if (known_name == name) {
      dtype = known;
      return true;
    }
  }
  return false;
}

WrittenFile write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsInput> tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<const SafetensorsInput*> order;
  for (const SafetensorsInput& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const std::size_t a_bytes = dtype_bytes(a->dtype), b_bytes = dtype_bytes(b->dtype);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a->name < b->name;
  });

  json header = json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  uint64_t offset = 0;
  std::vector<std::size_t> sizes;
  for (const SafetensorsInput* tensor : order) {
    TRIPTYCH_CHECK(tensor->name != kMetadata && !header.contains(tensor->name) && is_utf8(tensor->name),
                   "tensor name `{}`", tensor->name);
    const std::size_t bytes =
        static_cast<std::size_t>(checked_volume(tensor->shape, tensor->name)) * dtype_bytes(tensor->dtype);
    TRIPTYCH_CHECK(bytes == 0 || tensor->data != nullptr, "tensor `{}` has no data", tensor->name);
    header[tensor->name] = {{"dtype", safetensors_dtype_name(tensor->dtype)},
                            {"shape", tensor->shape},
                            {"data_offsets", {offset, offset + bytes}}};
    sizes.push_back(bytes);
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize(static_cast<std::size_t>(round_up(static_cast<int64_t>(text.size()), 8)), ' ');
  TRIPTYCH_CHECK(text.size() <= kMaxHeaderBytes, "a header of {} bytes", text.size());

  File file = File::create(path);
  Hasher hasher;
  WrittenFile written;
  const auto put = [&](std::span<const std::byte> bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += kSliceBytes) {
      const std::span<const std::byte> slice = bytes.subspan(at, std::min(kSliceBytes, bytes.size() - at));
      hasher.update(slice);
      file.write(slice);
    }
    written.bytes += bytes.size();
  };
  const uint64_t header_bytes = text.size();
  put(std::as_bytes(std::span(&header_bytes, 1)));
  put(std::as_bytes(std::span(text)));
  for (std::size_t i = 0; i < order.size(); ++i) put({order[i]->data, sizes[i]});
  file.sync_and_close();
  written.hash = hasher.digest();
  return written;
}

SafetensorsHeader read_safetensors_header(const File& file) {
  const std::string path = file.path().string();
  const uint64_t file_bytes = file.size();
  uint64_t header_bytes = 0;
  if (file_bytes < sizeof header_bytes) {
    throw WorldError(path, fmt::format("must have at least 8 bytes, found {}; it is truncated", file_bytes));
  }
  file.pread(std::as_writable_bytes(std::span(&header_bytes, 1)), 0);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file_bytes - sizeof header_bytes) {
    throw WorldError(path, fmt::format("the header must fit into the file of {} bytes and {} bytes, found a length of "
                                       "{}; the file is truncated or no safetensors file",
                                       file_bytes, kMaxHeaderBytes, header_bytes));
  }
  std::string text(header_bytes, '\0');
  file.pread(std::as_writable_bytes(std::span(text)), sizeof header_bytes);
  const json root = parse_strict_json(text, kMaxHeaderDepth, path);
  if (!root.is_object()) throw WorldError(path, "the header must be a JSON object; it is no safetensors file");

  SafetensorsHeader header;
  const uint64_t data_begin = sizeof header_bytes + header_bytes;
  for (const auto& [name, value] : root.items()) {
    if (name != kMetadata) {
      header.tensors.emplace(name, read_entry(name, value, data_begin, file_bytes - data_begin, path));
      continue;
    }
    if (!value.is_object()) throw WorldError(path, "__metadata__ must be an object; the file is damaged");
    for (const auto& [key, word] : value.items()) {
      if (!word.is_string()) throw WorldError(path, "__metadata__ must hold strings; the file is damaged");
      header.metadata.emplace(key, word.get<std::string>());
    }
  }
  check_tiling(header.tensors, data_begin, file_bytes, path);
  return header;
}

}  // namespace triptych::checkpoint
