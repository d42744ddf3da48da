#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <oneapi/dnnl/dnnl.hpp>

#include "kernels/matmul.h"

namespace triptych::kernels::cpu {

/// A matrix product made ready for its sizes, types and strides; addresses are given at each run. Strides in the
/// Matmul are filled in (none is 0 but of a shared matrix of a batch), and no size is 0.
class PreparedMatmul {
 public:
  /// Throws dnnl::error. Runs on as many threads as OpenMP gives the calling thread, here and in `run`.
  PreparedMatmul(const Matmul& product, const dnnl::engine& engine);

  /// Allocates nothing of its own. `product` as it was prepared, but for the addresses. Throws dnnl::error.
  void run(const Matmul& product, const dnnl::stream& dnnl_stream, Stream& stream);

 private:
  using Memory = dnnl::memory;

  /// Measured on a Zen 4 core, in shares of what its registers could do (float32, bfloat16):
  enum class Route {
    kDirect,          ///< oneDNN's matmul on the matrices as they lie: 0.79-0.90, 0.82-0.91
    kPackedB,         ///< B is reordered first, which pays for many rows: 0.84-0.93, 0.87-0.93
    kWeightGradient,  ///< the inner product's gradient: 0.85-0.91, 0.78-0.85, where matmul's 0.78-0.85, 0.74-0.80
    /// The same for C^T, which is transposed afterwards: rows of A that are 4 KiB apart fall into the same cache set.
    kTransposedWeightGradient,
  };
  struct Step {
    dnnl::primitive primitive;
    std::array<dnnl_exec_arg_t, 5> args;
    int num_args = 0;
  };

  static Route route_of(const Matmul& product);
  void prepare_matmul(const Matmul& product, const dnnl::engine& engine);
  void prepare_weight_gradient(const Matmul& product, const dnnl::engine& engine);
  void add_argument(Step& step, int which, const Memory::desc& desc, Memory& memory, const dnnl::engine& engine);
  void finish_weight_gradient(const Matmul& product, const float* result) const;

  Route route_;
  std::array<Step, 2> steps_;
  std::size_t num_steps_ = 0;
  Memory a_, b_, c_, bias_;
  Memory staged_;  ///< the packed B, or the gradient that is still to be added to C or transposed
  std::size_t staged_bytes_ = 0;
  Memory scratchpad_;
  std::size_t scratchpad_bytes_ = 0;
};

}  // namespace triptych::kernels::cpu
