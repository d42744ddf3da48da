#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/parameter.h"
#include "autograd/sharded_weights.h"
#include "nn/adapter.h"
#include "nn/plan.h"
#include "parallel/mesh.h"

namespace triptych::nn {

/// How a parameter starts, and how it is treated.
struct ParameterSpec {
  float mean = 0;
  float standard_deviation = 0;  ///< 0: every element is `mean`
  bool decay = false;
  bool in_compute_dtype = false;  ///< operations read it in the pass's dtype, else in float32
  float maximum = std::numeric_limits<float>::infinity();
  bool is_tied = false;    ///< several blocks make it, with one name: they share it
  bool is_linear = false;  ///< a matrix that ops::linear multiplies by, and nothing else reads: it may have an adapter
  std::optional<PositionGrid> grid = {};  ///< of positions, where some of them are of a grid
};

/// Of a matrix [O..., inputs] for ops::linear: normal values of the variance scale^2 / inputs, so that with a scale of
/// 1 products keep the variance of what they multiply.
ParameterSpec linear_matrix(int64_t inputs, float scale = 1);

/// How parameters begin whose elements begin alike: the zeros of a head, the ones of a norm.
enum class InitialValues {
  kAsSpecified,
  kAllDifferent,  ///< normal around that: to compare gradients, many of which a zero would hide
  kNone,          ///< nor any memory for them: to say what a model has
};

/// The parameters that this rank holds, in the order in which the model made them. Initial values are a function of the
/// run's seed, the name and the global element: the same on any mesh.
class ParameterStore {
 public:
  /// The device, the mesh and the plan outlive this.
  ///   adapters      of the matrices that match; their parameters are made, and given, behind the matrix
  ///   shards_state  each rank of dp keeps its piece of every parameter; what operations read is gathered, once
  ///                 `gather_in` has said how (ZeRO)
  ParameterStore(Device& device, Mesh& mesh, const Plan& plan, uint64_t seed, DType compute_dtype,
                 std::vector<AdapterOptions> adapters = {}, InitialValues values = InitialValues::kAsSpecified,
                 bool shards_state = false)
      : device_(&device),
        mesh_(&mesh),
        plan_(&plan),
        seed_(seed),
        compute_dtype_(compute_dtype),
        adapters_(std::move(adapters)),
        values_(values),
        shards_state_(shards_state && mesh.size(Axis::kDp) > 1) {}

  /// `place` is the parameter's name in the plan. The reference stays valid for the store's life. A tied parameter that
  /// is there is given again. Throws InternalError if another parameter has the name.
  Parameter& create(const std::string& name, const Shape& global_shape, std::string_view place,
                    const ParameterSpec& spec);

  /// What the parameters lie on.
  Device& device() const { return *device_; }
  std::vector<Parameter*> all() const;
  /// Those whose name begins with `prefix`.
  std::vector<Parameter*> named(std::string_view prefix) const;
  /// Whether it is a matrix for ops::linear: see ParameterSpec.
  bool is_linear(const Parameter& parameter) const { return linear_.contains(&parameter); }
  /// What `create` has given, made or given again, since this was last called: what a block has, once it is made.
  std::vector<Parameter*> take_given();
  /// How whole parameters come to operations, of a store that shards state over several ranks: see ShardedWeights. A
  /// parameter of several units comes with the first of them.
  void gather_in(std::span<const std::vector<Parameter*>> units, bool is_freed);
  /// What gathers; null where every rank has all.
  ShardedWeights* sharded_weights() const { return sharded_weights_.get(); }
  /// Operations read what the masters hold from now on, after these were changed.
  void refresh_compute_copies();

 private:
  Parameter& make(const std::string& name, const Shape& global_shape, const Layout& layout, const ParameterSpec& spec);
  /// For this rank's piece, and its initial values.
  void take_memory(Parameter& parameter, const ParameterSpec& spec);
  void adapt(Parameter& matrix, const AdapterOptions& options);

  Device* device_;
  Mesh* mesh_;
  const Plan* plan_;
  uint64_t seed_;
  DType compute_dtype_;
  std::vector<AdapterOptions> adapters_;
  InitialValues values_;
  bool shards_state_;
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::vector<Parameter*> given_;
  std::set<const Parameter*> linear_;
  std::unique_ptr<ShardedWeights> sharded_weights_;  // goes before the parameters
};

}  // namespace triptych::nn
