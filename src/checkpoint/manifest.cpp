#include "checkpoint/manifest.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <span>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/strict_json.h"
#include "base/text.h"
#include "checkpoint/safetensors.h"

namespace triptych::checkpoint {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "triptych-checkpoint";
constexpr std::string_view kSelfHashKey = "\"self_hash\": \"";
constexpr std::string_view kSaveNumberKey = "\n\"save_number\": ";
constexpr uint64_t kMaxManifestBytes = uint64_t{256} << 20;
constexpr uint64_t kHeadBytes = 256;  ///< hold the lines before `step`
constexpr int64_t kMaxSaveNumber = int64_t{1} << 53;
constexpr std::size_t kHashDigits = 32;
constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxNameBytes = 1024;
constexpr std::size_t kMaxPieces = 1 << 14;  ///< of one tensor; coverage compares each pair that a box touches

json to_json_value(const ManifestValues& values) {
  json object = json::object();
  for (const auto& [key, value] : values) {
    TRIPTYCH_CHECK(is_utf8(key), "a key of a manifest is not UTF-8");
    std::visit(
        [&](const auto& x) {
          using X = std::decay_t<decltype(x)>;
          if constexpr (std::is_same_v<X, double>) TRIPTYCH_CHECK(std::isfinite(x), "`{}` is {}", key, x);
          if constexpr (std::is_same_v<X, std::string>) TRIPTYCH_CHECK(is_utf8(x), "`{}` is not UTF-8", key);
          object[key] = x;
        },
        value);
  }
  return object;
}

/// What the text hashes to, with zeros for the digits of its own hash.
std::string hash_without_itself(std::string text, std::size_t digits_at) {
  text.replace(digits_at, kHashDigits, kHashDigits, '0');
  return hash128(std::as_bytes(std::span(text))).hex();
}

/// A name that stays in the checkpoint's folder and is none of its own.
bool is_safe_file_name(std::string_view name) {
  if (name.empty() || name.size() > 200 || name[0] == '.' || name == "manifest.json") return false;
  for (const char c : name) {
    const bool allowed =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!allowed) return false;
  }
  return true;
}

/// Reads the fields of the manifest; every failure is a WorldError that names the field.
class Parser {
 public:
  explicit Parser(std::string_view where) : where_(where) {}

  [[noreturn]] void fail(std::string_view rule) const {
    throw WorldError(where_, fmt::format("{}; the manifest is damaged", rule));
  }

  const json& field(const json& object, const char* name) const {
    if (!object.is_object() || !object.contains(name)) fail(fmt::format("must have the field `{}`", name));
    return object[name];
  }

  int64_t count(const json& object, const char* name) const {
    const json& value = field(object, name);
    if (!value.is_number_unsigned() || !std::in_range<int64_t>(value.get<uint64_t>())) {
      fail(fmt::format("`{}` must be a non-negative integer, found {}", name, value.dump().substr(0, 100)));
    }
    return value.get<int64_t>();
  }

  std::string text(const json& object, const char* name) const {
    const json& value = field(object, name);
    if (!value.is_string()) fail(fmt::format("`{}` must be a string", name));
    return value.get<std::string>();
  }

  const json& container(const json& object, const char* name, bool is_list) const {
    const json& value = field(object, name);
    if (is_list ? !value.is_array() : !value.is_object()) {
      fail(fmt::format("`{}` must be {}", name, is_list ? "a list" : "an object"));
    }
    return value;
  }

  std::vector<int64_t> sizes(const json& object, const char* name) const {
    std::vector<int64_t> list;
    for (const json& value : container(object, name, true)) {
      if (!value.is_number_unsigned() || !std::in_range<int64_t>(value.get<uint64_t>())) {
        fail(fmt::format("`{}` must hold non-negative integers", name));
      }
      list.push_back(value.get<int64_t>());
    }
    return list;
  }

  ManifestValues values(const json& object, const char* name) const {
    ManifestValues result;
    for (const auto& [key, value] : container(object, name, false).items()) {
      if (value.is_number_unsigned()) {
        result[key] = value.get<uint64_t>();
      } else if (value.is_number_integer()) {
        result[key] = value.get<int64_t>();
      } else if (value.is_number_float()) {
        result[key] = value.get<double>();
      } else if (value.is_string()) {
        result[key] = value.get<std::string>();
      } else {
        fail(fmt::format("`{}` must hold numbers and strings", name));
      }
    }
    return result;
  }

