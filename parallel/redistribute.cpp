#include "parallel/redistribute.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
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

OnItsWay completed_by(std::function<void()> complete) {
  return {.go_on = {}, .complete = std::move(complete)};
}

// 16-bit summands travel as they are.
OnItsWay all_reduce_halves(const Tensor& local, Group& group, const Tensor& result) {
  const auto sums = std::make_shared<HalfSums>(local, group, result.dtype());
  return {.go_on = [sums] { sums->cross(); },
          .complete = [sums, to = result.raw(), dtype = result.dtype()] { sums->finish(to, dtype); }};
}

OnItsWay all_reduce(const Tensor& local, ReduceOp reduce, Group& group, const Tensor& result) {
  if (is_half(local.dtype()) && reduce == ReduceOp::kSum) return all_reduce_halves(local, group, result);
  const DType dtype = sum_dtype(result.dtype());
  if (dtype == result.dtype()) {  // takes place in the result
    if (local.dtype() != dtype) {
      cast(local.device().stream(), local.raw(), local.dtype(), result.raw(), dtype, local.num_elements());
    } else if (local.raw() != result.raw()) {
      local.device().copy(result.raw(), local.raw(), local.num_bytes());
    }
    std::shared_ptr<Pending> pending = group.all_reduce(result.raw(), result.num_elements(), dtype, reduce);
    return completed_by([pending] { pending->wait(); });
  }
  const Tensor sum = local.dtype() == dtype ? local.clone() : local.to(dtype);
  std::shared_ptr<Pending> pending = group.all_reduce(sum.raw(), sum.num_elements(), dtype, reduce);
  return completed_by([pending, sum, to = result.raw(), dtype = result.dtype()] {
    pending->wait();
    cast(sum.device().stream(), sum.raw(), sum.dtype(), to, dtype, sum.num_elements());
  });
}

