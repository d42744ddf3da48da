#include "objectives/contrastive_blocks.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "parallel/redistribute.h"

namespace triptych::objectives {
namespace {

// Some candidates of every rank of `dp`, the same numbers in each one's share.
struct Block {
  int64_t begin, length;
};

// [2, n] and [1, n], by what several ranks combine them.
struct Statistics {
  Tensor largest, others;

  Statistics(Device& device, int64_t n)
      : largest(Tensor::empty(device, DType::kFloat32, Shape{2, n})),
        others(Tensor::zeros(device, DType::kFloat32, Shape{1, n})) {
    fill(device.stream(), largest.raw(), std::numeric_limits<float>::lowest(), 2 * n, DType::kFloat32);
  }
  InfoNceStatistics from(int64_t i) const {
    float* const maxima = largest.data<float>();
    return {maxima + i, maxima + largest.size(1) + i, others.data<float>() + i};
  }
};

// [3, n].
InfoNceSoftmax from(const Tensor& softmax, int64_t i) {
  float* const data = softmax.data<float>();
  const int64_t n = softmax.size(1);
  return {data + i, data + n + i, data + 2 * n + i};
}

const uint8_t* flags(const Tensor& present, int64_t i) {
  return present.defined() ? present.data<uint8_t>() + i : nullptr;
}

class Evaluation {
 public:
  Evaluation(ContrastiveConfig::Kind kind, const ContrastiveRows& rows, const ContrastiveTerms& terms,
             const ContrastiveNeeds& needs, Mesh& mesh, const ContrastiveBlockSizes& sizes)
      : device_(rows.queries.device()),
        stream_(device_.stream()),
        mesh_(mesh),
        kind_(kind),
        rows_(rows),
        terms_(terms),
        needs_(needs),
        sizes_(sizes),
        num_queries_(rows.queries.size(0)),
        num_candidates_(rows.candidates.size(0)),
        width_(rows.queries.size(1)),
        over_dp_(on_mesh(Layout().with(Axis::kDp, Placement::shard(0)), mesh)) {
    share_out();
    gather_presence();
    if (needs.queries) gradients_.queries = Tensor::zeros(device_, DType::kFloat32, rows.queries.shape());
    if (needs.candidates) gradients_.candidates = Tensor::empty(device_, DType::kFloat32, rows.candidates.shape());
  }

  ContrastiveGradients run() {
    if (kind_ == ContrastiveConfig::Kind::kInfoNce) {
      run_info_nce();
    } else {
      differentiate(false,
                    [&](const ContrastiveBlock& tile, int64_t, int64_t) { sigmoid_block(stream_, tile, terms_); });
    }
    return std::move(gradients_);
  }

 private:
  int num_ranks() const { return mesh_.size(Axis::kDp); }

  // The blocks: alike on the ranks of `dp`, of which some may have fewer candidates.
  void share_out() {
    int64_t total = 0;
    for (int rank = 0; rank < num_ranks(); ++rank) {
      int64_t share = shard_range(rows_.batch, num_ranks(), rank).length;
      for (const Axis axis : {Axis::kCp, Axis::kTp}) {
        share = shard_range(share, mesh_.size(axis), mesh_.rank(axis)).length;
      }
      most_candidates_ = std::max(most_candidates_, share);
      total += share;
    }
    is_ragged_ = total != most_candidates_ * num_ranks();
    const int64_t num_blocks = (most_candidates_ * num_ranks() + sizes_.candidates - 1) / sizes_.candidates;
    const int64_t length = num_blocks == 0 ? 0 : (most_candidates_ + num_blocks - 1) / num_blocks;
    for (int64_t begin = 0; begin < most_candidates_; begin += length) {
      blocks_.push_back({begin, std::min(length, most_candidates_ - begin)});
    }
    candidates_ = padded(rows_.candidates);
  }

  // With zeros behind, where this rank has fewer than others.
  Tensor padded(const Tensor& rows) const {
    if (rows.size(0) == most_candidates_) return rows.contiguous();
    const Tensor all = Tensor::zeros(device_, rows.dtype(), rows.shape().with(0, most_candidates_));
    all.slice(0, 0, rows.size(0)).copy_from(rows);
    return all;
  }

  // Which of every block's candidates are there, block by block; nothing if all are.
  void gather_presence() {
    if (!is_ragged_ && !rows_.present.defined()) return;
    Tensor own = rows_.present;
    if (!own.defined()) {
      const std::vector<uint8_t> ones(static_cast<std::size_t>(num_queries_), 1);
      own = Tensor::from<uint8_t>(device_, Shape{num_queries_}, ones);
    }
    own = padded(own.slice(0, rows_.first, num_candidates_));
    const Tensor all = redistribute(own, Shape{most_candidates_ * num_ranks()}, over_dp_, Layout(), mesh_)
                           .view(Shape{num_ranks(), most_candidates_});
    for (const Block& block : blocks_) present_.push_back(all.slice(1, block.begin, block.length).contiguous());
  }

