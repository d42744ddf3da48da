#pragma once

#include <memory>
#include <span>
#include <vector>

#include "autograd/reducer.h"
#include "autograd/tied_gradients.h"
#include "parallel/group.h"

namespace triptych::autograd {

/// Gradients that every rank of dp has whole: all-reduces, in buckets of neighbours that are summed over the same
/// ranks. How each gradient comes out and how often each parameter is used is not declared but seen in the first
/// step: that one's gradients are reduced when its backward has ended. From the second step on, a bucket starts as soon
/// as all uses of its parameters have run, and the gradients lie in the buckets' memory. Buckets start in one order on
/// every rank: last parameters first, as backward reaches them.
class AllReducer final : public Reducer {
 public:
  /// Each gradient of a bucket begins at a multiple of 256 bytes from the bucket's begin.
  AllReducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes);

  void relearn() override { buckets_.clear(); }
  void begin_step() override;
  void poll() override;
  void finish() override;

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

  void arrange();
  bool is_ready(const Bucket& bucket) const;
  void start(Bucket& bucket);

  Device* device_;
  Mesh* mesh_;
  std::vector<Parameter*> parameters_;
  TiedGradients tied_;
  int64_t bucket_elements_;
  std::vector<Bucket> buckets_;  // empty until the first step has ended
  std::size_t next_ = 0;
};

}  // namespace triptych::autograd
