#pragma once

#include <limits>
#include <string>

#include "parallel/layout.h"
#include "tensor/tensor.h"

namespace triptych {

/// A trained tensor: this rank's piece of it. Owned by the model's ParameterStore; variables refer to it.
struct Parameter {
  std::string name;  ///< global and stable: "image.blocks.3.attention.qkv.weight"
  Shape global_shape;
  Layout layout;           ///< of the value; never Partial
  Layout gradient_layout;  ///< of the gradient as backward leaves it: Partial where ranks hold summands
  bool decay = false;      ///< whether weight decay applies
  float maximum = std::numeric_limits<float>::infinity();  ///< the optimizer keeps every element at or below

  Tensor value;                   ///< float32 master
  Tensor compute;                 ///< what operations read: `value` itself, or its copy in bfloat16
  Tensor gradient;                ///< float32, a view into the reducer's bucket; `+=` by backward
  bool gradient_is_empty = true;  ///< nothing was accumulated since the step began; the memory is then undefined
  int num_summands = 0;           ///< uses whose backward has run in this step
  int summands_per_step = 0;      ///< when that many have, the gradient is complete; 0: one for every microbatch
};

}  // namespace triptych
