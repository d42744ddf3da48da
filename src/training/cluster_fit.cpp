#include "training/cluster_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"

namespace triptych::training {
namespace {

constexpr double kNoTime = 1e18;  // a rate, of FLOPs or bytes a second, at which anything takes none

// x >= 0 with the least |A x - 1|^2, and that; a row of A is a step, over its time.
template <std::size_t N>
struct Fit {
  std::array<double, N> x{};
  double error = 0;
};

template <std::size_t N>
Fit<N> fit_non_negative(const std::vector<std::array<double, N>>& rows) {
  std::array<double, N> scale{}, linear{};
  for (const auto& row : rows) {
    for (std::size_t j = 0; j < N; ++j) scale[j] = std::max(scale[j], row[j]);
  }
  std::array<std::array<double, N>, N> square{};
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < N; ++i) {
      if (scale[i] <= 0) continue;
      linear[i] += row[i] / scale[i];
      for (std::size_t j = 0; j < N; ++j) square[i][j] += scale[j] > 0 ? row[i] / scale[i] * row[j] / scale[j] : 0;
    }
  }
  Fit<N> fit;
  for (int sweep = 0; sweep < 200'000; ++sweep) {
    double largest = 0;
    for (std::size_t i = 0; i < N; ++i) {
      if (square[i][i] <= 0) continue;
      double slope = -linear[i];
      for (std::size_t j = 0; j < N; ++j) slope += square[i][j] * fit.x[j];
      const double next = std::max(0.0, fit.x[i] - slope / square[i][i]);
      largest = std::max(largest, std::abs(next - fit.x[i]));
      fit.x[i] = next;
    }
    if (largest < 1e-13) break;
  }
  for (std::size_t i = 0; i < N; ++i) fit.x[i] = scale[i] > 0 ? fit.x[i] / scale[i] : 0;
  for (const auto& row : rows) {
    double sum = -1;
    for (std::size_t i = 0; i < N; ++i) sum += row[i] * fit.x[i];
    fit.error += sum * sum;
  }
  return fit;
}

double rate_of(double seconds_a_unit) {
  return seconds_a_unit > 1 / kNoTime ? 1 / seconds_a_unit : kNoTime;
}

}  // namespace

Cluster fit_device(std::span<const TimedWork> steps) {
  TRIPTYCH_CHECK(!steps.empty(), "nothing to fit to");
  double best_share = 1;
  Fit<4> best{.x = {}, .error = std::numeric_limits<double>::infinity()};
  for (int percent = 100; percent >= 5; --percent) {
    const double share = percent / 100.0;
    std::vector<std::array<double, 4>> rows;
    for (const TimedWork& step : steps) {
      TRIPTYCH_CHECK(step.seconds > 0, "a step of {} s", step.seconds);
      const Work& work = step.work;
      rows.push_back({(work.product_flops + work.attention_flops / share) / step.seconds,
                      (work.half_product_flops + work.half_attention_flops / share) / step.seconds,
                      work.bytes / step.seconds, work.num_kernels / step.seconds});
    }
    const Fit<4> fit = fit_non_negative(rows);
    if (fit.error >= best.error * 0.999 - 1e-12) continue;  // where it tells nothing, attention is as products are
    best = fit;
    best_share = share;
  }
  const auto is_computed = [&](double Work::*products, double Work::*attention) {
    return std::any_of(steps.begin(), steps.end(),
                       [&](const TimedWork& step) { return step.work.*products + step.work.*attention > 0; });
  };
  Cluster cluster;
  const double full = rate_of(best.x[0]) / 1e12, half = rate_of(best.x[1]) / 1e12;
  const bool has_full = is_computed(&Work::product_flops, &Work::attention_flops);
  const bool has_half = is_computed(&Work::half_product_flops, &Work::half_attention_flops);
  cluster.fp32_tflops = has_full ? full : half;
  cluster.half_tflops = has_half ? half : full;
  cluster.memory_gb_per_s = rate_of(best.x[2]) / 1e9;
  cluster.kernel_us = best.x[3] * 1e6;
  cluster.product_share = cluster.memory_share = 1;
  cluster.attention_share = best_share;
  return cluster;
}

LinkRate fit_link(std::span<const TimedReduce> reduces) {
  TRIPTYCH_CHECK(reduces.size() >= 2, "{} sizes", reduces.size());
  std::vector<std::array<double, 2>> rows;
  for (const TimedReduce& reduce : reduces) {
    TRIPTYCH_CHECK(reduce.seconds > 0 && reduce.num_ranks > 1, "{} s on {} ranks", reduce.seconds, reduce.num_ranks);
    const auto n = static_cast<double>(reduce.num_ranks);
    rows.push_back({2 * std::ceil(std::log2(n)) / reduce.seconds, 2 * (n - 1) / n * reduce.bytes / reduce.seconds});
  }
  const Fit<2> fit = fit_non_negative(rows);
  return {.gb_per_s = rate_of(fit.x[1]) / 1e9, .latency_us = fit.x[0] * 1e6};
}

std::string to_toml(const Cluster& c, std::string_view comment) {
  std::string text;
  for (std::size_t begin = 0; begin < comment.size();) {
    const std::size_t end = std::min(comment.find('\n', begin), comment.size());
    text += fmt::format("# {}\n", comment.substr(begin, end - begin));
    begin = end + 1;
  }
  std::string name;
  for (const char letter : c.name) {
    if (static_cast<unsigned char>(letter) < ' ') continue;
    if (letter == '"' || letter == '\\') name += '\\';
    name += letter;
  }
  const auto number = [](double value) {  // TOML wants a digit behind the point
    const std::string digits = fmt::format("{:.6g}", value);
    return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
  };
  const auto put = [&](std::string_view key, double value) { text += fmt::format("{} = {}\n", key, number(value)); };
  text += fmt::format("name = \"{}\"\n\n[device]\n", name);
  put("memory_gb", c.memory_gb);
  put("fp32_tflops", c.fp32_tflops);
  put("half_tflops", c.half_tflops);
  put("memory_gb_per_s", c.memory_gb_per_s);
  put("kernel_us", c.kernel_us);
  put("product_share", c.product_share);
  put("attention_share", c.attention_share);
  put("memory_share", c.memory_share);
  text += fmt::format("overlaps = {}\n\n[node]\ndevices = {}\n", c.overlaps, c.devices_per_node);
  put("gb_per_s", c.node.gb_per_s);
  put("latency_us", c.node.latency_us);
  text += "\n[network]\n";
  put("gb_per_s", c.network.gb_per_s);
  put("latency_us", c.network.latency_us);
  return text;
}

}  // namespace triptych::training
