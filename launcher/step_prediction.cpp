#include "launcher/step_prediction.h"

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "launcher/program_output.h"

namespace triptych::launcher {

StepPrediction predict_step(const ConfigArguments& arguments, const std::filesystem::path& cluster, int batches) {
  std::vector<std::string> words{
      "plan", "step", "--json", "--cluster", cluster.string(), "--batches", std::to_string(batches)};
  append_config(words, arguments);
  const auto plan = nlohmann::json::parse(paper_output("--cluster", "leave --cluster out", std::move(words)));
  const auto ms = [&](const char* key) { return 1e3 * plan.at(key).get<double>(); };
  StepPrediction prediction{.step_ms = ms("seconds"), .part_ms = {}, .peak_mb = 0, .memory_mb = {}};
  prediction.part_ms["compute"] = ms("compute_seconds") - ms("optimizer_seconds");
  prediction.part_ms["optimizer"] = ms("optimizer_seconds");
  prediction.part_ms["pipeline"] = ms("bubble_seconds");
  for (const auto& [group, seconds] : plan.at("wait_seconds").items()) {
    prediction.part_ms[group == "pp" ? "pipeline" : group] += 1e3 * seconds.get<double>();
  }
  const auto mb = [](const nlohmann::json& bytes) { return bytes.get<double>() / (1 << 20); };
  prediction.peak_mb = mb(plan.at("peak_bytes"));
  for (const auto& [part, bytes] : plan.at("peak_bytes_by_part").items()) prediction.memory_mb[part] = mb(bytes);
  return prediction;
}

}  // namespace triptych::launcher
