#pragma once

#include <memory>
#include <span>
#include <vector>

#include "autograd/parameter.h"
#include "parallel/mesh.h"

namespace triptych::autograd {

/// Tied parameters of which several stages have a copy each: their gradients are summed over those stages.
class TiedGradients {
 public:
  /// Collective over the pipeline; sets the parameters' `is_first_copy`. They and the mesh must outlive this.
  TiedGradients(Mesh& mesh, std::span<Parameter* const> parameters);

  /// Sums what is reduced of each. Collective over the stages.
  void sum();

 private:
  struct Tied {
    Parameter* parameter;
    Group* stages;  // those that have it
  };
  std::vector<std::unique_ptr<Group>> groups_;  // of stages that share tied parameters, where they are not all stages
  std::vector<Tied> tied_;                      // by name
};

}  // namespace triptych::autograd
