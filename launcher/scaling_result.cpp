#include "launcher/scaling_result.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/core.h>

#include "base/error.h"
#include "report/svg_curve.h"
#include "report/svg_file.h"

namespace triptych::launcher {
namespace {

using Json = nlohmann::json;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// "wait tp" and "start tp" are of tp; those of pp are the pipeline's. "" is none of a step's parts.
std::string summary_part(const std::string& part) {
  if (part == "all") return "";
  for (const std::string_view begin : {"start ", "wait "}) {
    if (!part.starts_with(begin)) continue;
    const std::string group = part.substr(begin.size());
    return group == "pp" ? "pipeline" : group;
  }
  return part;
}

double rate(const ScalingPoint& point, double step_ms) {
  return 1e3 * static_cast<double>(point.global_batch) / step_ms;
}

ScalingSummary summarize_one(const ScalingRuns& runs, const ScalingRuns& base) {
  ScalingSummary summary;
  std::vector<double> medians, ratios, bests, base_bests;
  const auto rate_of_rank = [](const ScalingRuns& of, double step_ms) {
    return rate(of.point, step_ms) / of.point.num_ranks;
  };
  const auto median_of = [](const Json& round) { return round.at("step_ms").at("median").get<double>(); };
  for (std::size_t i = 0; i < runs.rounds.size(); ++i) {
    const Json &round = runs.rounds[i], &base_round = base.rounds.at(i);
    medians.push_back(median_of(round));
    bests.push_back(round.at("step_ms").at("min").get<double>());
    base_bests.push_back(base_round.at("step_ms").at("min").get<double>());
    ratios.push_back(rate_of_rank(runs, medians.back()) / rate_of_rank(base, median_of(base_round)));
    const Json& ranks = round.at("by_rank");
    const auto share = 1.0 / static_cast<double>(ranks.size() * runs.rounds.size());
    for (const Json& rank : ranks) {
      for (const auto& [part, ms] : rank.at("traced_step_ms").items()) {
        const std::string name = summary_part(part);
        if (!name.empty()) summary.part_ms[name] += share * ms.get<double>();
      }
      const auto peak = rank.at("pool_peak_mb").get<double>();
      if (peak <= summary.pool_peak_mb) continue;
      summary.pool_peak_mb = peak;
      summary.memory_mb = rank.at("pool_peak_mb_by_part").get<std::map<std::string, double>>();
    }
  }
  summary.step_ms_median = median(medians);
  summary.step_ms_best = *std::min_element(bests.begin(), bests.end());
  summary.samples_per_s_median = rate(runs.point, summary.step_ms_median);
  summary.samples_per_s_best = rate(runs.point, summary.step_ms_best);
  summary.efficiency_median = median(ratios);
  summary.efficiency_best = rate_of_rank(runs, summary.step_ms_best) /
                            rate_of_rank(base, *std::min_element(base_bests.begin(), base_bests.end()));
  return summary;
}

// "a field" as RFC 4180 wants one with a comma or a quote.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

struct Shares {
  double compute = 0, communication = 0, pipeline = 0, optimizer = 0;
};

// Of a traced step's time.
Shares shares_of(const ScalingSummary& summary) {
  Shares shares;
  double all = 0;
  for (const auto& [part, ms] : summary.part_ms) {
    all += ms;
    (part == "compute"     ? shares.compute
     : part == "pipeline"  ? shares.pipeline
     : part == "optimizer" ? shares.optimizer
                           : shares.communication) += ms;
  }
  if (all <= 0) return {};
  return {shares.compute / all, shares.communication / all, shares.pipeline / all, shares.optimizer / all};
}

}  // namespace

std::vector<ScalingSummary> summarize(const std::vector<ScalingRuns>& runs) {
  std::vector<ScalingSummary> summaries;
  for (const ScalingRuns& one : runs) {
    try {
      summaries.push_back(summarize_one(one, runs.front()));
    } catch (const Json::exception& error) {
      throw WorldError("bench scaling", fmt::format("the run on {} must print what `bench step` of this program does: "
                                                    "{}. Start it by hand to see what it prints",
                                                    one.point.name, error.what()));
    }
  }
  return summaries;
}

std::string scaling_table(const std::vector<ScalingRuns>& runs, const std::vector<ScalingSummary>& summaries) {
  std::size_t width = 4;
  for (const ScalingRuns& one : runs) width = std::max(width, one.point.name.size());
  std::string text =
      fmt::format("{:<{}}  {:>5}  {:>6}  {:>9}  {:>10}  {:>10}  {:>6}  {:>7}  {:>7}  {:>8}  {:>9}  {:>9}\n", "mesh",
                  width, "ranks", "batch", "step, ms", "samples/s", "efficiency", "(best)", "compute", "comm.",
                  "pipeline", "optimizer", "memory MB");
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const ScalingPoint& point = runs[i].point;
    const ScalingSummary& summary = summaries[i];
    const Shares shares = shares_of(summary);
    text += fmt::format(
        "{:<{}}  {:>5}  {:>6}  {:>9.1f}  {:>10.1f}  {:>10.3f}  {:>6.3f}  {:>6.1f}%  {:>6.1f}%  {:>7.1f}%  {:>8.1f}%  "
        "{:>9.1f}\n",
        point.name, width, point.num_ranks, point.global_batch, summary.step_ms_median, summary.samples_per_s_median,
        summary.efficiency_median, summary.efficiency_best, 100 * shares.compute, 100 * shares.communication,
        100 * shares.pipeline, 100 * shares.optimizer, summary.pool_peak_mb);
  }
  return text +
         fmt::format(
             "Medians of {} rounds of steps, by turns. efficiency: samples a second and rank over those of {}, the\n"
             "median of the rounds' ratios; (best): of each mesh's fastest step. Shares are of traced steps, the mean "
             "of\n"
             "ranks; pipeline: waits of pp, its bubble and messages. memory: of the rank whose pool held most.\n",
             runs.front().rounds.size(), runs.front().point.name);
}

