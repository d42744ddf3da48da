#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/rooms.h"
#include "report/metrics.h"
#include "report/svg_curve.h"

namespace triptych::report {

/// A curve of any number of points in bounded memory. Up to `kMaxGroups` points it has each of them; of more it keeps
/// the least, the largest and the mean of groups of neighbours, which double in size as often as needed.
class Curve {
 public:
  static constexpr std::size_t kMaxGroups = 2048;

  /// Points come by rising x. One whose y is not finite is a gap.
  void add(double x, double y);
  bool has_values() const { return last_.has_value(); }
  /// The last finite one. Must have values.
  CurvePoint last() const { return *last_; }
  /// Each group's least and largest point in their order; a gap where a group has no finite one.
  std::vector<CurvePoint> outline() const;
  /// Of each group that has finite points, their mean.
  std::vector<CurvePoint> means() const;
  /// The median of the groups' means: of the points where each is kept. NaN if there is none.
  double median() const;
  /// The largest finite y; NaN if there is none.
  double largest() const;

 private:
  struct Group {
    double first_x = 0, sum_x = 0, sum_y = 0;
    CurvePoint least, largest;
    std::size_t num_points = 0, num_finite = 0;
    void add(double x, double y);
    void merge(const Group& later);
  };
  std::vector<Group> groups_;
  std::size_t points_per_group_ = 1;
  std::optional<CurvePoint> last_;
};

/// What a report shows of a run's metrics: a curve for each number of its lines, in bounded memory.
class RunCurves {
 public:
  struct Named {
    std::string key;  ///< as in metrics.jsonl
    Curve curve;
  };

  /// Lines come by rising step.
  void add(const StepMetrics& metrics);
  /// A number of a held-out set that was measured after `step`; drawn in the frame of the training's `key`, if it has
  /// one.
  void add_held_out(int64_t step, const std::string& set, const std::string& key, double value);

  bool empty() const { return !last_; }
  /// The last line. Must not be empty.
  const StepMetrics& last() const { return *last_; }
  /// Null if no line has it.
  const Curve* find(std::string_view key) const;
  /// In the order in which their keys came up: those of StepMetrics, behind the learning rate the task's.
  const std::vector<Named>& curves() const { return curves_; }
  struct HeldOut {
    std::string set, key;
    Curve curve;
  };
  const std::vector<HeldOut>& held_out() const { return held_out_; }
  /// Seconds that the steps up to each took together, by step.
  const Curve& elapsed() const { return elapsed_; }
  /// The time of the first line that has one, seconds since 1970; NaN if none has.
  double begin_time() const { return begin_time_; }

 private:
  std::vector<Named> curves_;
  std::unordered_map<std::string, std::size_t> place_;
  std::vector<HeldOut> held_out_;
  Curve elapsed_;
  double seconds_ = 0, begin_time_ = std::numeric_limits<double>::quiet_NaN();
  std::optional<StepMetrics> last_;
};

}  // namespace triptych::report
