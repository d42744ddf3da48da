#include "launcher/mesh_simulation.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "report/svg_curve.h"
#include "report/svg_file.h"
#include "training/memory_plan.h"

namespace triptych::launcher {
namespace {

constexpr const char* kCompute = "compute";

double rate_of_device(const SimulatedMesh& mesh) {
  return static_cast<double>(mesh.global_batch) / mesh.plan.step.seconds / mesh.devices;
}

// "dp 6.7 %, compute 2.1 %".
std::string losses_text(const std::vector<std::pair<std::string, double>>& losses) {
  std::string text;
  for (const auto& [part, share] : losses) {
    text += fmt::format("{}{} {:.1f} %", text.empty() ? "" : ", ", part, 100 * share);
  }
  return text;
}

std::string to_csv(const std::vector<SimulatedMesh>& meshes) {
  std::set<std::string> parts;
  for (const SimulatedMesh& mesh : meshes) {
    for (const auto& [part, seconds] : seconds_by_part(mesh.plan.step)) parts.insert(part);
  }
  std::string text =
      "devices,global_batch,step_ms,samples_per_s,efficiency,pp,dp,cp,tp,zero,zero_group,schedule,microbatches,"
      "recompute,peak_mb";
  for (const std::string& part : parts) text += fmt::format(",{}_ms", part);
  for (const SimulatedMesh& mesh : meshes) {
    const ParallelOptions& p = mesh.plan.parallel;
    const double seconds = mesh.plan.step.seconds;
    text +=
        fmt::format("\n{},{},{:.6g},{:.6g},{:.6g},{},{},{},{},{},{},{},{},{},{:.6g}", mesh.devices, mesh.global_batch,
                    1e3 * seconds, static_cast<double>(mesh.global_batch) / seconds, efficiency(mesh, meshes.front()),
                    p.mesh.pp, p.mesh.dp, p.mesh.cp, p.mesh.tp, p.zero, p.mesh.dp_near, p.schedule, p.microbatches,
                    recompute_name(p.recompute), static_cast<double>(peak_bytes(mesh.plan.step.ranks)) / (1 << 20));
    std::map<std::string, double> of_parts = seconds_by_part(mesh.plan.step);
    for (const std::string& part : parts) text += fmt::format(",{:.6g}", 1e3 * of_parts[part]);
  }
  return text + "\n";
}

std::string efficiency_svg(const std::vector<SimulatedMesh>& meshes) {
  const SimulatedMesh& last = meshes.back();
  std::vector<std::pair<std::string, double>> lost = losses(last, meshes.front());
  lost.resize(std::min(lost.size(), std::size_t{2}));  // of which a line has room
  report::CurveLine ideal{.name = "ideal", .points = {}, .color = report::kNumCurveColors - 1, .is_thin = true};
  report::CurveLine line{
      .name = lost.empty() ? "the fastest mesh" : "the fastest mesh, limited by " + losses_text(lost),
      .points = {},
      .is_marked = true};
  std::vector<double> counts;
  for (const SimulatedMesh& mesh : meshes) {
    counts.push_back(mesh.devices);
    ideal.points.push_back({counts.back(), 1});
    line.points.push_back({counts.back(), efficiency(mesh, meshes.front())});
  }
  const std::string title =
      fmt::format("Efficiency: {:.1f} % on {} devices", 100 * efficiency(last, meshes.front()), last.devices);
  return report::svg_curve_file(
      std::vector{ideal, line},
      {.title = title, .x_name = "devices", .from_zero = true, .x_ticks = counts, .log_x = true});
}

std::string time_svg(const std::vector<SimulatedMesh>& meshes) {
  std::set<std::string> others;
  for (const SimulatedMesh& mesh : meshes) {
    for (const auto& [part, seconds] : seconds_by_part(mesh.plan.step)) {
      if (part != kCompute && seconds >= 0.001 * mesh.plan.step.seconds) others.insert(part);
    }
  }
  std::vector<std::string> names{kCompute};  // at the foot of the bars, where they are compared best
  names.insert(names.end(), others.begin(), others.end());
  std::vector<report::StackedBar> bars;
  for (const SimulatedMesh& mesh : meshes) {
    report::StackedBar& bar = bars.emplace_back(report::StackedBar{.name = std::to_string(mesh.devices), .parts = {}});
    std::map<std::string, double> parts = seconds_by_part(mesh.plan.step);
    for (const std::string& name : names) bar.parts.push_back(1e3 * parts[name]);
  }
  return report::svg_stacked_bars("A step's time by part on so many devices, mean of the ranks", "ms", names, bars);
}

}  // namespace

std::map<std::string, double> seconds_by_part(const StepPlan& step) {
  std::map<std::string, double> parts = step.waits;
  parts[kCompute] = step.compute_seconds;
  parts["bubble"] = step.bubble_seconds;
  return parts;
}

double efficiency(const SimulatedMesh& mesh, const SimulatedMesh& one) {
  return rate_of_device(mesh) / rate_of_device(one);
}

std::vector<std::pair<std::string, double>> losses(const SimulatedMesh& mesh, const SimulatedMesh& one) {
  std::map<std::string, double> before = seconds_by_part(one.plan.step);
  std::vector<std::pair<std::string, double>> result;
  for (const auto& [part, seconds] : seconds_by_part(mesh.plan.step)) {
    const double share = (seconds - before[part]) / mesh.plan.step.seconds;
    if (share >= 0.005) result.emplace_back(part, share);
  }
  std::stable_sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return result;
}

std::string limits_text(const std::vector<SimulatedMesh>& meshes) {
  const SimulatedMesh& last = meshes.back();
  const auto lost = losses(last, meshes.front());
  if (lost.empty()) return fmt::format("Nothing limits it up to {} devices.\n", last.devices);
  return fmt::format(
      "What limits it on {} devices, in shares of a step that one device does not have: {}.\n"
      "compute: kernels that one device does not need, or not for so long (larger contrasts, smaller products, "
      "packing);\n"
      "bubble: waits for other stages; others: waits for operations of that group which no kernel hides.\n",
      last.devices, losses_text(lost));
}

std::map<std::string, std::string> simulation_files(const std::vector<SimulatedMesh>& meshes) {
  return {{"scaling.csv", to_csv(meshes)}, {"efficiency.svg", efficiency_svg(meshes)}, {"time.svg", time_svg(meshes)}};
}

}  // namespace triptych::launcher