std::string scaling_csv(const std::vector<ScalingRuns>& runs, const std::vector<ScalingSummary>& summaries) {
  std::string text =
      "mesh,ranks,global_batch,rounds,step_ms_median,step_ms_best,samples_per_s_median,samples_per_s_best,"
      "efficiency_median,efficiency_best,compute_share,communication_share,pipeline_share,optimizer_share,pool_peak_"
      "mb\n";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const ScalingPoint& point = runs[i].point;
    const ScalingSummary& s = summaries[i];
    const Shares shares = shares_of(s);
    text += fmt::format("{},{},{},{},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g}\n",
                        csv_field(point.name), point.num_ranks, point.global_batch, runs[i].rounds.size(),
                        s.step_ms_median, s.step_ms_best, s.samples_per_s_median, s.samples_per_s_best,
                        s.efficiency_median, s.efficiency_best, shares.compute, shares.communication, shares.pipeline,
                        shares.optimizer, s.pool_peak_mb);
  }
  return text;
}

std::string ranks_csv(const std::vector<ScalingRuns>& runs) {
  std::string text = "mesh,rank,part,unit,value\n";
  for (const ScalingRuns& one : runs) {
    const auto num_rounds = static_cast<double>(one.rounds.size());
    for (int rank = 0; rank < one.point.num_ranks; ++rank) {
      std::map<std::pair<std::string, std::string>, double> means;  // unit, part
      for (const Json& round : one.rounds) {
        const Json& of_rank = round.at("by_rank").at(static_cast<std::size_t>(rank));
        for (const auto& [part, ms] : of_rank.at("traced_step_ms").items()) {
          means[{"ms", part == "all" ? "step" : part}] += ms.get<double>() / num_rounds;
        }
        for (const auto& [part, mb] : of_rank.at("pool_peak_mb_by_part").items()) {
          means[{"MB", part}] += mb.get<double>() / num_rounds;
        }
        for (const char* const whole : {"pool_peak_mb", "peak_rss_mb"}) {
          means[{"MB", whole}] += of_rank.at(whole).get<double>() / num_rounds;
        }
      }
      for (const auto& [key, value] : means) {
        text += fmt::format("{},{},{},{},{:.6g}\n", csv_field(one.point.name), rank, csv_field(key.second), key.first,
                            value);
      }
    }
  }
  return text;
}

