#pragma once

#include <memory>
#include <span>
#include <vector>

#include "autograd/parameter.h"
#include "parallel/group.h"

namespace triptych {

/// Owns the memory of all gradients of a rank, in buckets of neighbours that are Partial on the same axes, and
/// completes each bucket by an all-reduce as soon as its gradients have all their summands. Buckets start in one order
/// on every rank: last parameters first, as backward reaches them.
class Reducer {
 public:
  /// `bucket_bytes` bounds a bucket that holds more than one parameter. The parameters and the mesh must outlive this.
  Reducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes);

  /// Forgets the gradients; every parameter now expects a summand from each of `microbatches`.
  void begin_step(int microbatches);
  /// Starts what is ready and moves along what is in flight. Cheap; called after every node of backward.
  void poll();
  /// Completes all gradients. One that no backward reached is zero.
  void finish();

 private:
  struct Bucket {
    Group* group;  // null: nothing to sum
    Tensor memory;
    std::vector<Parameter*> parameters;
    std::shared_ptr<Pending> pending;
  };
  bool is_ready(const Bucket& bucket) const;
  void start(Bucket& bucket);

  Mesh* mesh_;
  std::vector<Bucket> buckets_;
  std::size_t next_ = 0;
  int microbatches_ = 1;
};

}  // namespace triptych
