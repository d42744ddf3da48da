#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "autograd/reducer.h"
#include "autograd/tied_gradients.h"
#include "parallel/group.h"
#include "parallel/half_sums.h"

namespace triptych::autograd {

/// Gradients that every rank of dp has whole: all-reduces, in buckets of neighbours that are summed over the same
/// ranks. How each gradient comes out and how often each parameter is used is not declared but seen in the first
/// step: that one's gradients are reduced when its backward has ended. From the second step on, a bucket starts as soon
/// as all uses of its parameters have run, and the gradients lie in the buckets' memory.
///
/// Neighbours are gradients that the first step completed one after the other, and buckets start in the order in which
/// it completed them: one on every rank, which is checked. So none waits for what comes later: not for that of another
/// tower, nor for one of few gradients from everywhere, such as norms under sequence parallelism.
class AllReducer final : public Reducer {
 public:
  /// Each gradient of a bucket begins at a multiple of 256 bytes from the bucket's begin.
  ///   wire   see make_reducer; what is summed over other axes alone travels as it is
  AllReducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes,
             DType wire = DType::kFloat32);
  /// Waits for what a step that failed has left on its way, whose memory is about to go.
  ~AllReducer() override;

  void relearn() override;
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
    bool is_over_dp = false;
    Tensor memory;
    std::vector<Member> members;
    std::shared_ptr<Pending> pending;  // of sums in float32
    std::optional<HalfSums> halves;    // of others
  };

  std::vector<Parameter*> order_of_completion() const;
  void require_nothing_on_its_way() const;
  void require_same_order(const std::vector<Parameter*>& order) const;
  void arrange();
  bool is_ready(const Bucket& bucket) const;
  void start(Bucket& bucket);
  void start_halves(Bucket& bucket);
  void land();

  Device* device_;
  Mesh* mesh_;
  std::vector<Parameter*> parameters_;
  TiedGradients tied_;
  int64_t bucket_elements_;
  DType wire_;
  bool has_plan_ = false;        // from the end of the first step on
  std::vector<Bucket> buckets_;  // none where nothing is trained
  std::size_t next_ = 0;
  std::vector<std::size_t> changed_;  // in the first step: the parameters whose gradients change, as they do
  std::deque<Bucket*> flights_;       // whose halves are on their way
};

}  // namespace triptych::autograd
