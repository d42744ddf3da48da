#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/parameter.h"
#include "parallel/group.h"
#include "parallel/mesh.h"

namespace triptych::autograd {

/// Completes the gradients of a rank's parameters by all-reduces, in buckets of neighbours that are summed over the
/// same ranks. How each gradient comes out and how often each parameter is used is not declared but seen in the first
/// step: that one's gradients are reduced when its backward has ended. From the second step on, a bucket starts as soon
/// as all uses of its parameters have run, and the gradients lie in the buckets' memory. Buckets start in one order on
/// every rank: last parameters first, as backward reaches them.
///
/// Parameters that are not trained have no part in it, and no memory. Which are is the same on all ranks that have
/// them.
///
/// A tied parameter that several stages have is summed over those as well: every copy gets the whole gradient.
class Reducer {
 public:
  /// Collective over the pipeline; sets the parameters' `is_first_copy`. `bucket_bytes` bounds the gradients of a
  /// bucket that holds more than one; each begins at a multiple of 256 bytes from the bucket's begin. The parameters
  /// and the mesh must outlive this.
  Reducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes);

  /// Forgets what was seen, since other parameters are trained from now on: the next step is a first one again. Not
  /// within a step.
  void relearn() { buckets_.clear(); }
  /// Forgets the gradients.
  void begin_step();
  /// Starts what is ready and moves along what is in flight. Cheap; called after every operation of backward.
  void poll();
  /// Completes all gradients. One that no backward reached is zero.
  void finish();

 private:
  struct Member {
    Parameter* parameter;
    Layout layout;  // of the gradient as backward leaves it
    int num_uses;   // a step
  };
  struct Bucket {
    Group* group = nullptr;  // null: nothing to sum
    Tensor memory;
    std::vector<Member> members;
    std::shared_ptr<Pending> pending;
  };
  struct Tied {
    Parameter* parameter;
    Group* stages;  // those that have it; its gradient is summed over these too
  };

  void find_tied();
  void arrange();
  bool is_ready(const Bucket& bucket) const;
  void start(Bucket& bucket);

  Device* device_;
  Mesh* mesh_;
  std::vector<Parameter*> parameters_;
  std::vector<std::unique_ptr<Group>> groups_;  // of stages that share tied parameters, where they are not all stages
  std::vector<Tied> tied_;                      // by name
  int64_t bucket_elements_;
  std::vector<Bucket> buckets_;  // empty until the first step has ended
  std::size_t next_ = 0;
};

}  // namespace triptych::autograd
