#include "ops/ring_attention.h"

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "autograd/record.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "ops/index_rule.h"
#include "ops/repeat_heads.h"

namespace triptych::ops {
namespace {

constexpr Axis kRing = Axis::kCp;
constexpr int kTag = 3;

// Where of a [B, n, parts, H] array number `part` lies, packed.
AttentionStrides strides_of(int64_t tokens, int64_t parts, int64_t width, int64_t head_dim) {
  return {.batch = tokens * parts * width, .token = parts * width, .head = head_dim};
}

void* part_of(const Tensor& tensor, int64_t part) {
  const auto width = static_cast<std::size_t>(tensor.shape().back());
  return static_cast<std::byte*>(tensor.raw()) + static_cast<std::size_t>(part) * width * dtype_bytes(tensor.dtype());
}

// A tensor that goes to another rank, or comes from it.
struct Message {
  Tensor tensor;
  int peer;
};

// Messages under way.
class Exchange {
 public:
  Exchange() = default;
  Exchange(Group& group, std::vector<Message> sent, std::vector<Message> arriving) : sent_(std::move(sent)) {
    for (const auto& [tensor, peer] : sent_) {
      sends_.push_back(group.send(tensor.raw(), tensor.num_elements(), tensor.dtype(), peer, kTag));
    }
    for (auto& [tensor, peer] : arriving) {
      const std::shared_ptr<Pending> pending =
          group.recv(tensor.raw(), tensor.num_elements(), tensor.dtype(), peer, kTag);
      tensor.set_pending([pending] { pending->wait(); });
      arriving_.push_back(tensor);
    }
  }
  // What has come, when all has come and gone.
  std::vector<Tensor> finish() {
    for (const Tensor& tensor : arriving_) tensor.wait();
    for (const std::shared_ptr<Pending>& send : sends_) send->wait();
    return std::move(arriving_);
  }

 private:
  std::vector<Message> sent_;
  std::vector<Tensor> arriving_;
  std::vector<std::shared_ptr<Pending>> sends_;
};

// A causal mask would leave the first ranks little to do. So each rank's tokens are cut into two halves, and of the 2
// cp halves rank r computes the attention of numbers r and 2 cp - 1 - r: with each rank's keys then two pairs of halves
// are to do, whatever the rank.
int computing_rank(int half, int num_ranks) {
  return half < num_ranks ? half : 2 * num_ranks - 1 - half;
}
std::array<int, 2> computed_halves(int rank, int num_ranks) {
  return {rank, 2 * num_ranks - 1 - rank};
}
std::array<int, 2> held_halves(int rank) {
  return {2 * rank, 2 * rank + 1};
}
Range tokens_of_half(int64_t total, int num_ranks, int half) {
  const Range both = shard_range(total, num_ranks, half / 2), mine = shard_range(both.length, 2, half % 2);
  return {both.begin + mine.begin, mine.length};
}

// One attention on the ring: its sizes, and who has which tokens.
class Ring {
 public:
  // times   so many heads of queries share one of keys and values
  Ring(Mesh& mesh, int64_t num_queries, int64_t num_keys, const AttentionShape& shape, const Tensor& lengths,
       int64_t times = 1)
      : group_(&mesh.group(kRing)),
        num_queries_(num_queries),
        num_keys_(num_keys),
        shape_(shape),
        lengths_(lengths),
        times_(times),
        width_(shape.num_heads * shape.head_dim) {}

  // From this rank's rows of a sequence of `total` to the pieces of which it computes the attention, and back.
  std::vector<Tensor> pieces_of(const Tensor& rows, int64_t total) const {
    if (!shape_.causal) return {rows};
    std::vector<Tensor> halves;
    int64_t begin = 0;
    for (const int half : held_halves(group_->rank())) {
      const int64_t length = tokens(total, half).length;
      halves.push_back(rows.slice(1, begin, length).contiguous());
      begin += length;
    }
    return moved(halves, total, true);
  }
  Tensor rows_of(std::vector<Tensor> pieces, int64_t total) const {
    if (!shape_.causal) return pieces[0];
    const std::vector<Tensor> halves = moved(pieces, total, false);
    const int64_t first = halves[0].size(1), second = halves[1].size(1);
    const Tensor rows = Tensor::empty(halves[0].device(), halves[0].dtype(), halves[0].shape().with(1, first + second));
    rows.slice(1, 0, first).copy_from(halves[0]);
    rows.slice(1, first, second).copy_from(halves[1]);
    return rows;
  }

