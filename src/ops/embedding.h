#pragma once

#include "autograd/variable.h"
#include "parallel/mesh.h"

namespace triptych::ops {

/// Rows of a table.
///
///   ids [B, S]      int32
///   table [V, H]    an axis may shard its rows (the vocabulary on `tp`): then each rank gives zeros for the ids that
///                   others own, and y is Partial there
///   returns         y [B, S, H] of the table's dtype
///
/// Backward: keeps the ids. Local: never communicates.
Variable embedding(const Variable& ids, const Variable& table, const Mesh& mesh);

/// y[b, s] = x[b, s] + positions[s], positions float32 [S, H], laid out as x is: Shard(0) where x is Shard(1).
Variable add_positions(const Variable& x, const Variable& positions);

/// y [B, S + 1, H]: the float32 parameter `token` [H] before every sequence of x [B, S, H].
Variable prepend_token(const Variable& x, const Variable& token);

}  // namespace triptych::ops