  void files(const json& root, Manifest& manifest) {
    for (const json& entry : container(root, "files", true)) {
      ManifestFile file{text(entry, "name"), static_cast<uint64_t>(count(entry, "bytes")), text(entry, "xxh3_128")};
      if (!is_safe_file_name(file.name)) fail("a file's name must be letters, digits, '.', '_' and '-'");
      if (!index_of_.emplace(file.name, manifest.files.size()).second) {
        fail(fmt::format("file names must be distinct, found `{}` twice", file.name));
      }
      manifest.files.push_back(std::move(file));
    }
  }

  void tensors(const json& root, Manifest& manifest) {
    for (const auto& [name, entry] : container(root, "tensors", false).items()) {
      if (name.size() > kMaxNameBytes) fail("a tensor's name must have at most 1024 bytes");
      ManifestTensor tensor;
      const std::string dtype = text(entry, "dtype");
      if (!parse_safetensors_dtype(dtype, tensor.dtype)) {
        fail(fmt::format("the dtype of `{}` must be known, found {}", name, dtype.substr(0, 100)));
      }
      tensor.shape = sizes(entry, "shape");
      (void)checked_volume(tensor.shape, where_);
      for (const json& value : container(entry, "pieces", true)) {
        ManifestPiece piece;
        const auto file = index_of_.find(text(value, "file"));
        if (file == index_of_.end()) fail(fmt::format("a piece of `{}` must be in one of the files", name));
        piece.file = file->second;
        piece.key = text(value, "key");
        piece.begin = sizes(value, "begin");
        piece.shape = sizes(value, "shape");
        if (!is_inside({name, tensor.dtype, tensor.shape, piece.begin, piece.shape})) {
          fail(fmt::format("a piece of `{}` must lie inside of {}, found {} at {}", name,
                           format_shape(tensor.shape).substr(0, 200), format_shape(piece.shape).substr(0, 200),
                           format_shape(piece.begin).substr(0, 200)));
        }
        tensor.pieces.push_back(std::move(piece));
      }
      if (tensor.pieces.size() > kMaxPieces) fail(fmt::format("`{}` must have at most {} pieces", name, kMaxPieces));
      manifest.tensors.emplace(name, std::move(tensor));
    }
  }

 private:
  std::string where_;
  std::map<std::string, std::size_t> index_of_;
};

template <typename T>
const T* find_value(const ManifestValues& values, const std::string& key) {
  const auto found = values.find(key);
  if (found == values.end()) {
    throw WorldError("manifest", fmt::format("must hold `{}`, found nothing; the checkpoint is of another version or "
                                             "damaged",
                                             key));
  }
  return std::get_if<T>(&found->second);
}

[[noreturn]] void wrong_type(const std::string& key, std::string_view type) {
  throw WorldError("manifest",
                   fmt::format("`{}` must be {}; the checkpoint is of another version or damaged", key, type));
}

}  // namespace

uint64_t get_uint64(const ManifestValues& values, const std::string& key) {
  if (const auto* value = find_value<uint64_t>(values, key)) return *value;
  if (const auto* value = find_value<int64_t>(values, key); value && *value >= 0) return static_cast<uint64_t>(*value);
  wrong_type(key, "a non-negative integer");
}

double get_double(const ManifestValues& values, const std::string& key) {
  if (const auto* value = find_value<double>(values, key)) return *value;
  wrong_type(key, "a number with a point");
}

std::string Manifest::to_json() const {
  TRIPTYCH_CHECK(is_utf8(run.model) && is_utf8(run.config), "the fingerprint and the config must be UTF-8");
  json mesh = json::array();
  for (const auto& [axis, size] : run.mesh) mesh.push_back({{"axis", axis}, {"size", size}});
  std::string text = fmt::format("{{\n\"format\": \"{}\",\n\"version\": {},\n{}{}\",\n", kFormat, kVersion,
                                 kSelfHashKey, std::string(kHashDigits, '0'));
  const std::size_t digits_at = text.find(kSelfHashKey) + kSelfHashKey.size();
  const auto put = [&](std::string_view key, const json& value) {
    text += fmt::format("\"{}\": {},\n", key, value.dump());
  };
  put("save_number", save_number);
  put("step", run.step);
  put("skipped_steps", run.skipped_steps);
  put("model", run.model);
  put("config", run.config);
  put("cursor", to_json_value(run.cursor));
  put("random", to_json_value(run.random));
  put("extra", to_json_value(run.extra));
  put("mesh", mesh);
  put("world_size", world_size);

  // One line a file and a tensor, so that the text can be read and compared by line.
  text += "\"files\": [";
  for (std::size_t i = 0; i < files.size(); ++i) {
    const json entry = {{"name", files[i].name}, {"bytes", files[i].bytes}, {"xxh3_128", files[i].hash}};
    text += (i == 0 ? "\n" : ",\n") + entry.dump();
  }
  text += "\n],\n\"tensors\": {";
  bool is_first = true;
  for (const auto& [name, tensor] : tensors) {
    json pieces = json::array();
    for (const ManifestPiece& piece : tensor.pieces) {
      pieces.push_back(
          {{"file", files.at(piece.file).name}, {"key", piece.key}, {"begin", piece.begin}, {"shape", piece.shape}});
    }
    const json entry = {{"dtype", safetensors_dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"pieces", pieces}};
    text += fmt::format("{}{}: {}", is_first ? "\n" : ",\n", json(name).dump(), entry.dump());
    is_first = false;
  }
  text += "\n}\n}\n";
  text.replace(digits_at, kHashDigits, hash_without_itself(text, digits_at));
  return text;
}