  int64_t num_queries() const { return num_queries_; }
  int64_t num_keys() const { return num_keys_; }

  // What forward leaves for backward, by this rank's pieces of queries.
  struct Attended {
    std::vector<Tensor> o;    // as the queries
    std::vector<Tensor> lse;  // float32 [B, N, n]
  };

  Attended forward(const std::vector<Tensor>& q, const std::vector<Tensor>& own_kv) const {
    const std::vector<Range> queries = ranges(num_queries_, group_->rank());
    Device& device = q[0].device();
    std::vector<Tensor> merged, lse;
    for (const Tensor& piece : q) {
      merged.push_back(Tensor::zeros(device, DType::kFloat32, piece.shape()));
      lse.push_back(Tensor::empty(device, DType::kFloat32, Shape{piece.size(0), shape_.num_heads, piece.size(1)}));
      fill(device.stream(), lse.back().raw(), -std::numeric_limits<float>::infinity(), lse.back().num_elements(),
           DType::kFloat32);
    }
    std::vector<Tensor> kv = own_kv;
    for (int step = 0; step < group_->size(); ++step) {
      const bool is_last = step + 1 == group_->size();
      Exchange next = is_last ? Exchange() : pass_on(kv, keys_after(step + 1), kv[0].dtype());
      const std::vector<Range> keys = ranges(num_keys_, owner(step));
      for (std::size_t j = 0; j < kv.size(); ++j) {
        const Tensor all = for_every_head(kv[j]);
        for (std::size_t i = 0; i < q.size(); ++i) {
          if (!is_visible(queries[i], keys[j])) continue;
          const AttentionShape shape = shape_of(queries[i], keys[j]);
          const Tensor o = Tensor::empty(device, q[i].dtype(), q[i].shape());
          const Tensor of_keys = Tensor::empty(device, DType::kFloat32, lse[i].shape());
          const Tensor both = Tensor::empty(device, DType::kFloat32, lse[i].shape());
          attention_forward(device.stream(), {.shape = shape,
                                              .q = q[i].raw(),
                                              .k = part_of(all, 0),
                                              .v = part_of(all, 1),
                                              .q_strides = query_strides(shape),
                                              .k_strides = key_strides(shape),
                                              .v_strides = key_strides(shape),
                                              .o = o.raw(),
                                              .o_strides = query_strides(shape),
                                              .lse = of_keys.data<float>()});
          attention_merge(device.stream(), {.batch = shape.batch,
                                            .num_heads = shape.num_heads,
                                            .num_queries = shape.num_queries,
                                            .head_dim = shape.head_dim,
                                            .o = o.raw(),
                                            .lse = of_keys.data<float>(),
                                            .dtype = o.dtype(),
                                            .merged = merged[i].data<float>(),
                                            .lse_before = lse[i].data<float>(),
                                            .merged_lse = both.data<float>()});
          lse[i] = both;
        }
      }
      if (!is_last) kv = next.finish();
    }
    for (Tensor& o : merged) o = o.to(q[0].dtype());
    return {std::move(merged), std::move(lse)};
  }

  // Of this rank's queries, keys and values, in their type.
  struct Gradients {
    std::vector<Tensor> q, kv;
  };

