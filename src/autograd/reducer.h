#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "autograd/parameter.h"
#include "parallel/mesh.h"

namespace triptych::autograd {

/// Completes the gradients of a rank's parameters, each step: what backward leaves Partial is summed over the ranks.
///
/// Parameters that are not trained have no part in it, and no memory. Which are is the same on all ranks that have
/// them. A tied parameter that several stages have is summed over those as well: every copy gets the whole gradient.
class Reducer {
 public:
  virtual ~Reducer() = default;
  Reducer(const Reducer&) = delete;
  Reducer& operator=(const Reducer&) = delete;

  /// Forgets what was seen, since other parameters are trained from now on: the next step is a first one again. Not
  /// within a step.
  virtual void relearn() = 0;
  /// Forgets the gradients.
  virtual void begin_step() = 0;
  /// Starts what is ready and moves along what is in flight. Cheap; called after every operation of backward.
  virtual void poll() = 0;
  /// Completes all gradients: they are in the parameters' `reduced`. One that no backward reached is zero.
  virtual void finish() = 0;

 protected:
  Reducer() = default;
};

/// When gradients leave for the ranks that keep them.
enum class GradientsAre : uint8_t {
  kWhole,      ///< on every rank of dp: an all-reduce
  kScattered,  ///< in pieces, once a step: a reduce-scatter
  kDispersed,  ///< in pieces, as soon as a bucket's worth is there, so that no rank ever has all of them
};

/// Collective over the pipeline; sets the parameters' `is_first_copy`.
///   bucket_bytes   bounds the gradients that are reduced together, where it is more than one
///   wire           float32, or the 16-bit type in which sums over dp travel: each summand is rounded to it, and summed
///                  in float32; among more than two ranks of an all-reduce the sum is rounded once more
/// The parameters and the mesh must outlive it.
std::unique_ptr<Reducer> make_reducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters,
                                      int64_t bucket_bytes, GradientsAre gradients, DType wire = DType::kFloat32);

}  // namespace triptych::autograd
