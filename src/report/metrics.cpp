#include "report/metrics.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <span>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace triptych::report {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Field {
  const char* key;
  double StepMetrics::*value;
  const char* group;  // of TensorBoard's tag; null: it has none
};
constexpr std::array kFields = {
    Field{"loss", &StepMetrics::loss, "train"},
    Field{"grad_norm", &StepMetrics::grad_norm, "train"},
    Field{"learning_rate", &StepMetrics::learning_rate, "train"},
    Field{"samples_per_s", &StepMetrics::samples_per_s, "speed"},
    Field{"step_ms", &StepMetrics::step_ms, "speed"},
    Field{"loader_wait_ms", &StepMetrics::loader_wait_ms, "speed"},
    Field{"tflops", &StepMetrics::tflops, "speed"},
    Field{"peak_share", &StepMetrics::peak_share, "speed"},
    Field{"rss_mb", &StepMetrics::rss_mb, "memory"},
    Field{"time", &StepMetrics::time, nullptr},
};

std::optional<int64_t> as_integer(const nlohmann::json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return std::nullopt;
  return value.get<int64_t>();
}

}  // namespace

std::string to_json_line(const StepMetrics& metrics) {
  nlohmann::ordered_json line;
  line["step"] = metrics.step;
  for (const Field& field : kFields) {
    line[field.key] = metrics.*field.value;
    if (field.value != &StepMetrics::learning_rate) continue;
    for (const auto& [key, value] : metrics.scalars) line[key] = value;
  }
  line["skipped"] = metrics.skipped;
  TRIPTYCH_CHECK(line.size() == kFields.size() + 2 + metrics.scalars.size(),
                 "a scalar of step {} has the key of another", metrics.step);
  return line.dump();
}

std::optional<StepMetrics> parse_json_line(const std::string& line) {
  const auto json = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step")) return std::nullopt;
  const std::optional<int64_t> step = as_integer(json["step"]);
  if (!step) return std::nullopt;
  StepMetrics metrics;
  metrics.step = *step;
  for (const Field& field : kFields) metrics.*field.value = kNaN;
  for (const auto& [key, value] : json.items()) {
    if (key == "step" || !(value.is_number() || value.is_null())) continue;
    if (key == "skipped") {
      metrics.skipped = as_integer(value).value_or(0);
      continue;
    }
    const double number = value.is_null() ? kNaN : value.get<double>();
    bool known = false;
    for (const Field& field : kFields) {
      if (key != field.key) continue;
      metrics.*field.value = number;
      known = true;
    }
    if (!known) metrics.scalars.emplace_back(key, number);
  }
  return metrics;
}

bool is_metrics_line(std::string_view line) {
  const auto drop = [&](std::string_view begin) {  // as far as the line goes
    const std::size_t count = std::min(begin.size(), line.size());
    if (line.substr(0, count) != begin.substr(0, count)) return false;
    line.remove_prefix(count);
    return true;
  };
  if (!drop("{\"step\":")) return false;
  while (!line.empty() && line[0] >= '0' && line[0] <= '9') line.remove_prefix(1);
  if (!drop(",\"loss\":")) return false;
  line.remove_prefix(std::min(line.find(','), line.size()));
  return drop(",\"grad_norm\":");
}

MetricsWriter::MetricsWriter(const std::filesystem::path& folder, int64_t resume_step)
    : file_(folder / "metrics.jsonl", [resume_step](const std::string& line) {
        const std::optional<StepMetrics> metrics = parse_json_line(line);
        return metrics && metrics->step <= resume_step;
      }) {}

std::vector<StepMetrics> read_metrics(const std::filesystem::path& path) {
  std::vector<StepMetrics> all;
  for_each_metrics(path, [&](const StepMetrics& metrics) { all.push_back(metrics); });
  return all;
}

void for_each_metrics(const std::filesystem::path& path, const std::function<void(const StepMetrics&)>& use) {
  for_each_line_of(path, [&](const std::string& line) {
    if (const std::optional<StepMetrics> metrics = parse_json_line(line)) use(*metrics);
  });
}

std::vector<std::pair<std::string, double>> tagged_metrics(const StepMetrics& metrics) {
  std::vector<std::pair<std::string, double>> tagged;
  for (const Field& field : kFields) {
    if (field.group != nullptr) tagged.emplace_back(fmt::format("{}/{}", field.group, field.key), metrics.*field.value);
  }
  for (const auto& [key, value] : metrics.scalars) tagged.emplace_back("train/" + key, value);
  tagged.emplace_back("train/skipped", static_cast<double>(metrics.skipped));
  return tagged;
}

double seconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<double>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()) / 1e3;
}

double resident_mb() {
  // The second number of statm is the resident set in pages.
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long long total = 0, resident = 0;
  const int found = std::fscanf(file, "%lld %lld", &total, &resident);
  std::fclose(file);
  if (found != 2) return 0;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

}  // namespace triptych::report