Manifest Manifest::from_json(std::string_view text, std::string_view where) {
  const json root = parse_strict_json(text, kMaxDepth, where);
  if (!root.is_object() || root.value("format", json()) != json(kFormat)) {
    throw UserError(where, fmt::format("must be the manifest of a checkpoint (\"format\": \"{}\"), found another JSON "
                                       "file. Check the path.",
                                       kFormat));
  }
  Parser parser(where);
  if (const json& version = parser.field(root, "version"); version != json(kVersion)) {
    throw UserError(where, fmt::format("the format's version must be {}, found {}. Use the release of Triptych that "
                                       "wrote it.",
                                       kVersion, version.dump().substr(0, 100)));
  }
  const std::size_t key_at = text.find(kSelfHashKey);
  const std::size_t digits_at = key_at + kSelfHashKey.size();
  if (key_at == std::string_view::npos || digits_at + kHashDigits > text.size()) {
    parser.fail("must hold its own hash");
  }
  const std::string_view stated = text.substr(digits_at, kHashDigits);
  if (const std::string found = hash_without_itself(std::string(text), digits_at); found != stated) {
    parser.fail(fmt::format("must hash to the {} that it states, found {}", stated, found));
  }

  Manifest manifest;
  if (root.contains("save_number")) manifest.save_number = parser.count(root, "save_number");
  manifest.run.step = parser.count(root, "step");
  manifest.run.skipped_steps = parser.count(root, "skipped_steps");
  manifest.run.model = parser.text(root, "model");
  manifest.run.config = parser.text(root, "config");
  manifest.run.cursor = parser.values(root, "cursor");
  manifest.run.random = parser.values(root, "random");
  manifest.run.extra = parser.values(root, "extra");
  for (const json& axis : parser.container(root, "mesh", true)) {
    manifest.run.mesh.emplace_back(parser.text(axis, "axis"), parser.count(axis, "size"));
  }
  manifest.world_size = parser.count(root, "world_size");
  parser.files(root, manifest);
  parser.tensors(root, manifest);
  return manifest;
}

Manifest read_manifest(const std::filesystem::path& path) {
  return Manifest::from_json(read_text_file(path, kMaxManifestBytes), path.string());
}

namespace {

/// The first bytes of a file; "" if it is no regular file or cannot be read.
std::string head_of(const std::filesystem::path& path) {
  try {
    const File file = File::open_read(path);
    std::string head(std::min(file.size(), kHeadBytes), '\0');
    file.pread(std::as_writable_bytes(std::span(head)), 0);
    return head;
  } catch (const WorldError&) {
    return "";
  }
}

}  // namespace

bool is_manifest_of_ours(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(std::filesystem::symlink_status(path, error)) &&
         head_of(path).starts_with(fmt::format("{{\n\"format\": \"{}\"", kFormat));
}

int64_t read_save_number(const std::filesystem::path& manifest) {
  const std::string head = head_of(manifest);
  const std::size_t at = head.find(kSaveNumberKey);
  if (at == std::string::npos) return 0;
  int64_t number = 0;
  const char* const begin = head.data() + at + kSaveNumberKey.size();
  const auto [end, error] = std::from_chars(begin, head.data() + head.size(), number);
  // A number that no run can have reached is damage; the next save must still have one above it.
  return error == std::errc{} && end != begin && number > 0 && number < kMaxSaveNumber ? number : 0;
}

}  // namespace triptych::checkpoint
