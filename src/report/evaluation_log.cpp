#include "report/evaluation_log.h"

#include <limits>

#include <nlohmann/json.hpp>

#include "base/file.h"

namespace triptych::report {
namespace {

constexpr std::string_view kBegin = "{\"step\":", kNext = ",\"seconds\":";

}  // namespace

std::string to_json_line(const EvaluationLine& line) {
  nlohmann::ordered_json json{{"step", line.step}, {"seconds", line.seconds}, {"best", line.is_best}};
  nlohmann::ordered_json& metrics = json["metrics"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : line.metrics) metrics[name] = value;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);  // a set's name may be of any bytes
}

std::optional<EvaluationLine> parse_evaluation_line(const std::string& text) {
  const auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return std::nullopt;
  if (!json.contains("metrics") || !json["metrics"].is_object()) return std::nullopt;
  EvaluationLine line;
  line.step = json["step"].get<int64_t>();
  if (json.contains("seconds") && json["seconds"].is_number()) line.seconds = json["seconds"].get<double>();
  line.is_best = json.contains("best") && json["best"] == true;
  for (const auto& [name, value] : json["metrics"].items()) {
    if (!value.is_number() && !value.is_null()) return std::nullopt;
    line.metrics.emplace_back(name, value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
  }
  return line;
}

bool is_evaluation_line(std::string_view line) {
  const auto drop = [&](std::string_view begin) {  // as far as the line goes
    const std::size_t count = std::min(begin.size(), line.size());
    if (line.substr(0, count) != begin.substr(0, count)) return false;
    line.remove_prefix(count);
    return true;
  };
  if (!drop(kBegin)) return false;
  while (!line.empty() && line[0] >= '0' && line[0] <= '9') line.remove_prefix(1);
  return drop(kNext);
}

EvaluationLog::EvaluationLog(const std::filesystem::path& folder, int64_t resume_step)
    : file_(folder / "evaluations.jsonl", [resume_step](const std::string& text) {
        const std::optional<EvaluationLine> line = parse_evaluation_line(text);
        return resume_step > 0 && line && line->step <= resume_step;
      }) {}

std::vector<EvaluationLine> read_evaluations(const std::filesystem::path& path) {
  std::vector<EvaluationLine> all;
  if (!std::filesystem::exists(path)) return all;
  for_each_line(read_text_file(path, LineFile::kMaxBytes), [&](const std::string& text) {
    if (std::optional<EvaluationLine> line = parse_evaluation_line(text)) all.push_back(std::move(*line));
  });
  return all;
}

}  // namespace triptych::report
