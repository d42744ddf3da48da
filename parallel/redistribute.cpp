#include "parallel/redistribute.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/checked.h"
#include "kernels/elementwise.h"
#include "parallel/group.h"
#include "parallel/half_sums.h"
#include "parallel/redistribute_plan.h"

namespace triptych::parallel {
namespace {

// A tensor seen around one dim: `outer` rows of `size` pieces of `inner_bytes`.
struct Around {
  int64_t outer, size, inner_bytes;
};

Around around(const Shape& shape, int dim, DType dtype) {
  return {shape.product(0, dim), shape[dim],
          shape.product(dim + 1, shape.rank()) * static_cast<int64_t>(dtype_bytes(dtype))};
}

// Between a tensor and a staging buffer [ranks, outer, piece, inner] whose block r holds rank r's range of the dim.
// Ranges may be ragged; blocks are all of the full piece's size, and what lies beyond a range is undefined.
void pack(Stream& stream, const std::byte* whole, std::byte* blocks, const Around& a, int num_ranks) {
  const int64_t piece = ceil_div(a.size, num_ranks);
  const int64_t block_bytes = a.outer * piece * a.inner_bytes;
  for (int r = 0; r < num_ranks; ++r) {
    const Range range = shard_range(a.size, num_ranks, r);
    copy_rows(stream, {.src = whole + range.begin * a.inner_bytes,
                       .dst = blocks + r * block_bytes,
                       .rows = a.outer,
                       .row_bytes = range.length * a.inner_bytes,
                       .src_stride_bytes = a.size * a.inner_bytes,
                       .dst_stride_bytes = piece * a.inner_bytes});
  }
}

void unpack(Stream& stream, const std::byte* blocks, std::byte* whole, const Around& a, int num_ranks) {
  const int64_t piece = ceil_div(a.size, num_ranks);
  const int64_t block_bytes = a.outer * piece * a.inner_bytes;
  for (int r = 0; r < num_ranks; ++r) {
    const Range range = shard_range(a.size, num_ranks, r);
    copy_rows(stream, {.src = blocks + r * block_bytes,
                       .dst = whole + range.begin * a.inner_bytes,
                       .rows = a.outer,
                       .row_bytes = range.length * a.inner_bytes,
                       .src_stride_bytes = piece * a.inner_bytes,
                       .dst_stride_bytes = a.size * a.inner_bytes});
  }
}

std::byte* bytes_of(const Tensor& tensor) {
  return static_cast<std::byte*>(tensor.raw());
}

bool is_half(DType dtype) {
  return dtype == DType::kBFloat16 || dtype == DType::kFloat16;
}

// Sums are taken in float32, and so are maxima, which loses nothing.
DType sum_dtype(DType dtype) {
  return is_half(dtype) ? DType::kFloat32 : dtype;
}

// 16-bit summands travel as they are.
Tensor all_reduce_halves(const Tensor& local, Group& group, DType dtype) {
  const auto sums = std::make_shared<HalfSums>(local, group, dtype);
  sums->cross();
  Tensor result = Tensor::empty(local.device(), dtype, local.shape());
  result.set_pending([sums, to = result.raw(), dtype] { sums->finish(to, dtype); });
  return result;
}

Tensor all_reduce(const Tensor& local, ReduceOp reduce, Group& group, DType dtype) {
  if (is_half(local.dtype()) && reduce == ReduceOp::kSum) return all_reduce_halves(local, group, dtype);
  Tensor sum = local.dtype() == sum_dtype(dtype) ? local.clone() : local.to(sum_dtype(dtype));
  std::shared_ptr<Pending> pending = group.all_reduce(sum.raw(), sum.num_elements(), sum.dtype(), reduce);
  if (sum.dtype() == dtype) {
    sum.set_pending([pending] { pending->wait(); });
    return sum;
  }
  Tensor result = Tensor::empty(local.device(), dtype, local.shape());
  result.set_pending([pending, sum, to = result.raw(), dtype] {
    pending->wait();
    cast(sum.device().stream(), sum.raw(), sum.dtype(), to, dtype, sum.num_elements());
  });
  return result;
}

Tensor all_gather(const Tensor& local, int64_t total, int dim, Group& group) {
  const Shape shape = local.shape().with(dim, total);
  Tensor result = Tensor::empty(local.device(), local.dtype(), shape);
  const Around whole = around(shape, dim, local.dtype());
  const int64_t piece = ceil_div(total, group.size());
  const int64_t inner = shape.product(dim + 1, shape.rank());
  const int64_t count = whole.outer * piece * inner;
  const bool even = piece * group.size() == total;
  if (whole.outer == 1 && even) {  // the pieces lie one after the other
    std::shared_ptr<Pending> pending = group.all_gather(local.raw(), result.raw(), count, local.dtype());
    result.set_pending([pending, local] { pending->wait(); });
    return result;
  }
  Tensor send = local;
  if (local.size(dim) != piece) {
    send = Tensor::empty(local.device(), local.dtype(), local.shape().with(dim, piece));
    const int64_t row_bytes = local.size(dim) * whole.inner_bytes;
    copy_rows(local.device().stream(), {.src = local.raw(),
                                        .dst = send.raw(),
                                        .rows = whole.outer,
                                        .row_bytes = row_bytes,
                                        .src_stride_bytes = row_bytes,
                                        .dst_stride_bytes = piece * whole.inner_bytes});
  }
  const Tensor blocks = Tensor::empty(local.device(), local.dtype(), Shape{group.size(), count});
  std::shared_ptr<Pending> pending = group.all_gather(send.raw(), blocks.raw(), count, local.dtype());
  result.set_pending([pending, send, blocks, whole, to = bytes_of(result), num_ranks = group.size()] {
    pending->wait();
    unpack(blocks.device().stream(), bytes_of(blocks), to, whole, num_ranks);
  });
  return result;
}

Tensor reduce_scatter(const Tensor& local, ReduceOp reduce, int dim, Group& group, DType dtype) {
  const bool travels_as_is = is_half(local.dtype()) && reduce == ReduceOp::kSum;
  const Tensor summand = travels_as_is ? local : local.to(sum_dtype(dtype));
  const Around whole = around(local.shape(), dim, summand.dtype());
  const int64_t piece = ceil_div(whole.size, group.size());
  const int64_t inner = local.shape().product(dim + 1, local.shape().rank());
  const int64_t count = whole.outer * piece * inner;
  Tensor blocks = summand;
  if (whole.outer != 1 || piece * group.size() != whole.size) {
    blocks = Tensor::zeros(local.device(), summand.dtype(), Shape{group.size(), count});
    pack(local.device().stream(), bytes_of(summand), bytes_of(blocks), whole, group.size());
  }
  const Range mine = shard_range(whole.size, group.size(), group.rank());
  if (travels_as_is) {
    const Tensor summands = Tensor::empty(local.device(), local.dtype(), Shape{group.size(), count});
    std::shared_ptr<Pending> pending = group.all_to_all(blocks.raw(), summands.raw(), count, local.dtype());
    Tensor result = Tensor::empty(local.device(), dtype, local.shape().with(dim, mine.length));
    result.set_pending(
        [pending, blocks, summands, dim, mine, to = result.raw(), dtype, full = local.shape().with(dim, piece)] {
          pending->wait();
          if (mine.length == full[dim]) return sum_summands(summands, to, dtype);
          const Tensor sum = Tensor::empty(summands.device(), dtype, full);
          sum_summands(summands, sum.raw(), dtype);
          const Tensor valid = sum.slice(dim, 0, mine.length).contiguous();
          valid.device().copy(to, valid.raw(), valid.num_bytes());
        });
    return result;
  }
  const Tensor sum = Tensor::empty(local.device(), summand.dtype(), local.shape().with(dim, piece));
  std::shared_ptr<Pending> pending = group.reduce_scatter(blocks.raw(), sum.raw(), count, summand.dtype(), reduce);
  Tensor result = Tensor::empty(local.device(), dtype, local.shape().with(dim, mine.length));
  result.set_pending([pending, blocks, sum, dim, mine, to = bytes_of(result), dtype] {
    pending->wait();
    const Tensor valid = sum.slice(dim, 0, mine.length).contiguous();
    if (valid.dtype() == dtype) {
      valid.device().copy(to, valid.raw(), valid.num_bytes());
    } else {
      cast(valid.device().stream(), valid.raw(), valid.dtype(), to, dtype, valid.num_elements());
    }
  });
  return result;
}

Tensor all_to_all(const Tensor& local, int64_t total_from, int dim_from, int dim_to, Group& group) {
  const int n = group.size();
  const int64_t piece_from = ceil_div(total_from, n);
  // Padded to full pieces in the dim that is gathered, so that every pair of ranks exchanges the same count.
  Tensor padded = local;
  if (local.size(dim_from) != piece_from) {
    padded = Tensor::zeros(local.device(), local.dtype(), local.shape().with(dim_from, piece_from));
    padded.slice(dim_from, 0, local.size(dim_from)).copy_from(local);
  }
  const Around split = around(padded.shape(), dim_to, local.dtype());
  const int64_t piece_to = ceil_div(split.size, n);
  const int64_t count = padded.num_elements() / std::max<int64_t>(1, split.size) * piece_to;
  const Tensor blocks = Tensor::zeros(local.device(), local.dtype(), Shape{n, count});
  pack(local.device().stream(), bytes_of(padded), bytes_of(blocks), split, n);
  const Tensor received = Tensor::empty(local.device(), local.dtype(), Shape{n, count});
  std::shared_ptr<Pending> pending = group.all_to_all(blocks.raw(), received.raw(), count, local.dtype());
  const Range mine = shard_range(split.size, n, group.rank());
  const Shape block_shape = padded.shape().with(dim_to, piece_to);
  const Shape gathered = block_shape.with(dim_from, total_from);
  Tensor result = Tensor::empty(local.device(), local.dtype(), gathered.with(dim_to, mine.length));
  const Tensor whole = Tensor::empty(local.device(), local.dtype(), gathered);
  result.set_pending([pending, blocks, received, whole, dim_from, dim_to, mine, n, to = bytes_of(result)] {
    pending->wait();
    unpack(whole.device().stream(), bytes_of(received), bytes_of(whole), around(whole.shape(), dim_from, whole.dtype()),
           n);
    const Tensor valid = whole.slice(dim_to, 0, mine.length).contiguous();
    valid.device().copy(to, valid.raw(), valid.num_bytes());
  });
  return result;
}

// `left` is this rank's shape after the step, `dtype` what the result is rounded to.
Tensor take(const RedistributeStep& step, const Tensor& local, const Shape& left, Group& group, DType dtype) {
  using Kind = RedistributeStep::Kind;
  const int gathered = step.from.dim, split = step.to.dim;
  switch (step.kind) {
    case Kind::kSlice:
      return local.slice(split, shard_range(local.size(split), group.size(), group.rank()).begin, left[split]);
    case Kind::kAllReduce:
      return all_reduce(local.contiguous(), step.from.reduce, group, dtype);
    case Kind::kReduceScatter:
      return reduce_scatter(local.contiguous(), step.from.reduce, split, group, dtype);
    case Kind::kAllGather:
      return all_gather(local.contiguous(), left[gathered], gathered, group);
    case Kind::kAllToAll:
      return all_to_all(local.contiguous(), left[gathered], gathered, split, group);
  }
  return local;
}

}  // namespace

Tensor redistribute(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to, Mesh& mesh) {
  TRIPTYCH_CHECK(local.shape() == local_shape(global_shape, from, mesh), "a piece {} of {} under {}",
                 local.shape().to_string(), global_shape.to_string(), from.to_string());
  const std::vector<RedistributeStep> steps = plan_redistribute(from, to, mesh.shape());
  if (steps.empty()) return local;
  auto reductions_left = std::count_if(steps.begin(), steps.end(), [](const auto& step) { return step.reduces(); });
  Tensor result = local;
  Layout layout = on_mesh(from, mesh);
  for (const RedistributeStep& step : steps) {
    layout = layout.with(step.axis, step.to);
    if (step.reduces()) --reductions_left;
    // 16-bit sums over several axes stay in float32 up to the last.
    const DType dtype = reductions_left == 0 ? local.dtype() : sum_dtype(local.dtype());
    result = take(step, result, local_shape(global_shape, layout, mesh), mesh.group(step.axis), dtype);
  }
  return result.contiguous();
}

}  // namespace triptych::parallel
