#include "checkpoint/inspect.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_reader.h"

namespace triptych::checkpoint {
namespace {

constexpr std::size_t kMaxLines = 16;

/// 1234567 as "1,234,567".
std::string group_digits(int64_t number) {
  std::string text = fmt::format("{}", number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

std::string row(std::string_view label, std::string_view text) {
  return fmt::format("  {:<12}{}\n", label, text);
}

std::string describe_values(std::string_view label, const ManifestValues& values) {
  std::string text;
  for (const auto& [key, value] : values) {
    const std::string shown = std::visit([](const auto& x) { return fmt::format("{}", x); }, value);
    text += row(text.empty() ? label : "", fmt::format("{} = {}", key, shown.substr(0, shown.find('\n'))));
  }
  return text;
}

struct Sum {
  int64_t tensors = 0, elements = 0;
  double bytes = 0;

  void add(const ManifestTensor& tensor) {
    ++tensors;
    elements += volume(tensor.shape);
    bytes += static_cast<double>(volume(tensor.shape)) * static_cast<double>(dtype_bytes(tensor.dtype));
  }
  std::string describe() const {
    return fmt::format("{} tensors, {} elements, {}", group_digits(tensors), group_digits(elements),
                       human_bytes(bytes));
  }
};

std::string describe_tensors(const std::map<std::string, ManifestTensor>& tensors) {
  Sum all;
  std::map<std::string, Sum> groups;  // by the first part of the name: weights beside each state of the optimizer
  std::vector<std::pair<int64_t, std::string_view>> by_size;
  for (const auto& [name, tensor] : tensors) {
    all.add(tensor);
    groups[name.substr(0, name.find_first_of("./"))].add(tensor);
    by_size.emplace_back(-volume(tensor.shape), name);
  }
  std::string text = row("tensors", all.describe());
  if (groups.size() > 1 && groups.size() <= kMaxLines) {
    for (const auto& [name, sum] : groups) text += row("", fmt::format("{}: {}", name, sum.describe()));
  }
  constexpr std::size_t kLargest = 5;
  const std::size_t num_shown = std::min(by_size.size(), kLargest);
  std::partial_sort(by_size.begin(), by_size.begin() + static_cast<std::ptrdiff_t>(num_shown), by_size.end());
  for (std::size_t i = 0; i < num_shown; ++i) {
    const ManifestTensor& tensor = tensors.at(std::string(by_size[i].second));
    text += row(i == 0 ? "largest" : "",
                fmt::format("{} {} {} in {} piece{}", by_size[i].second, dtype_name(tensor.dtype),
                            format_shape(tensor.shape), tensor.pieces.size(), tensor.pieces.size() == 1 ? "" : "s"));
  }
  return text;
}

}  // namespace

std::string describe_checkpoint(const std::filesystem::path& path, bool verify, bool tensors) {
  CheckpointReader reader = CheckpointReader::open(resolve_checkpoint(path), kLatestName);
  const Manifest& manifest = reader.manifest();
  const RunState& run = manifest.run;

  std::string text = fmt::format("checkpoint {}\n", reader.folder().string());
  text += row("step", fmt::format("{} ({} skipped)", run.step, run.skipped_steps));
  text += row("model", run.model);
  std::string mesh;
  for (const auto& [axis, size] : run.mesh) mesh += fmt::format("{}={} ", axis, size);
  text += row("saved by", fmt::format("{} rank{}{}{}", manifest.world_size, manifest.world_size == 1 ? "" : "s",
                                      mesh.empty() ? "" : ", mesh ", mesh.substr(0, mesh.size() - !mesh.empty())));
  text += describe_tensors(manifest.tensors);
  double bytes = 0;
  for (const ManifestFile& file : manifest.files) bytes += static_cast<double>(file.bytes);
  text += row("files", fmt::format("{}, {}", manifest.files.size(), human_bytes(bytes)));
  for (std::size_t i = 0; i < std::min(manifest.files.size(), kMaxLines); ++i) {
    const ManifestFile& file = manifest.files[i];
    text += row("", fmt::format("{}  {}", file.name, human_bytes(static_cast<double>(file.bytes))));
  }
  if (manifest.files.size() > kMaxLines) text += row("", fmt::format("and {} more", manifest.files.size() - kMaxLines));
  text += describe_values("cursor", run.cursor);
  text += describe_values("random", run.random);
  text += describe_values("extra", run.extra);
  if (tensors) {
    std::string_view label = "all tensors";
    for (const auto& [name, tensor] : manifest.tensors) {
      text += row(label, fmt::format("{} {} {}", name, dtype_name(tensor.dtype), format_shape(tensor.shape)));
      label = "";
    }
  }
  if (verify) {
    reader.verify();
    text += row("verified", "every file's hash, every header, and that the pieces cover every tensor");
  }
  return text;
}

}  // namespace triptych::checkpoint
