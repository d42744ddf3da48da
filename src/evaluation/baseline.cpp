#include "evaluation/baseline.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace triptych::evaluation {
namespace {

constexpr uint64_t kMaxBaselineBytes = uint64_t{16} << 20;

}  // namespace

Baseline Baseline::read(const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& found) {
    throw UserError(path.string(),
                    fmt::format("must be JSON of the form {{\"set\": {{\"metric\": number}}}}, found {}. "
                                "Make it with launcher/pixel_baseline.py",
                                found));
  };
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) refuse("no such file");
  if (File::open_read(path).size() > kMaxBaselineBytes) refuse(fmt::format("more than {} bytes", kMaxBaselineBytes));
  const auto json = nlohmann::json::parse(read_text_file(path, kMaxBaselineBytes), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) refuse(json.is_discarded() ? "no JSON" : json.type_name());
  Baseline baseline;
  baseline.name_ = path.stem().string();
  std::replace(baseline.name_.begin(), baseline.name_.end(), '_', ' ');
  for (const auto& [set, metrics] : json.items()) {
    if (set == "about" && metrics.is_string()) {
      baseline.about_ = metrics.get<std::string>();
      continue;
    }
    if (!metrics.is_object()) refuse(fmt::format("{} for the set '{}'", metrics.type_name(), set));
    for (const auto& [metric, value] : metrics.items()) {
      if (!value.is_number()) refuse(fmt::format("{} for '{}' of the set '{}'", value.type_name(), metric, set));
      baseline.sets_[set][metric] = value.get<double>();
    }
  }
  return baseline;
}

std::optional<double> Baseline::value(const std::string& set, const std::string& metric) const {
  const auto metrics = sets_.find(set);
  if (metrics == sets_.end()) return std::nullopt;
  const auto found = metrics->second.find(metric);
  return found == metrics->second.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace triptych::evaluation
