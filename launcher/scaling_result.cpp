#include "launcher/scaling_result.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/core.h>

#include "base/error.h"

namespace triptych::launcher {
namespace {

using Json = nlohmann::json;

constexpr const char* kLoader = "loader";

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

// Samples a second and rank over those of the first mesh, as planned.
double planned_efficiency(const ScalingRuns& runs, const ScalingRuns& base) {
  const auto rank_rate = [](const ScalingRuns& of) { return rate(of.point, of.planned->step_ms) / of.point.num_ranks; };
  return rank_rate(runs) / rank_rate(base);
}

// "a field" as RFC 4180 wants one with a comma or a quote.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// Whether its runs had a loader: of synthetic data nobody says that it takes no time.
bool has_loader(const ScalingSummary& summary) {
  return summary.part_ms.contains(kLoader);
}

struct Shares {
  double compute = 0, communication = 0, pipeline = 0, optimizer = 0, loader = 0;
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
     : part == kLoader     ? shares.loader
                           : shares.communication) += ms;
  }
  if (all <= 0) return {};
  return {shares.compute / all, shares.communication / all, shares.pipeline / all, shares.optimizer / all,
          shares.loader / all};
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
  const bool with_loader = has_loader(summaries.front());
  std::string text =
      fmt::format("{:<{}}  {:>5}  {:>6}  {:>9}  {:>10}  {:>10}  {:>6}  {:>7}  {:>7}  {:>8}  {:>9}  {}{:>10}\n", "mesh",
                  width, "ranks", "batch", "step, ms", "samples/s", "efficiency", "(best)", "compute", "comm.",
                  "pipeline", "optimizer", with_loader ? " loader  " : "", "memory MiB");
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const ScalingPoint& point = runs[i].point;
    const ScalingSummary& summary = summaries[i];
    const Shares shares = shares_of(summary);
    text += fmt::format(
        "{:<{}}  {:>5}  {:>6}  {:>9.1f}  {:>10.1f}  {:>10.3f}  {:>6.3f}  {:>6.1f}%  {:>6.1f}%  {:>7.1f}%  {:>8.1f}%  "
        "{}{:>10.1f}\n",
        point.name, width, point.num_ranks, point.global_batch, summary.step_ms_median, summary.samples_per_s_median,
        summary.efficiency_median, summary.efficiency_best, 100 * shares.compute, 100 * shares.communication,
        100 * shares.pipeline, 100 * shares.optimizer,
        with_loader ? fmt::format("{:>6.1f}%  ", 100 * shares.loader) : "", summary.pool_peak_mb);
  }
  return text +
         fmt::format(
             "Medians of {} rounds of steps, by turns. efficiency: samples a second and rank over those of {}, the\n"
             "median of the rounds' ratios; (best): of each mesh's fastest step. Shares are of traced steps, the mean "
             "of\n"
             "ranks; pipeline: waits of pp, its bubble and messages. {}memory: of the rank whose pool held "
             "most.\n",
             runs.front().rounds.size(), runs.front().point.name, with_loader ? "loader: waits for batches. " : "");
}

std::string prediction_table(const std::vector<ScalingRuns>& runs, const std::vector<ScalingSummary>& summaries) {
  std::size_t width = 4;
  for (const ScalingRuns& one : runs) width = std::max(width, one.point.name.size());
  std::string text = fmt::format("{:<{}}  {:>9}  {:>9}  {:>8}  {:>10}  {:>9}  {:>10}  {:>9}  {:>8}\n", "mesh", width,
                                 "step, ms", "planned", "", "efficiency", "planned", "memory MiB", "planned", "");
  std::vector<double> errors;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const StepPrediction& planned = *runs[i].planned;
    const ScalingSummary& measured = summaries[i];
    const double of_time = planned.step_ms / measured.step_ms_median - 1;
    errors.push_back(std::abs(of_time));
    text +=
        fmt::format("{:<{}}  {:>9.1f}  {:>9.1f}  {:>+7.1f}%  {:>10.3f}  {:>9.3f}  {:>10.1f}  {:>9.1f}  {:>+7.1f}%\n",
                    runs[i].point.name, width, measured.step_ms_median, planned.step_ms, 100 * of_time,
                    measured.efficiency_median, planned_efficiency(runs[i], runs.front()), measured.pool_peak_mb,
                    planned.peak_mb, 100 * (planned.peak_mb / measured.pool_peak_mb - 1));
  }
  return text + fmt::format(
                    "Planned by `triptych plan step`; percentages: how much more than measured. Of step times the "
                    "median is {:.1f} %.\n",
                    100 * median(errors));
}

std::string scaling_csv(const std::vector<ScalingRuns>& runs, const std::vector<ScalingSummary>& summaries) {
  std::string text =
      "mesh,ranks,global_batch,rounds,step_ms_median,step_ms_best,samples_per_s_median,samples_per_s_best,"
      "efficiency_median,efficiency_best,compute_share,communication_share,pipeline_share,optimizer_share,loader_"
      "share,pool_peak_mb,planned_step_ms,planned_efficiency,planned_peak_mb\n";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const ScalingPoint& point = runs[i].point;
    const ScalingSummary& s = summaries[i];
    const Shares shares = shares_of(s);
    text += fmt::format("{},{},{},{},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{},{:.6g},",
                        csv_field(point.name), point.num_ranks, point.global_batch, runs[i].rounds.size(),
                        s.step_ms_median, s.step_ms_best, s.samples_per_s_median, s.samples_per_s_best,
                        s.efficiency_median, s.efficiency_best, shares.compute, shares.communication, shares.pipeline,
                        shares.optimizer, has_loader(s) ? fmt::format("{:.6g}", shares.loader) : "", s.pool_peak_mb);
    text += runs[i].planned ? fmt::format("{:.6g},{:.6g},{:.6g}\n", runs[i].planned->step_ms,
                                          planned_efficiency(runs[i], runs.front()), runs[i].planned->peak_mb)
                            : ",,\n";
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

}  // namespace triptych::launcher
