#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/packed_array.h"
#include "data/shard_format.h"

namespace triptych::data {

// The rules of docs/shard-format.md for roles and boxes, which writers, readers of shards and readers of indexes share.
// Each function says what is wrong in a clause that follows a sample's name, "box 2 ...", and nothing if all is well.

/// Of the roles of a sample's texts, in order.
std::string fault_of_roles(std::span<const TextRole> roles);

/// Of a sample's boxes.
///   width, height   of its image as it is seen; 0 if it has none
///   roles           of its texts; empty if all are captions
std::string fault_of_boxes(const PackedArray<BoxRecord>& boxes, uint32_t width, uint32_t height,
                           std::span<const TextRole> roles);

}  // namespace triptych::data