  Gradients backward(const std::vector<Tensor>& q, const std::vector<Tensor>& own_kv, const Attended& attended,
                     const std::vector<Tensor>& d_o) const {
    const std::vector<Range> queries = ranges(num_queries_, group_->rank());
    Device& device = q[0].device();
    std::vector<Tensor> dq;
    for (const Tensor& piece : q) dq.push_back(Tensor::zeros(device, DType::kFloat32, piece.shape()));
    std::vector<Tensor> kv = own_kv;
    Exchange next_gradient;
    for (int step = 0; step < group_->size(); ++step) {
      const bool is_last = step + 1 == group_->size();
      Exchange next = is_last ? Exchange() : pass_on(kv, keys_after(step + 1), kv[0].dtype());
      const std::vector<Range> keys = ranges(num_keys_, owner(step));
      std::vector<Tensor> dkv;
      for (std::size_t j = 0; j < kv.size(); ++j) {
        const Tensor all = for_every_head(kv[j]);
        dkv.push_back(Tensor::zeros(device, DType::kFloat32, kv[j].shape()));
        for (std::size_t i = 0; i < q.size(); ++i) {
          if (!is_visible(queries[i], keys[j])) continue;
          const AttentionShape shape = shape_of(queries[i], keys[j]);
          const Tensor dq_here = Tensor::empty(device, q[i].dtype(), q[i].shape());
          const Tensor dkv_here = Tensor::empty(device, all.dtype(), all.shape());
          attention_backward(device.stream(), {.shape = shape,
                                               .q = q[i].raw(),
                                               .k = part_of(all, 0),
                                               .v = part_of(all, 1),
                                               .q_strides = query_strides(shape),
                                               .k_strides = key_strides(shape),
                                               .v_strides = key_strides(shape),
                                               .o = attended.o[i].raw(),
                                               .o_strides = query_strides(shape),
                                               .d_o = d_o[i].raw(),
                                               .d_o_strides = query_strides(shape),
                                               .lse = attended.lse[i].data<float>(),
                                               .dq = dq_here.raw(),
                                               .dk = part_of(dkv_here, 0),
                                               .dv = part_of(dkv_here, 1),
                                               .dq_strides = query_strides(shape),
                                               .dk_strides = key_strides(shape),
                                               .dv_strides = key_strides(shape)});
          add_to(dq[i], dq_here);
          add_to(dkv[j], times_ == 1 ? dkv_here : summed_heads(dkv_here, times_, shape_.head_dim));
        }
      }
      // What the ranks before have found of these keys' gradients; after the last step they are at home.
      if (step > 0) {
        const std::vector<Tensor> before = next_gradient.finish();
        for (std::size_t j = 0; j < dkv.size(); ++j) add_to(dkv[j], before[j]);
      }
      next_gradient = pass_on(dkv, keys_after(step + 1), DType::kFloat32);
      if (!is_last) kv = next.finish();
    }
    std::vector<Tensor> dkv = next_gradient.finish();
    for (Tensor& piece : dq) piece = piece.to(q[0].dtype());
    for (Tensor& piece : dkv) piece = piece.to(own_kv[0].dtype());
    return {std::move(dq), std::move(dkv)};
  }

 private:
  // Whose keys this rank has after `step` messages; after as many as there are ranks its own.
  int owner(int step) const { return (group_->rank() - step + group_->size()) % group_->size(); }
  std::vector<Range> keys_after(int step) const { return ranges(num_keys_, owner(step)); }

  Range tokens(int64_t total, int half) const { return tokens_of_half(total, group_->size(), half); }

  // The tokens of the pieces that a rank computes with.
  std::vector<Range> ranges(int64_t total, int rank) const {
    if (!shape_.causal) return {shard_range(total, group_->size(), rank)};
    const std::array<int, 2> halves = computed_halves(rank, group_->size());
    return {tokens(total, halves[0]), tokens(total, halves[1])};
  }

  // Halves go from the ranks that hold them to those that compute with them, or back. Between two ranks in the order of
  // the halves.
  std::vector<Tensor> moved(const std::vector<Tensor>& pieces, int64_t total, bool is_out) const {
    const int rank = group_->rank(), size = group_->size();
    const std::array<int, 2> held = held_halves(rank), computed = computed_halves(rank, size);
    const std::array<int, 2>&from = is_out ? held : computed, &to = is_out ? computed : held;
    std::vector<Message> sent, arriving;
    std::vector<Tensor> result(2);
    for (std::size_t i = 0; i < 2; ++i) {
      const int peer = is_out ? computing_rank(from[i], size) : from[i] / 2;
      if (peer != rank) {
        sent.push_back({pieces[i], peer});
      } else {
        result[from[i] == to[0] ? 0 : 1] = pieces[i];
      }
    }
    for (std::size_t i = 0; i < 2; ++i) {
      const int peer = is_out ? to[i] / 2 : computing_rank(to[i], size);
      if (peer == rank) continue;
      result[i] =
          Tensor::empty(pieces[0].device(), pieces[0].dtype(), pieces[0].shape().with(1, tokens(total, to[i]).length));
      arriving.push_back({result[i], peer});
    }
    Exchange(*group_, std::move(sent), std::move(arriving)).finish();
    return result;
  }

