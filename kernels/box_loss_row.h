#pragma once

#include <algorithm>

#include "base/rooms.h"

namespace triptych::kernels {

/// A row's loss, and its gradient by the box's center x, center y, width and height.
struct BoxLossRow {
  double loss = 0;
  double gradient[4]{};
};

/// What a box and its truth have along one axis: the length that both cover, the length around both, and how these
/// change with the ends of the box.
struct BoxOverlap {
  double shared = 0, around = 0;
  double shared_by_begin = 0, shared_by_end = 0, around_by_begin = 0, around_by_end = 0;
};

constexpr BoxOverlap box_overlap(double begin, double end, double true_begin, double true_end) {
  BoxOverlap of;
  of.around = std::max(end, true_end) - std::min(begin, true_begin);
  of.around_by_begin = begin < true_begin ? -1.0 : 0.0;
  of.around_by_end = end > true_end ? 1.0 : 0.0;
  const double shared = std::min(end, true_end) - std::max(begin, true_begin);
  if (shared <= 0) return of;
  of.shared = shared;
  of.shared_by_begin = begin > true_begin ? -1.0 : 0.0;
  of.shared_by_end = end < true_end ? 1.0 : 0.0;
  return of;
}

/// What `box_loss` makes of a row that has a truth: one rule for both backends (constexpr is compiled for the device as
/// well).
constexpr BoxLossRow box_loss_row(const float* box, const float* truth, double l1, double giou) {
  const double width = box[2], height = box[3];
  const double begin[2] = {box[0] - width / 2, box[1] - height / 2};
  const double true_begin[2] = {truth[0], truth[1]}, true_end[2] = {truth[2], truth[3]};
  const BoxOverlap x = box_overlap(begin[0], begin[0] + width, true_begin[0], true_end[0]);
  const BoxOverlap y = box_overlap(begin[1], begin[1] + height, true_begin[1], true_end[1]);
  const double true_size[2] = {true_end[0] - true_begin[0], true_end[1] - true_begin[1]};
  const double shared = x.shared * y.shared, around = x.around * y.around;
  const double covered = width * height + true_size[0] * true_size[1] - shared;
  const double per_covered = covered > 0 ? 1 / covered : 0, per_around = around > 0 ? 1 / around : 0;

  BoxLossRow row;
  // shared / covered - (around - covered) / around
  row.loss = giou * (1 - (shared * per_covered - (around - covered) * per_around));
  const double by_shared = per_covered + shared * per_covered * per_covered - per_around;
  const double by_area = per_around - shared * per_covered * per_covered;
  const double by_around = -covered * per_around * per_around;
  const BoxOverlap* const along[2] = {&x, &y};
  for (int axis = 0; axis < 2; ++axis) {
    const BoxOverlap &own = *along[axis], &other = *along[1 - axis];
    const double by_begin =
        by_shared * other.shared * own.shared_by_begin + by_around * other.around * own.around_by_begin;
    const double by_end = by_shared * other.shared * own.shared_by_end + by_around * other.around * own.around_by_end;
    row.gradient[axis] = -giou * (by_begin + by_end);
    row.gradient[2 + axis] = -giou * ((by_end - by_begin) / 2 + by_area * (axis == 0 ? height : width));
    const double difference[2] = {box[axis] - (true_begin[axis] + true_end[axis]) / 2, box[2 + axis] - true_size[axis]};
    for (int k = 0; k < 2; ++k) {
      row.loss += l1 * (difference[k] < 0 ? -difference[k] : difference[k]);
      row.gradient[2 * k + axis] += difference[k] > 0 ? l1 : difference[k] < 0 ? -l1 : 0.0;
    }
  }
  return row;
}

}  // namespace triptych::kernels
