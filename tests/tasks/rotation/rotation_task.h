#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "data/field_source.h"
#include "data/transforms.h"
#include "tasks/task.h"

namespace triptych::test {

inline constexpr int64_t kNumTurns = 4;

/// By how many quarter turns a row's picture is turned: a function of these alone.
int32_t quarter_turns(uint64_t seed, uint64_t position);

/// Turns a square picture, RGB [size, size, 3], by a quarter, against the clock.
void turn_by_a_quarter(std::span<uint8_t> pixels, int64_t size);

/// "pixels", as pixels_field, then turned; "rotation" int32 []: by how many quarters, -1 without a picture. In training
/// drawn by (seed, position), in evaluation by the position alone.
FieldSource rotation_fields(int64_t image_size, const AugmentOptions& augment);

/// The model learns how far a picture was turned, which needs no labels: Gidaris et al. 2018, Unsupervised
/// representation learning by predicting image rotations. A task that `src` knows nothing of.
std::unique_ptr<Task> read_rotation_task(ConfigReader& reader, const MeshShape& mesh);

/// The standard tasks and "rotation".
TaskTable tasks_with_rotation();

}  // namespace triptych::test
