#include "parallel/pipeline/partition.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/core.h>

#include "base/error.h"

namespace triptych::pipeline {

namespace {

using std::size_t;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check_costs(std::span<const double> costs, const char* what) {
  for (size_t i = 0; i < costs.size(); ++i) {
    if (!std::isfinite(costs[i]) || costs[i] < 0) {
      throw UserError("partition",
                      fmt::format("a {} cost must be finite and not negative, number {} is {}.", what, i, costs[i]));
    }
  }
}

// Costs of contiguous ranges in O(1). Both searches below ask here, so that equal ranges have bitwise equal costs.
class RangeCosts {
 public:
  RangeCosts(std::span<const double> blocks, std::span<const double> boundaries)
      : boundaries_(boundaries), sums_(blocks.size() + 1, 0.0) {
    for (size_t i = 0; i < blocks.size(); ++i) sums_[i + 1] = sums_[i] + blocks[i];
  }
  double operator()(size_t begin, size_t end) const {
    double cost = sums_[end] - sums_[begin];
    if (!boundaries_.empty() && begin > 0) cost += boundaries_[begin - 1];
    if (!boundaries_.empty() && end + 1 < sums_.size()) cost += boundaries_[end - 1];
    return cost;
  }

 private:
  std::span<const double> boundaries_;
  std::vector<double> sums_;
};

// Whether a range of blocks is within a stage's memory.
class RangeFits {
 public:
  RangeFits(const std::optional<StageMemory>& memory, size_t num_blocks, size_t num_stages) : memory_(memory) {
    if (!memory_) return;
    TRIPTYCH_CHECK(memory_->fixed.size() == num_blocks && memory_->kept.size() == num_blocks &&
                       memory_->graphs.size() == num_stages,
                   "{} and {} bytes of {} blocks, {} graphs of {} stages", memory_->fixed.size(), memory_->kept.size(),
                   num_blocks, memory_->graphs.size(), num_stages);
    check_costs(memory_->fixed, "block's fixed memory's");
    check_costs(memory_->kept, "block's kept memory's");
    check_costs(memory_->graphs, "stage's graphs'");
    fixed_ = sums_of(memory_->fixed);
    kept_ = sums_of(memory_->kept);
  }
  bool operator()(size_t stage, size_t begin, size_t end) const {
    if (!memory_) return true;
    return fixed_[end] - fixed_[begin] + memory_->graphs[stage] * (kept_[end] - kept_[begin]) <= memory_->limit;
  }

 private:
  static std::vector<double> sums_of(std::span<const double> values) {
    std::vector<double> sums(values.size() + 1, 0.0);
    for (size_t i = 0; i < values.size(); ++i) sums[i + 1] = sums[i] + values[i];
    return sums;
  }
  const std::optional<StageMemory>& memory_;
  std::vector<double> fixed_, kept_;
};

// The least maximum over the stages of a split of all blocks; infinite if there is none that fits.
double least_maximum(const RangeCosts& cost, const RangeFits& fits, size_t num_blocks, size_t num_stages) {
  std::vector<double> best(num_blocks + 1, kInfinity), next(num_blocks + 1);  // of the first n blocks
  best[0] = 0;
  for (size_t stage = 0; stage < num_stages; ++stage) {
    std::fill(next.begin(), next.end(), kInfinity);
    for (size_t end = stage + 1; end <= num_blocks; ++end) {
      for (size_t begin = stage; begin < end; ++begin) {
        if (fits(stage, begin, end)) next[end] = std::min(next[end], std::max(best[begin], cost(begin, end)));
      }
    }
    std::swap(best, next);
  }
  return best[num_blocks];
}

}  // namespace

Partition partition_blocks(std::span<const double> block_costs, int num_stages, std::span<const double> boundary_costs,
                           const std::optional<StageMemory>& memory) {
  if (num_stages < 1) {
    throw UserError("partition", fmt::format("the number of stages must be at least 1, found {}.", num_stages));
  }
  const size_t num_blocks = block_costs.size(), stages = static_cast<size_t>(num_stages);
  if (num_blocks < stages) {
    throw UserError("partition", fmt::format("each stage needs at least one block: {} blocks for {} stages. Lower "
                                             "parallel.pp, or give the model more layers.",
                                             num_blocks, num_stages));
  }
  TRIPTYCH_CHECK(boundary_costs.empty() || boundary_costs.size() + 1 == num_blocks, "{} boundaries, {} blocks",
                 boundary_costs.size(), num_blocks);
  check_costs(block_costs, "block's");
  check_costs(boundary_costs, "boundary's");

  const RangeCosts cost(block_costs, boundary_costs);
  const RangeFits fits(memory, num_blocks, stages);
  const double limit = least_maximum(cost, fits, num_blocks, stages);
  if (limit == kInfinity) {
    throw UserError("partition",
                    fmt::format("no cut into {} stages lets each hold at most {:.0f} MiB. Use more stages, "
                                "smaller microbatches or parallel.recompute, or give more memory.",
                                num_stages, memory->limit / (1 << 20)));
  }

  // The second search: the least sum of squares with no stage above the limit. squares[stage][n]: of the first n blocks
  // on stages 0..stage.
  std::vector<std::vector<double>> squares(stages, std::vector<double>(num_blocks + 1, kInfinity));
  std::vector<std::vector<size_t>> cut(stages, std::vector<size_t>(num_blocks + 1, 0));
  for (size_t stage = 0; stage < stages; ++stage) {
    for (size_t end = stage + 1; end <= num_blocks; ++end) {
      for (size_t begin = stage == 0 ? 0 : stage; begin < (stage == 0 ? 1 : end); ++begin) {
        const double here = cost(begin, end);
        const double before = stage == 0 ? 0 : squares[stage - 1][begin];
        if (here <= limit && fits(stage, begin, end) && before + here * here <= squares[stage][end] &&
            before < kInfinity) {
          squares[stage][end] = before + here * here;
          cut[stage][end] = begin;
        }
      }
    }
  }

  Partition partition;
  partition.begin.assign(stages + 1, 0);
  partition.begin[stages] = static_cast<int>(num_blocks);
  for (size_t stage = stages; stage-- > 0;) {
    partition.begin[stage] = static_cast<int>(cut[stage][static_cast<size_t>(partition.begin[stage + 1])]);
  }
  return partition;
}

}  // namespace triptych::pipeline