  bool is_visible(const Range& queries, const Range& keys) const {
    if (queries.length == 0 || keys.length == 0) return false;
    return !shape_.causal || keys.begin <= queries.begin;
  }

  // Of queries and keys that begin at one place the mask is causal; of two pieces, one behind the other, the later sees
  // all of the earlier one.
  AttentionShape shape_of(const Range& queries, const Range& keys) const {
    AttentionShape shape = shape_;
    shape.num_queries = queries.length;
    shape.num_keys = keys.length;
    shape.causal = shape_.causal && queries.begin == keys.begin;
    shape.key_lengths = lengths_.defined() ? lengths_.data<int32_t>() : nullptr;
    shape.first_key = keys.begin;
    return shape;
  }

  AttentionStrides query_strides(const AttentionShape& shape) const {
    return strides_of(shape.num_queries, 1, width_, shape.head_dim);
  }
  AttentionStrides key_strides(const AttentionShape& shape) const {
    return strides_of(shape.num_keys, 2, width_, shape.head_dim);
  }

  Tensor for_every_head(const Tensor& kv) const {
    return times_ == 1 ? kv : repeated_heads(kv, times_, shape_.head_dim);
  }

  Exchange pass_on(const std::vector<Tensor>& kv, const std::vector<Range>& arriving, DType dtype) const {
    const int rank = group_->rank(), size = group_->size();
    std::vector<Message> sent, next;
    for (const Tensor& piece : kv) sent.push_back({piece, (rank + 1) % size});
    for (const Range& range : arriving) {
      next.push_back({Tensor::empty(kv[0].device(), dtype, Shape{shape_.batch, range.length, 2, width_ / times_}),
                      (rank + size - 1) % size});
    }
    return {*group_, std::move(sent), std::move(next)};
  }

  static void add_to(const Tensor& sum, const Tensor& summand) {
    const Tensor wide = summand.to(DType::kFloat32);
    add_into(sum.device().stream(), sum.raw(), wide.raw(), sum.num_elements(), DType::kFloat32);
  }

