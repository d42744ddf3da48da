#pragma once

#include "parallel/layout.h"
#include "tensor/tensor.h"

namespace triptych {

/// The one verb that communicates: the same global tensor, laid out otherwise. Axis by axis:
///
///   Partial  -> Replicate   all-reduce          Shard(a) -> Shard(b)   all-to-all
///   Shard    -> Replicate   all-gather          Replicate -> Shard     a slice, nothing is sent
///   Partial  -> Shard       reduce-scatter      Shard/Replicate -> Partial: refused
///
/// A Partial is reduced as it says, by sum or maximum; neither becomes the other.
///
///   local         this rank's piece, of shape local_shape(global_shape, from, mesh)
///   global_shape  of the whole tensor; a sharded dim need not divide by the axis
///   returns       this rank's piece under `to`; shares memory with `local` where nothing changes. It may still be on
///   its
///                 way: its first reader waits. Sums of 16-bit types are taken in float32 and rounded once.
///
/// Collective over each axis whose placement differs: every rank of the axis calls it in the same order.
/// Throws LayoutError for a change that the table does not have.
Tensor redistribute(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to, Mesh& mesh);

}  // namespace triptych
