#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "autograd/piece_rows.h"
#include "autograd/reducer.h"
#include "autograd/tied_gradients.h"
#include "parallel/group.h"
#include "parallel/half_sums.h"

namespace triptych::autograd {

/// Gradients of which every rank of dp keeps its piece alone (Rajbhandari et al. 2020, ZeRO): reduce-scatters of what
/// is there, a bucket's worth at a time, whose results are added to the pieces. What leaves a rank has no memory there
/// any more. Where near ranks of dp have a copy among them (MeshShape::dp_near), the reduce-scatters are theirs, and an
/// all-reduce of the pieces over the neighbourhoods follows each (Zhang et al. 2022, MiCS).
///
/// What may leave, and when, is decided by the order of the work alone, which is one on all ranks of dp: so they start
/// the same collectives in the same order.
class ScatterReducer final : public Reducer {
 public:
  ///   is_dispersed   a gradient leaves as soon as a bucket's worth is there, be it in summands, as those of several
  ///                  microbatches; else once all uses of its parameter in the step have run, which the first step
  ///                  shows
  ///   wire           see make_reducer; sums over neighbourhoods travel in it as well, rounded once more
  ScatterReducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes,
                 bool is_dispersed, DType wire = DType::kFloat32);
  /// Waits for what a step that failed has left on its way, whose memory is about to go.
  ~ScatterReducer() override;

  void relearn() override;
  void begin_step() override;
  void poll() override;
  void finish() override;

 private:
  struct Place {
    Parameter* parameter;
    int64_t num_elements;                // of the largest gradient of any rank: alike on all
    int num_uses = 0;                    // a step; 0: not seen yet
    std::optional<AxisSet> others = {};  // beside dp: the axes over which its pieces are still to be summed
    bool has_sum = false;                // whether `reduced` holds something of this step
  };
  struct Flight {
    PieceRows rows;
    std::vector<std::size_t> places;
    Tensor sent, received;
    Tensor summands;  // in 16 bits, whose sums are to be `received`
    std::shared_ptr<Pending> pending;
    bool has_crossed;                  // is being summed over neighbourhoods, the last part of its way
    std::optional<HalfSums> far_sums;  // if that is in 16 bits
  };

  bool may_leave(const Place& place) const;
  void look_at_changed();
  void scatter(AxisSet axes, const std::vector<std::size_t>& places);
  void cross(Flight& flight);
  void receive(Flight& flight);
  void land();
  void add_piece(Place& place, const Tensor& piece);
  void sum_over_others();

  Device* device_;
  Mesh* mesh_;
  std::vector<Place> places_;  // last parameters first, as backward reaches them
  TiedGradients tied_;
  int64_t bucket_elements_;
  bool is_dispersed_;
  DType wire_;
  std::deque<Flight> flights_;
  std::vector<std::size_t> changed_;  // places whose gradients have changed since they were looked at
  // Places whose gradients may leave, and how many elements these have, by the axes over which they are to be summed.
  std::array<std::set<std::size_t>, 8> ready_;
  std::array<int64_t, 8> ready_elements_{};
};

}  // namespace triptych::autograd