  const uint8_t* candidate_flags(std::size_t number) const {
    return present_.empty() ? nullptr : present_[number].data<uint8_t>();
  }

  Tensor gathered(const Block& block) const {
    return redistribute(candidates_.slice(0, block.begin, block.length), Shape{block.length * num_ranks(), width_},
                        over_dp_, Layout(), mesh_);
  }

  // Calls visit(number of the block, its candidates), from the first to the last or back. The block that comes last
  // stays at hand for the next time.
  template <typename Visit>
  void for_blocks(bool backwards, const Visit& visit) {
    const auto num_blocks = static_cast<int64_t>(blocks_.size());
    const auto number = [&](int64_t i) { return static_cast<std::size_t>(backwards ? num_blocks - 1 - i : i); };
    for (int64_t i = 0; i < num_blocks; ++i) {
      const Tensor here = at_hand_.defined() ? at_hand_ : gathered(blocks_[number(i)]);
      at_hand_ = i + 1 < num_blocks ? gathered(blocks_[number(i + 1)]) : here;
      visit(number(i), here);
    }
  }

  // Calls visit(tile, its first query), with the dot products of some queries and a block's candidates in the tile.
  template <typename Visit>
  void for_tiles(std::size_t number, const Tensor& candidates, const Visit& visit) const {
    const int64_t cols = candidates.size(0);
    const Tensor dots = Tensor::empty(device_, DType::kFloat32, Shape{std::min(num_queries_, sizes_.queries), cols});
    for (int64_t begin = 0; begin < num_queries_; begin += sizes_.queries) {
      const int64_t count = std::min(sizes_.queries, num_queries_ - begin);
      matmul(stream_, {.m = count,
                       .n = cols,
                       .k = width_,
                       .a = queries(begin),
                       .b = candidates.raw(),
                       .transpose_b = true,
                       .c = dots.raw()});
      ContrastiveBlock tile{.dots = dots.data<float>(), .rows = count, .cols = cols};
      set_own(tile, begin, blocks_[number]);
      tile.row_present = flags(rows_.present, begin);
      tile.col_present = candidate_flags(number);
      visit(tile, begin);
      mesh_.progress();
    }
  }

  // This rank's candidates are queries of this rank.
  void set_own(ContrastiveBlock& tile, int64_t begin, const Block& block) const {
    const int64_t first = std::max(begin, rows_.first + block.begin);
    const int64_t end =
        std::min(begin + tile.rows, rows_.first + std::min(block.begin + block.length, num_candidates_));
    if (end <= first) return;
    tile.first_row = first - begin;
    tile.first_col = own_column(block) + first - rows_.first - block.begin;
    tile.num_own = end - first;
  }
  // Where in a block this rank's candidates begin.
  int64_t own_column(const Block& block) const { return mesh_.rank(Axis::kDp) * block.length; }

  const float* queries(int64_t begin) const { return rows_.queries.data<float>() + begin * width_; }

  // Goes over all blocks: make_gradients(tile, its first query, its first candidate) leaves the gradients of the dot
  // products in the tile, and from them follow those of what was multiplied.
  template <typename MakeGradients>
  void differentiate(bool backwards, const MakeGradients& make_gradients) {
    Tensor sent;
    std::size_t sent_number = 0;
    for_blocks(backwards, [&](std::size_t number, const Tensor& candidates) {
      const int64_t cols = candidates.size(0);
      Tensor dcandidates;
      if (needs_.candidates) {
        dcandidates = num_queries_ > 0 ? Tensor::empty(device_, DType::kFloat32, candidates.shape())
                                       : Tensor::zeros(device_, DType::kFloat32, candidates.shape());
      }
      for_tiles(number, candidates, [&](const ContrastiveBlock& tile, int64_t begin) {
        make_gradients(tile, begin, blocks_[number].begin * num_ranks());
        if (needs_.queries) {
          matmul(stream_, {.m = tile.rows,
                           .n = width_,
                           .k = cols,
                           .a = tile.dots,
                           .b = candidates.raw(),
                           .c = gradients_.queries.data<float>() + begin * width_,
                           .accumulate = true});
        }
        if (needs_.candidates) {
          matmul(stream_, {.m = cols,
                           .n = width_,
                           .k = tile.rows,
                           .a = tile.dots,
                           .transpose_a = true,
                           .b = queries(begin),
                           .c = dcandidates.raw(),
                           .accumulate = begin > 0});
        }
      });
      if (!needs_.candidates) return;
      take_home(sent, sent_number);
      const Layout summands = on_mesh(Layout().with(Axis::kDp, Placement::partial()), mesh_);
      sent = redistribute(dcandidates, dcandidates.shape(), summands, over_dp_, mesh_);
      sent_number = number;
    });
    take_home(sent, sent_number);
  }

