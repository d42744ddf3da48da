#include "device/memory_stats.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace triptych::device {
namespace {

std::string text(std::size_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

}  // namespace

std::string_view memory_part_name(MemoryPart part) {
  switch (part) {
    case MemoryPart::kParameters:
      return "parameters";
    case MemoryPart::kComputeCopies:
      return "compute copies";
    case MemoryPart::kGradients:
      return "gradients";
    case MemoryPart::kOptimizerState:
      return "optimizer state";
    case MemoryPart::kBatches:
      return "batches";
    case MemoryPart::kOther:
      break;
  }
  return "activations and workspace";
}

void MemoryStats::add(MemoryPart part, std::size_t bytes) {
  used_by_part[part] += bytes;
  used_bytes += bytes;
  if (used_bytes > peak_used_bytes) {
    peak_used_bytes = used_bytes;
    peak_by_part = used_by_part;
  }
}

void MemoryStats::remove(MemoryPart part, std::size_t bytes) {
  used_by_part[part] -= bytes;
  used_bytes -= bytes;
}

std::string memory_shortage(std::size_t asked_bytes, MemoryPart part, const MemoryStats& stats) {
  std::string parts;
  for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
    const auto held_by = static_cast<MemoryPart>(i);
    const std::size_t bytes = stats.used_by_part[held_by];
    if (bytes == 0) continue;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", memory_part_name(held_by), text(bytes));
  }
  return fmt::format("{} were asked for ({}), {} are in use{}, {} are held", text(asked_bytes), memory_part_name(part),
                     text(stats.used_bytes), parts.empty() ? "" : fmt::format(" ({})", parts), text(stats.held_bytes));
}

std::string memory_remedy(std::size_t asked_bytes, MemoryPart part, const MemoryStats& stats) {
  MemoryByPart needed = stats.used_by_part;
  needed[part] += asked_bytes;
  const std::size_t batches = needed[MemoryPart::kBatches], other = needed[MemoryPart::kOther];
  const std::size_t model = needed[MemoryPart::kParameters] + needed[MemoryPart::kComputeCopies] +
                            needed[MemoryPart::kGradients] + needed[MemoryPart::kOptimizerState];
  if (model >= std::max(batches, other)) {
    return "Most of it is the model and what trains it: split it further with parallel.tp or parallel.pp, or over "
           "parallel.dp with parallel.zero";
  }
  if (batches >= other) return "Most of it is batches: use a smaller batch or a larger parallel.dp";
  return "Most of it is activations and workspace: use parallel.recompute = \"selective\" or \"full\", more "
         "parallel.microbatches with parallel.schedule = \"1f1b\" (gpipe keeps all of them), more ranks, or a smaller "
         "batch";
}

}  // namespace triptych::device