OnItsWay all_gather(const Tensor& local, int dim, Group& group, const Tensor& result) {
  const Shape& shape = result.shape();
  const Around whole = around(shape, dim, local.dtype());
  const int64_t piece = ceil_div(whole.size, group.size());
  const int64_t inner = shape.product(dim + 1, shape.rank());
  const int64_t count = whole.outer * piece * inner;
  const bool even = piece * group.size() == whole.size;
  if (whole.outer == 1 && even) {  // the pieces lie one after the other
    std::shared_ptr<Pending> pending = group.all_gather(local.raw(), result.raw(), count, local.dtype());
    return completed_by([pending, local] { pending->wait(); });
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
  return completed_by([pending, send, blocks, whole, to = bytes_of(result), num_ranks = group.size()] {
    pending->wait();
    unpack(blocks.device().stream(), bytes_of(blocks), to, whole, num_ranks);
  });
}

OnItsWay reduce_scatter(const Tensor& local, ReduceOp reduce, int dim, Group& group, const Tensor& result) {
  const bool travels_as_is = is_half(local.dtype()) && reduce == ReduceOp::kSum;
  const Tensor summand = travels_as_is ? local : local.to(sum_dtype(result.dtype()));
  const Around whole = around(local.shape(), dim, summand.dtype());
  const int64_t piece = ceil_div(whole.size, group.size());
  const int64_t inner = local.shape().product(dim + 1, local.shape().rank());
  const int64_t count = whole.outer * piece * inner;
  const bool even = piece * group.size() == whole.size;
  Tensor blocks = summand;
  if (whole.outer != 1 || !even) {
    blocks = Tensor::zeros(local.device(), summand.dtype(), Shape{group.size(), count});
    pack(local.device().stream(), bytes_of(summand), bytes_of(blocks), whole, group.size());
  }
  const Shape full = local.shape().with(dim, piece);
  const int64_t length = result.size(dim);  // of the piece, what is not padding
  if (travels_as_is) {
    const Tensor summands = Tensor::empty(local.device(), local.dtype(), Shape{group.size(), count});
    std::shared_ptr<Pending> pending = group.all_to_all(blocks.raw(), summands.raw(), count, local.dtype());
    return completed_by([pending, blocks, summands, dim, length, full, to = result.raw(), dtype = result.dtype()] {
      pending->wait();
      if (length == full[dim]) return sum_summands(summands, to, dtype);
      const Tensor sum = Tensor::empty(summands.device(), dtype, full);
      sum_summands(summands, sum.raw(), dtype);
      const Tensor valid = sum.slice(dim, 0, length).contiguous();
      valid.device().copy(to, valid.raw(), valid.num_bytes());
    });
  }
  if (length == piece && summand.dtype() == result.dtype()) {
    std::shared_ptr<Pending> pending = group.reduce_scatter(blocks.raw(), result.raw(), count, summand.dtype(), reduce);
    return completed_by([pending, blocks] { pending->wait(); });
  }
  const Tensor sum = Tensor::empty(local.device(), summand.dtype(), full);
  std::shared_ptr<Pending> pending = group.reduce_scatter(blocks.raw(), sum.raw(), count, summand.dtype(), reduce);
  return completed_by([pending, blocks, sum, dim, length, to = bytes_of(result), dtype = result.dtype()] {
    pending->wait();
    const Tensor valid = sum.slice(dim, 0, length).contiguous();
    if (valid.dtype() == dtype) {
      valid.device().copy(to, valid.raw(), valid.num_bytes());
    } else {
      cast(valid.device().stream(), valid.raw(), valid.dtype(), to, dtype, valid.num_elements());
    }
  });
}

OnItsWay all_to_all(const Tensor& local, int dim_from, int dim_to, Group& group, const Tensor& result) {
  const int n = group.size();
  const int64_t total_from = result.size(dim_from), piece_from = ceil_div(total_from, n);
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
  const Shape block_shape = padded.shape().with(dim_to, piece_to);
  const Tensor whole = Tensor::empty(local.device(), local.dtype(), block_shape.with(dim_from, total_from));
  return completed_by(
      [pending, blocks, received, whole, dim_from, dim_to, n, length = result.size(dim_to), to = bytes_of(result)] {
        pending->wait();
        unpack(whole.device().stream(), bytes_of(received), bytes_of(whole),
               around(whole.shape(), dim_from, whole.dtype()), n);
        const Tensor valid = whole.slice(dim_to, 0, length).contiguous();
        valid.device().copy(to, valid.raw(), valid.num_bytes());
      });
}

// A slice: nothing is sent.
Tensor slice_of(const RedistributeStep& step, const Tensor& local, const Shape& left, Group& group) {
  const int split = step.to.dim;
  return local.slice(split, shard_range(local.size(split), group.size(), group.rank()).begin, left[split]);
}

// The step into `result`, of this rank's shape after it and of the type that it is rounded to. `local` may be the
// result's own memory where they have one shape.
OnItsWay take(const RedistributeStep& step, const Tensor& local, Group& group, const Tensor& result) {
  using Kind = RedistributeStep::Kind;
  switch (step.kind) {
    case Kind::kAllReduce:
      return all_reduce(local.contiguous(), step.from.reduce, group, result);
    case Kind::kReduceScatter:
      return reduce_scatter(local.contiguous(), step.from.reduce, step.to.dim, group, result);
    case Kind::kAllGather:
      return all_gather(local.contiguous(), step.from.dim, group, result);
    case Kind::kAllToAll:
      return all_to_all(local.contiguous(), step.from.dim, step.to.dim, group, result);
    case Kind::kSlice:
      break;
  }
  const Tensor slice = slice_of(step, local, result.shape(), group).contiguous();
  result.device().copy(result.raw(), slice.raw(), slice.num_bytes());
  return completed_by([] {});
}

// All steps from one layout to another; the last one's result into `into`, if that is defined, and is on its way as
// `last` says.
Tensor take_all(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to, Mesh& mesh,
                const Tensor& into, OnItsWay& last) {
  TRIPTYCH_CHECK(local.shape() == local_shape(global_shape, from, mesh), "a piece {} of {} under {}",
                 local.shape().to_string(), global_shape.to_string(), from.to_string());
  const std::vector<RedistributeStep> steps = plan_redistribute(from, to, mesh.shape());
  auto reductions_left = std::count_if(steps.begin(), steps.end(), [](const auto& step) { return step.reduces(); });
  Tensor result = local;
  Layout layout = on_mesh(from, mesh);
  for (const RedistributeStep& step : steps) {
    const bool is_last = into.defined() && &step == &steps.back();
    layout = layout.with(step.axis, step.to);
    Group& group = mesh.group(step.axis);
    const Shape left = local_shape(global_shape, layout, mesh);
    if (step.kind == RedistributeStep::Kind::kSlice && !is_last) {
      result = slice_of(step, result, left, group);
      continue;
    }
    if (step.reduces()) --reductions_left;
    // 16-bit sums over several axes stay in float32 up to the last.
    const DType dtype = reductions_left == 0 ? local.dtype() : sum_dtype(local.dtype());
    Tensor next = is_last ? into : Tensor::empty(local.device(), dtype, left);
    OnItsWay taken = take(step, result, group, next);
    if (is_last) {
      last = std::move(taken);
    } else {
      if (taken.go_on) taken.go_on();
      next.set_pending(std::move(taken.complete));
    }
    result = next;
  }
  return result;
}

}  // namespace

Tensor redistribute(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to, Mesh& mesh) {
  OnItsWay none;
  return take_all(local, global_shape, from, to, mesh, Tensor(), none).contiguous();
}

OnItsWay redistribute_into(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to,
                           Mesh& mesh, const Tensor& into) {
  TRIPTYCH_CHECK(into.shape() == local_shape(global_shape, to, mesh) && into.dtype() == local.dtype(),
                 "a piece {} of {} under {}", into.shape().to_string(), global_shape.to_string(), to.to_string());
  OnItsWay way = completed_by([] {});
  const Tensor result = take_all(local, global_shape, from, to, mesh, into, way);
  if (result.raw() != into.raw()) into.device().copy(into.raw(), result.contiguous().raw(), into.num_bytes());
  return way;
}

}  // namespace triptych::parallel