std::map<std::string, std::string> scaling_plots(const std::vector<ScalingRuns>& runs,
                                                 const std::vector<ScalingSummary>& summaries) {
  std::vector<report::CurveLine> rates, efficiencies;
  const auto line_of = [](std::vector<report::CurveLine>& lines, const std::string& name) -> report::CurveLine& {
    const auto found = std::find_if(lines.begin(), lines.end(), [&](const auto& line) { return line.name == name; });
    if (found != lines.end()) return *found;
    return lines.emplace_back(report::CurveLine{.name = name, .points = {}, .color = lines.size(), .is_marked = true});
  };
  const ScalingPoint &first = runs.front().point, &last = runs.back().point;
  const double rank_rate = summaries.front().samples_per_s_median / first.num_ranks;
  report::CurveLine &ideal = line_of(rates, "ideal"), &whole = line_of(efficiencies, "ideal");
  ideal.is_marked = whole.is_marked = false;
  for (const int n : std::set<int>{first.num_ranks, last.num_ranks}) {
    ideal.points.push_back({static_cast<double>(n), rank_rate * n});
    whole.points.push_back({static_cast<double>(n), 1});
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto add = [&](const std::string& name) {
      const auto n = static_cast<double>(runs[i].point.num_ranks);
      line_of(rates, name).points.push_back({n, summaries[i].samples_per_s_median});
      line_of(efficiencies, name).points.push_back({n, summaries[i].efficiency_median});
    };
    if (runs[i].point.num_ranks > 1) {
      add(runs[i].point.line);
      continue;
    }
    std::set<std::string> names;  // one rank begins all lines that an axis makes
    for (const ScalingRuns& other : runs) {
      if (other.point.num_ranks > 1) names.insert(other.point.line);
    }
    for (const std::string& name : names) add(name);
  }

  std::set<std::string> time_names, memory_names;
  for (const ScalingSummary& summary : summaries) {
    for (const auto& [part, ms] : summary.part_ms) time_names.insert(part);
    for (const auto& [part, mb] : summary.memory_mb) memory_names.insert(part);
  }
  std::vector<std::string> time_parts{"compute"};  // first, where bars are compared best
  for (const std::string& part : time_names) {
    if (part != "compute") time_parts.push_back(part);
  }
  const std::vector<std::string> memory_parts(memory_names.begin(), memory_names.end());
  std::vector<report::StackedBar> times, memories;
  const auto bar = [](const std::string& name, const std::vector<std::string>& parts,
                      std::map<std::string, double> of) {
    report::StackedBar result{.name = name, .parts = {}};
    for (const std::string& part : parts) result.parts.push_back(of[part]);
    return result;
  };
  for (std::size_t i = 0; i < runs.size(); ++i) {
    times.push_back(bar(runs[i].point.name, time_parts, summaries[i].part_ms));
    memories.push_back(bar(runs[i].point.name, memory_parts, summaries[i].memory_mb));
  }
  const auto style = [](std::string title) {
    return report::CurveStyle{.title = std::move(title), .x_name = "ranks", .from_zero = true};
  };
  return {{"throughput.svg", report::svg_curve_file(rates, style("Samples a second"))},
          {"efficiency.svg",
           report::svg_curve_file(efficiencies, style("Efficiency: samples a second and rank, of ideal"))},
          {"time.svg", report::svg_stacked_bars("A step's time by part, mean of the ranks", "ms", time_parts, times)},
          {"memory.svg",
           report::svg_stacked_bars("Memory at its peak, of the rank with most", "MB", memory_parts, memories)}};
}

}  // namespace triptych::launcher
