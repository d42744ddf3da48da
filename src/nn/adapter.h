#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/parameter.h"

// Adapters of low rank (Hu et al. 2021, LoRA): beside a matrix that operations multiply by, W [O..., I], stand two
// small ones that are trained in its place, A [rank, I] and B [O..., rank], so that x W^T becomes
// x W^T + (alpha / rank) (x A^T) B^T. A is normal with a variance of 1 / I, as a matrix of its inputs is, and B zero:
// a model begins as it was. Of a packed projection [3, H, H] the three parts share an A, and each has a B.

namespace triptych::nn {

/// Which matrices have adapters, and of which rank.
struct AdapterOptions {
  std::vector<std::string> match;  ///< patterns of parameters' names, as match_pattern takes them
  int64_t rank = 8;
  float alpha = 8;

  float scale() const { return alpha / static_cast<float>(rank); }
};

/// The names of an adapter's A and B beside the matrix of that name: "<matrix>.adapter.a".
std::string adapter_a_name(const std::string& matrix);
std::string adapter_b_name(const std::string& matrix);

/// The matrix whose adapter has an A or B of that name; "": it is none.
std::string matrix_of_adapter(const std::string& name);

/// The first of them that a pattern of matches a matrix's name; null if none does.
const AdapterOptions* adapter_of(const std::vector<AdapterOptions>& adapters, const std::string& matrix);

/// The layouts of A and B beside a matrix of `num_dims` dims. An axis that shards the inputs shards A by them, one that
/// shards outputs shards B by them, and the other of the two is whole there: no product of theirs communicates.
struct AdapterLayouts {
  Layout a, b;
};
AdapterLayouts adapter_layouts(const Layout& matrix, int num_dims);

/// For fingerprints: "" without adapters, else " adapters(*.qkv.weight rank=8 alpha=16)".
std::string adapters_text(const std::vector<AdapterOptions>& adapters);

/// Adds the adapter's term to its matrix, in place: afterwards the matrix alone computes what both did, within
/// rounding. Local on any mesh. In float32.
void merge_adapter(Parameter& matrix);

}  // namespace triptych::nn
