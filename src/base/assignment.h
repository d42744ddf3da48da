#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::base {

/// The assignment of rows to columns, one to one, that costs least: the linear sum assignment problem, or Hungarian
/// matching (Kuhn 1955). As many pairs as the shorter side has are made.
///
///   costs      [num_rows, num_columns], row after row
///   returns    for each row its column, or -1 for a row that is left over
///
/// Exact but for the rounding of sums, by shortest augmenting paths with dual variables (Jonker and Volgenant 1987; in
/// the form of Crouse 2016, On implementing 2D rectangular assignment algorithms). Of several assignments that cost the
/// same one is returned that depends on the costs alone, the same on every machine; if all costs are equal, it is row i
/// with column i.
///
/// A pair whose cost is not a number, infinite or more than 1e300 in magnitude is a forbidden one: as few of these are
/// made as can be, and among such assignments the others cost least. So a model that has diverged gets some matching.
///
/// Cost: O(s^2 * l) for sides s <= l; memory O(s * l). Throws InternalError if `costs` is not of that size.
std::vector<int64_t> assign_least_cost(std::span<const double> costs, int64_t num_rows, int64_t num_columns);

}  // namespace triptych::base
