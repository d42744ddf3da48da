#pragma once

#include "autograd/variable.h"

namespace triptych {

/// Rows of a table.
///
///   ids [B, S]      int32, Replicate on `tp`; `ids_layout` says how dp shards them
///   table [V, H]    a parameter, by rows Shard(0) on `tp`, or Replicate
///   returns         y [B, S, H] as `table` is stored; Partial on `tp` if the table is sharded: each rank gives zeros
///                   for the ids that others own
///
/// Backward: keeps the ids. Local: never communicates.
Variable embedding(const Tensor& ids, const Shape& ids_global_shape, const Layout& ids_layout, const Variable& table,
                   const Mesh& mesh);

/// y[b, s] = x[b, s] + positions[s], positions float32 [S, H], a Replicate parameter. If x is Shard(1) on `tp`, each
/// rank adds and differentiates its own positions: the gradient is Partial on `tp`.
Variable add_positions(const Variable& x, const Variable& positions, const Mesh& mesh);

/// y [B, S + 1, H]: the float32 parameter `token` [H] before every sequence of x [B, S, H].
Variable prepend_token(const Variable& x, const Variable& token);

}  // namespace triptych
