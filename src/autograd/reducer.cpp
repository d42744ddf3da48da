#include "autograd/reducer.h"

#include "autograd/all_reducer.h"
#include "autograd/scatter_reducer.h"

namespace triptych::autograd {

std::unique_ptr<Reducer> make_reducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters,
                                      int64_t bucket_bytes, GradientsAre gradients, DType wire) {
  if (gradients == GradientsAre::kWhole) {
    return std::make_unique<AllReducer>(device, mesh, parameters, bucket_bytes, wire);
  }
  return std::make_unique<ScatterReducer>(device, mesh, parameters, bucket_bytes, gradients == GradientsAre::kDispersed,
                                          wire);
}

}  // namespace triptych::autograd
