#include "launcher/scaling_plan.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include <fmt/core.h>

#include "base/error.h"
#include "base/text.h"

namespace triptych::launcher {
namespace {

constexpr std::array<std::string_view, 4> kMeshAxes{"pp", "dp", "cp", "tp"};
constexpr int kMostScalingRanks = 1024;
constexpr std::string_view kAlone = "alone";

bool is_axis(std::string_view word) {
  return std::find(kMeshAxes.begin(), kMeshAxes.end(), word) != kMeshAxes.end();
}

[[noreturn]] void refuse(std::string_view mesh, const std::string& why) {
  throw UserError("--mesh",
                  fmt::format("{}, found `{}`. Write dp, cp, tp or pp, or a mesh such as dp=2,tp=2; other keys of "
                              "[parallel] may follow: pp,microbatches=8",
                              why, mesh));
}

struct MeshWords {
  std::string axis;                                           // that stands alone; may be empty
  std::vector<std::pair<std::string, std::string>> settings;  // KEY=VALUE, in order
};

MeshWords parse_mesh(const std::string& text) {
  MeshWords mesh;
  if (text == kAlone) {
    mesh.axis = kAlone;
    return mesh;
  }
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      if (!is_axis(word)) refuse(text, "a word without = must be an axis of the mesh");
      if (!mesh.axis.empty()) refuse(text, "one axis may stand alone, which gets all ranks");
      mesh.axis = word;
      continue;
    }
    const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
    const bool is_twice = std::any_of(mesh.settings.begin(), mesh.settings.end(),
                                      [&](const auto& setting) { return setting.first == key; });
    if (key.empty() || value.empty() || is_twice || key == mesh.axis) refuse(text, "each KEY=VALUE must be there once");
    mesh.settings.emplace_back(key, value);
  }
  const bool has_fixed_axis = std::any_of(mesh.settings.begin(), mesh.settings.end(),
                                          [](const auto& setting) { return is_axis(setting.first); });
  if (mesh.axis.empty() && !has_fixed_axis) refuse(text, "an axis of the mesh must be named");
  return mesh;
}

int size_of(const std::string& mesh, const std::string& value) {
  int size = 0;
  for (const char digit : value) {
    if (digit < '0' || digit > '9' || size > kMostScalingRanks) refuse(mesh, "an axis must have a number of ranks");
    size = 10 * size + (digit - '0');
  }
  if (size < 1) refuse(mesh, "an axis must have at least one rank");
  return size;
}

}  // namespace

std::vector<ScalingPoint> plan_scaling(std::span<const std::string> meshes, std::span<const int> ranks,
                                       ScalingMode mode, int64_t batch) {
  std::vector<ScalingPoint> points;
  const auto add = [&](const std::string& text, const MeshWords& words, int axis_size) {
    std::map<std::string_view, int> sizes;
    for (const std::string_view axis : kMeshAxes) sizes[axis] = 1;
    if (is_axis(words.axis)) sizes[words.axis] = axis_size;
    for (const auto& [key, value] : words.settings) {
      if (is_axis(key)) sizes[key] = size_of(text, value);
    }
    ScalingPoint point{.name = "", .line = text, .num_ranks = 1, .global_batch = batch, .overrides = {}};
    for (const std::string_view axis : kMeshAxes) {
      if (int64_t{point.num_ranks} * sizes[axis] > kMostScalingRanks) {
        refuse(text, fmt::format("a mesh must have at most {} ranks", kMostScalingRanks));
      }
      point.num_ranks *= sizes[axis];
      point.overrides.push_back(fmt::format("parallel.{}={}", axis, sizes[axis]));
      if (sizes[axis] > 1) point.name += fmt::format("{}{}={}", point.name.empty() ? "" : ",", axis, sizes[axis]);
    }
    if (point.num_ranks == 1) {
      point.name = "1 rank";
    } else {
      for (const auto& [key, value] : words.settings) {
        if (is_axis(key)) continue;
        point.name += fmt::format(",{}={}", key, value);
        point.overrides.push_back(fmt::format("parallel.{}={}", key, value));
      }
    }
    if (mode == ScalingMode::kWeak) point.global_batch *= point.num_ranks;
    const int64_t run_batch = point.global_batch;
    if (words.axis == kAlone && axis_size > 1) {
      point.num_ranks = axis_size;
      point.name = fmt::format("{} alone", axis_size);
      point.is_alone = true;
      point.global_batch *= axis_size;
    }
    point.overrides.push_back(fmt::format("training.global_batch={}", run_batch));
    const bool is_known =
        std::any_of(points.begin(), points.end(), [&](const ScalingPoint& other) { return other.name == point.name; });
    if (!is_known) points.push_back(std::move(point));
  };
  if (std::find(ranks.begin(), ranks.end(), 1) != ranks.end()) add("", {}, 1);
  for (const std::string& text : meshes) {
    const MeshWords words = parse_mesh(text);
    if (words.axis == kAlone && mode == ScalingMode::kStrong) {
      throw UserError("--mesh",
                      "`alone` must be compared in --mode weak: runs that know nothing of each other share no "
                      "batch. Leave it out");
    }
    if (words.axis.empty()) {
      add(text, words, 1);
    } else {
      for (const int size : ranks) add(text, words, size);
    }
  }
  std::stable_sort(points.begin(), points.end(),
                   [](const ScalingPoint& a, const ScalingPoint& b) { return a.num_ranks < b.num_ranks; });
  if (points.size() < 2) {
    throw UserError("bench scaling", fmt::format("at least two meshes must be compared, found {}. Name more --ranks, "
                                                 "or another --mesh",
                                                 points.empty() ? "none" : points.front().name));
  }
  return points;
}

}  // namespace triptych::launcher
