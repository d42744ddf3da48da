#pragma once

#include <functional>

#include "parallel/layout.h"
#include "tensor/tensor.h"

namespace triptych::parallel {

/// The one verb that communicates: the same global tensor, laid out otherwise, in steps that change one axis each:
///
///   Partial -> Replicate   all-reduce          Shard(a) -> Shard(b)         all-to-all
///   Shard   -> Replicate   all-gather          Replicate -> Shard           a slice, nothing is sent
///   Partial -> Shard       reduce-scatter      Replicate/Shard -> Partial   refused
///
/// A Partial is reduced as it says, by sum or maximum; neither becomes the other. A layout that differs on one axis is
/// one step away. Of several axes, those that split one dim are gathered from the innermost level outwards and split
/// from the outermost inwards, slices come before what they make smaller, and a step goes through Replicate only where
/// the levels leave no other way: parallel/redistribute_plan.h has the rules.
///
///   local         this rank's piece, of shape local_shape(global_shape, from, mesh)
///   global_shape  of the whole tensor; a sharded dim need not divide by the axes
///   returns       this rank's piece under `to`; shares memory with `local` where nothing changes. It may still be on
///                 its way: its first reader waits. Summands of 16-bit types travel as they are; their sum is taken
///                 in float32, in the order of the ranks, and rounded once.
///
/// Collective over each axis of a step: every rank of the axis calls it in the same order.
/// Throws LayoutError for a change that the table does not have and for levels that check_levels refuses.
Tensor redistribute(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to, Mesh& mesh);

/// What is on its way. Holds what it needs, but of where it goes to the address alone.
struct OnItsWay {
  /// Of a sum in two parts: waits for the first and starts the second, which is a collective too. Else undefined. To be
  /// called once before `complete`, at the same place among the operations of all ranks' groups.
  std::function<void()> go_on;
  /// Returns when the result is there; once.
  std::function<void()> complete;
};

/// The same, into memory that is there: `into`, this rank's piece under `to`, contiguous, of local's type, which may be
/// `local`, where the shapes are one.
OnItsWay redistribute_into(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to,
                           Mesh& mesh, const Tensor& into);

}  // namespace triptych::parallel