  // What was sent last: a block's gradients of this rank's candidates.
  void take_home(Tensor& sent, std::size_t number) const {
    const Tensor gradient = std::exchange(sent, Tensor());
    if (!gradient.defined()) return;
    const int64_t begin = blocks_[number].begin;
    const int64_t count = std::min(blocks_[number].length, num_candidates_ - begin);
    if (count <= 0) return gradient.wait();
    gradients_.candidates.slice(0, begin, count).copy_from(gradient.slice(0, 0, count));
  }

  // What all ranks of the axes have met, from what each has.
  void combine(Statistics& statistics, std::initializer_list<Axis> axes) const {
    Layout maxima, sums;
    for (const Axis axis : axes) {
      maxima = maxima.with(axis, Placement::partial(ReduceOp::kMax));
      sums = sums.with(axis, Placement::partial());
    }
    maxima = on_mesh(maxima, mesh_);
    if (maxima == Layout()) return;
    const Tensor largest = redistribute(statistics.largest, statistics.largest.shape(), maxima, Layout(), mesh_);
    info_nce_rescale(stream_, terms_.log_scale, statistics.from(0), largest.data<float>(), largest.size(1));
    statistics.largest = largest;
    statistics.others =
        redistribute(statistics.others, statistics.others.shape(), on_mesh(sums, mesh_), Layout(), mesh_);
  }

  void run_info_nce() {
    const int64_t num_columns = most_candidates_ * num_ranks();
    Statistics of_rows(device_, num_queries_), of_cols(device_, num_columns);
    for_blocks(false, [&](std::size_t number, const Tensor& candidates) {
      for_tiles(number, candidates, [&](const ContrastiveBlock& tile, int64_t begin) {
        info_nce_statistics(stream_, tile, terms_, of_rows.from(begin),
                            of_cols.from(blocks_[number].begin * num_ranks()));
      });
    });
    combine(of_cols, {Axis::kDp});
    combine(of_rows, {Axis::kCp, Axis::kTp});

    // Each rank counts the loss of its own candidates, and of their queries.
    const Tensor row_softmax = Tensor::empty(device_, DType::kFloat32, Shape{3, num_queries_});
    const Tensor col_softmax = Tensor::empty(device_, DType::kFloat32, Shape{3, num_columns});
    info_nce_softmax(stream_,
                     {.statistics = of_rows.from(0),
                      .n = num_queries_,
                      .present = flags(rows_.present, 0),
                      .softmax = from(row_softmax, 0),
                      .counted_begin = rows_.first,
                      .num_counted = num_candidates_},
                     terms_);
    for (std::size_t number = 0; number < blocks_.size(); ++number) {
      const Block& block = blocks_[number];
      const int64_t column = block.begin * num_ranks();
      info_nce_softmax(stream_,
                       {.statistics = of_cols.from(column),
                        .n = block.length * num_ranks(),
                        .present = candidate_flags(number),
                        .softmax = from(col_softmax, column),
                        .counted_begin = own_column(block),
                        .num_counted = std::clamp<int64_t>(num_candidates_ - block.begin, 0, block.length)},
                       terms_);
    }
    if (!needs_.any()) return;
    differentiate(true, [&](const ContrastiveBlock& tile, int64_t row, int64_t column) {
      info_nce_gradients(stream_, tile, terms_, from(row_softmax, row), from(col_softmax, column));
    });
  }

  Device& device_;
  Stream& stream_;
  Mesh& mesh_;
  ContrastiveConfig::Kind kind_;
  const ContrastiveRows& rows_;
  ContrastiveTerms terms_;
  ContrastiveNeeds needs_;
  ContrastiveBlockSizes sizes_;
  int64_t num_queries_, num_candidates_, width_;
  Layout over_dp_;
  int64_t most_candidates_ = 0;  // of this share on a rank of `dp`
  bool is_ragged_ = false;       // some ranks have fewer
  Tensor candidates_;            // padded to the most
  std::vector<Block> blocks_;
  std::vector<Tensor> present_;  // uint8, by block
  Tensor at_hand_;               // the candidates of the next block
  ContrastiveGradients gradients_;
};

}  // namespace

ContrastiveGradients evaluate_in_blocks(ContrastiveConfig::Kind kind, const ContrastiveRows& rows,
                                        const ContrastiveTerms& terms, const ContrastiveNeeds& needs, Mesh& mesh,
                                        const ContrastiveBlockSizes& sizes) {
  return Evaluation(kind, rows, terms, needs, mesh, sizes).run();
}

}  // namespace triptych::objectives
