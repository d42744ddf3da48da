#pragma once

#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "parallel/layout.h"

namespace triptych::nn {

/// One line of a parallel plan: a parameter or an activation, by the name that its module gives it, and where it lies.
struct PlanRow {
  std::string_view name;
  Layout layout;
};

// How the tables beside the modules spell layouts. The batch is over `dp` in every activation.
inline constexpr Layout kWhole{};  ///< of a parameter: every rank has it
inline constexpr Layout kBatch = Layout().with(Axis::kDp, Placement::shard(0));
constexpr Layout on_tp(int dim, Layout layout = {}) {
  return layout.with(Axis::kTp, Placement::shard(dim));
}
/// A dim of sequences on two axes: over `cp`, and each rank's piece over `tp`.
constexpr Layout on_cp_then_tp(int dim, Layout layout = {}) {
  return layout.with(Axis::kCp, Placement::shard(dim)).with(Axis::kTp, Placement::shard(dim, 1));
}
inline constexpr Layout kTokens = kBatch.with(Axis::kCp, Placement::shard(1));  ///< [B, S, ...]: sequences over `cp`

/// A model's parallel plan: the tables of its modules, laid over each other. A model is written as for one device and
/// asks its plan by name, so another kind of parallelism is another table.
class Plan {
 public:
  /// A row of a later table takes the place of an earlier one with its name.
  explicit Plan(std::initializer_list<std::span<const PlanRow>> tables);

  /// Throws InternalError if no table has the name.
  const Layout& operator()(std::string_view name) const;

 private:
  std::map<std::string, Layout, std::less<>> layouts_;
};

/// Shoeybi et al. 2019, Megatron-LM: within a block, weights and heads over `tp`; between blocks, activations are
/// whole on each of its ranks. Sequences are shared out over `cp` (Liu et al. 2023, Ring Attention), from the embedding
/// to where something needs all of one.
Plan tensor_parallel_plan();
/// Korthikanti et al. 2022: the same within a block; between blocks, what a rank of `cp` has by sequence over `tp`.
Plan sequence_parallel_plan();
/// The tensor parallel plan with whole sequences on every rank of `cp`, which compute the same: for passes that write a
/// text a token at a time, or show what attends to what.
Plan whole_sequence_plan();

/// What all modules share: "batch", activations whose sequence and features are whole; "stream", what blocks pass on;
/// "tokens", what lies within a block: features are whole; "replicated", parameters that every rank has.
inline constexpr PlanRow kCommonPlan[] = {
    {"batch", kBatch},
    {"stream", kTokens},
    {"tokens", kTokens},
    {"replicated", kWhole},
};
inline constexpr PlanRow kCommonSequencePlan[] = {
    {"stream", on_cp_then_tp(1, kBatch)},
};
inline constexpr PlanRow kCommonWholePlan[] = {
    {"stream", kBatch},
    {"tokens", kBatch},
};

}  // namespace triptych::nn
