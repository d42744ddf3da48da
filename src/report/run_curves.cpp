#include "report/run_curves.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace triptych::report {

namespace {
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
}

void Curve::Group::add(double x, double y) {
  if (num_points++ == 0) first_x = x;
  if (!std::isfinite(y)) return;
  if (num_finite == 0 || y < least.y) least = {x, y};
  if (num_finite == 0 || y > largest.y) largest = {x, y};
  sum_x += x;
  sum_y += y;
  ++num_finite;
}

void Curve::Group::merge(const Group& later) {
  num_points += later.num_points;
  if (later.num_finite == 0) return;
  if (num_finite == 0 || later.least.y < least.y) least = later.least;
  if (num_finite == 0 || later.largest.y > largest.y) largest = later.largest;
  sum_x += later.sum_x;
  sum_y += later.sum_y;
  num_finite += later.num_finite;
}

void Curve::add(double x, double y) {
  if (std::isfinite(y)) last_ = {x, y};
  if (groups_.empty() || groups_.back().num_points == points_per_group_) {
    if (groups_.size() == kMaxGroups) {
      for (std::size_t i = 0; i < kMaxGroups / 2; ++i) {
        groups_[i] = groups_[2 * i];
        groups_[i].merge(groups_[2 * i + 1]);
      }
      groups_.resize(kMaxGroups / 2);
      points_per_group_ *= 2;
    }
    groups_.emplace_back();
  }
  groups_.back().add(x, y);
}

std::vector<CurvePoint> Curve::outline() const {
  std::vector<CurvePoint> points;
  for (const Group& group : groups_) {
    if (group.num_finite == 0) {
      points.push_back({group.first_x, kNaN});
      continue;
    }
    const bool is_rising = group.least.x <= group.largest.x;
    points.push_back(is_rising ? group.least : group.largest);
    if (group.least.x != group.largest.x) points.push_back(is_rising ? group.largest : group.least);
  }
  return points;
}

std::vector<CurvePoint> Curve::means() const {
  std::vector<CurvePoint> points;
  for (const Group& group : groups_) {
    const auto count = static_cast<double>(group.num_finite);
    if (group.num_finite > 0) points.push_back({group.sum_x / count, group.sum_y / count});
  }
  return points;
}

double Curve::median() const {
  std::vector<CurvePoint> points = means();
  if (points.empty()) return kNaN;
  const auto middle = points.begin() + static_cast<std::ptrdiff_t>(points.size() / 2);
  std::nth_element(points.begin(), middle, points.end(),
                   [](const CurvePoint& a, const CurvePoint& b) { return a.y < b.y; });
  return middle->y;
}

double Curve::largest() const {
  double most = kNaN;
  for (const Group& group : groups_) {
    if (group.num_finite > 0 && !(group.largest.y <= most)) most = group.largest.y;
  }
  return most;
}

void RunCurves::add(const StepMetrics& metrics) {
  const auto step = static_cast<double>(metrics.step);
  const auto put = [&](const std::string& key, double value) {
    const auto [found, is_new] = place_.try_emplace(key, curves_.size());
    if (is_new) curves_.push_back({key, {}});
    curves_[found->second].curve.add(step, value);
  };
  put("loss", metrics.loss);
  for (const auto& [key, value] : metrics.scalars) put(key, value);
  put("learning_rate", metrics.learning_rate);
  put("grad_norm", metrics.grad_norm);
  put("samples_per_s", metrics.samples_per_s);
  put("step_ms", metrics.step_ms);
  put("loader_wait_ms", metrics.loader_wait_ms);
  put("tflops", metrics.tflops);
  put("peak_share", metrics.peak_share);
  put("rss_mb", metrics.rss_mb);
  if (std::isfinite(metrics.step_ms)) seconds_ += metrics.step_ms / 1e3;
  elapsed_.add(step, seconds_);
  if (std::isnan(begin_time_)) begin_time_ = metrics.time - metrics.step_ms / 1e3;
  last_ = metrics;
}

void RunCurves::add_held_out(int64_t step, const std::string& set, const std::string& key, double value) {
  auto found = std::find_if(held_out_.begin(), held_out_.end(),
                            [&](const HeldOut& each) { return each.set == set && each.key == key; });
  if (found == held_out_.end()) found = held_out_.insert(found, {set, key, {}});
  found->curve.add(static_cast<double>(step), value);
}

const Curve* RunCurves::find(std::string_view key) const {
  const auto found = place_.find(std::string(key));
  return found == place_.end() ? nullptr : &curves_[found->second].curve;
}

}  // namespace triptych::report
