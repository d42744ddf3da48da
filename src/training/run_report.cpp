#include "training/run_report.h"

#include <filesystem>

#include "report/report.h"
#include "training/run_folder.h"

namespace triptych::training {

void write_run_report(const RunConfig& config, int64_t num_parameters, const std::vector<Panel>& panels) {
  const std::filesystem::path folder = config.run.dir;
  require_report_of_ours(folder);
  ReportInput input;
  input.title = folder.filename().string();
  std::filesystem::create_directories(folder);
  // There are none where a checkpoint of another folder is measured.
  if (std::filesystem::exists(folder / "metrics.jsonl")) input.metrics = read_metrics(folder / "metrics.jsonl");
  const MeshShape& mesh = config.parallel.mesh;
  double seconds = 0;
  for (const StepMetrics& line : input.metrics) seconds += line.step_ms / 1e3;
  input.facts = {{"parameters", std::to_string(num_parameters)},
                 {"steps", input.metrics.empty() ? "0" : std::to_string(input.metrics.back().step)},
                 {"time in steps", fmt::format("{:.0f} s", seconds)},
                 {"global batch", std::to_string(config.training.global_batch)},
                 {"precision", std::string(precision_name(config.training.precision))},
                 {"mesh of this command", fmt::format("pp {} x dp {} x tp {}", mesh.pp, mesh.dp, mesh.tp)},
                 {"data", config.data.path}};
  input.panels = panels;
  input.config_toml = config.effective_toml;
  write_report(folder / "report.html", input);
}

}  // namespace triptych::training