  Group* group_;
  int64_t num_queries_, num_keys_;
  AttentionShape shape_;  // of all, without the numbers of queries and keys
  Tensor lengths_;
  int64_t times_;
  int64_t width_;  // of all heads of queries
};

// The attention of this rank's rows, and how a gradient of it comes back to these.
struct AttendedRing {
  Tensor o;
  std::function<std::pair<Tensor, Tensor>(const Tensor& d_o)> backward;
};

AttendedRing attend(const Ring& ring, const Tensor& q, const Tensor& kv) {
  const std::vector<Tensor> of_q = ring.pieces_of(q, ring.num_queries()), of_kv = ring.pieces_of(kv, ring.num_keys());
  const Ring::Attended attended = ring.forward(of_q, of_kv);
  return {ring.rows_of(attended.o, ring.num_queries()), [ring, of_q, of_kv, attended](const Tensor& d_o) {
            const Ring::Gradients d =
                ring.backward(of_q, of_kv, attended, ring.pieces_of(d_o.contiguous(), ring.num_queries()));
            return std::pair(ring.rows_of(d.q, ring.num_queries()), ring.rows_of(d.kv, ring.num_keys()));
          }};
}

// That `cp` splits the sequence, and nothing else does.
void check_ring(std::string_view name, const Variable& x) {
  for (const Axis axis : kAxes) {
    if (x.layout()[axis].is_shard(1) == (axis == kRing)) continue;
    throw LayoutError(axis_name(axis), fmt::format("{} needs the sequence on cp alone, found {}. Redistribute it", name,
                                                   x.layout().to_string()));
  }
}

AttentionShape shape_of(const Tensor& q, int64_t global_width, int64_t num_heads, const AttentionMask& mask) {
  const int64_t head_dim = global_width / num_heads, width = q.shape().back();
  TRIPTYCH_CHECK(head_dim * num_heads == global_width && width % head_dim == 0, "{} heads of {} columns, {} here",
                 num_heads, global_width, width);
  return {.batch = q.size(0),
          .num_heads = width / head_dim,
          .head_dim = head_dim,
          .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
          .causal = mask.causal,
          .dtype = q.dtype()};
}

}  // namespace

Variable ring_self_attention(const Variable& qkv, int64_t num_heads, const AttentionMask& mask, Mesh& mesh) {
  check_ring("ring_self_attention", qkv);
  const IndexRule::Applied rule = IndexRule("ring_self_attention", "bsn!h->bsh").apply({&qkv});
  const Shape global = qkv.global_shape(), shape = qkv.tensor().shape();
  TRIPTYCH_CHECK(global[2] == 3, "ring_self_attention needs 3 rows side by side, found {}", global.to_string());
  const Tensor q = qkv.tensor().slice(2, 0, 1).contiguous().view(Shape{shape[0], shape[1], shape[3]});
  const Tensor kv = qkv.tensor().slice(2, 1, 2).contiguous();
  const Ring ring(mesh, global[1], global[1], shape_of(q, global[3], num_heads, mask), mask.lengths);
  AttendedRing made = attend(ring, q, kv);
  return record("ring_self_attention", {qkv}, made.o, rule.global_shape(), rule.layout(),
                [rule, backward = std::move(made.backward), shape](const Gradient& dy, InputGradients& in) {
                  const auto [dq, dkv] = backward(dy.tensor);
                  const Tensor dqkv = Tensor::empty(dq.device(), dq.dtype(), shape);
                  dqkv.slice(2, 0, 1).copy_from(dq.view(shape.with(2, 1)));
                  dqkv.slice(2, 1, 2).copy_from(dkv);
                  in.add(0, dqkv, rule.gradient(0, dy.layout));
                });
}

Variable ring_cross_attention(const Variable& q, const Variable& kv, int64_t num_heads, const AttentionMask& mask,
                              Mesh& mesh) {
  check_ring("ring_cross_attention", q);
  check_ring("ring_cross_attention", kv);
  // What the keys' axis is to the rule they are whole: their pieces all come here.
  const Layout whole = kv.layout().with(kRing, Placement::replicate());
  const Shape &queries = q.global_shape(), &keys = kv.global_shape();
  const Shape all_heads = keys.with(3, queries[2]);
  const std::array operands{IndexRule::Operand{queries, q.layout()}, IndexRule::Operand{all_heads, whole}};
  const IndexRule::Applied rule = IndexRule("ring_cross_attention", "bsh,bt!n!h->bsh").apply(operands);
  TRIPTYCH_CHECK(keys[2] == 2, "ring_cross_attention needs 2 rows side by side, found {}", keys.to_string());
  TRIPTYCH_CHECK(!mask.causal || queries[1] == keys[1], "a causal ring of {} queries and {} keys", queries[1], keys[1]);
  const Tensor q_rows = q.tensor().contiguous(), kv_rows = kv.tensor().contiguous();
  const AttentionShape shape = shape_of(q_rows, queries[2], num_heads, mask);
  TRIPTYCH_CHECK(queries[2] % keys[3] == 0 && kv_rows.size(3) % shape.head_dim == 0,
                 "{} columns of queries, heads of {}, and {} of keys", queries[2], shape.head_dim, keys[3]);
  const Ring ring(mesh, queries[1], keys[1], shape, mask.lengths, queries[2] / keys[3]);
  AttendedRing made = attend(ring, q_rows, kv_rows);
  return record("ring_cross_attention", {q, kv}, made.o, rule.global_shape(), rule.layout(),
                [rule, backward = std::move(made.backward)](const Gradient& dy, InputGradients& in) {
                  const auto [dq, dkv] = backward(dy.tensor);
                  in.add(0, dq, rule.gradient(0, dy.layout));
                  in.add(1, dkv, rule.gradient(1, dy.layout).with(kRing, Placement::shard(1)));
                });
}

std::vector<Link> ring_links(int size) {
  std::set<Link> links;
  const auto add = [&](int from, int to) {
    if (from != to) links.insert({.from = from, .to = to, .tag = kTag});
  };
  for (int rank = 0; rank < size; ++rank) {
    add(rank, (rank + 1) % size);
    for (const int half : held_halves(rank)) {
      add(rank, computing_rank(half, size));
      add(computing_rank(half, size), rank);
    }
  }
  return {links.begin(), links.end()};
}

}  // namespace triptych::ops
