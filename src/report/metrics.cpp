#include "report/metrics.h"

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>

#include <fcntl.h>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace triptych::report {

namespace {

// A line is some 300 bytes, so this is ten million steps.
constexpr uint64_t kMaxMetricsBytes = uint64_t{4} << 30;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Field {
  const char* key;
  double StepMetrics::*value;
};
constexpr std::array kFields = {
    Field{"loss", &StepMetrics::loss},
    Field{"grad_norm", &StepMetrics::grad_norm},
    Field{"learning_rate", &StepMetrics::learning_rate},
    Field{"samples_per_s", &StepMetrics::samples_per_s},
    Field{"step_ms", &StepMetrics::step_ms},
    Field{"loader_wait_ms", &StepMetrics::loader_wait_ms},
    Field{"tflops", &StepMetrics::tflops},
    Field{"peak_share", &StepMetrics::peak_share},
    Field{"rss_mb", &StepMetrics::rss_mb},
};

std::optional<int64_t> as_integer(const nlohmann::json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return std::nullopt;
  return value.get<int64_t>();
}

// Calls `use` for each line, without its newline; the last one may have none.
template <typename Use>
void for_each_line(const std::string& text, Use use) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t newline = text.find('\n', begin);
    const std::size_t end = newline == std::string::npos ? text.size() : newline;
    use(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view action, int error_number) {
  throw WorldError("metrics", fmt::format("cannot {} {}: {}.", action, path.string(), describe_errno(error_number)));
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
    : path_(folder / "metrics.jsonl") {
  std::error_code unused;
  if (std::filesystem::exists(path_, unused)) {
    const std::string text = read_text_file(path_, kMaxMetricsBytes);
    std::string kept;
    for_each_line(text, [&](const std::string& line) {
      const std::optional<StepMetrics> metrics = parse_json_line(line);
      if (metrics && metrics->step <= resume_step) {
        kept += line;
        kept += '\n';
      }
    });
    if (kept != text) write_file_atomically(path_, kept);
  }
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(path_, "open", errno);
}

MetricsWriter::~MetricsWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MetricsWriter::write(const StepMetrics& metrics) {
  const std::string line = to_json_line(metrics) + '\n';
  const off_t size_before = ::lseek(descriptor_, 0, SEEK_END);
  std::size_t written = 0;
  while (written < line.size()) {
    const ssize_t count = ::write(descriptor_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error_number = count < 0 ? errno : ENOSPC;
      // Takes back the part that went through; if that fails too, the next reader drops the torn line.
      if (size_before >= 0 && ::ftruncate(descriptor_, size_before) != 0) fail(path_, "shorten", errno);
      fail(path_, "append to", error_number);
    }
    written += static_cast<std::size_t>(count);
  }
}

void MetricsWriter::sync() {
  if (::fsync(descriptor_) != 0) fail(path_, "flush", errno);
}

std::vector<StepMetrics> read_metrics(const std::filesystem::path& path) {
  std::vector<StepMetrics> all;
  for_each_line(read_text_file(path, kMaxMetricsBytes), [&](const std::string& line) {
    if (std::optional<StepMetrics> metrics = parse_json_line(line)) all.push_back(std::move(*metrics));
  });
  return all;
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
