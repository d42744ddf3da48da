#pragma once

#include <cstddef>
#include <span>

#include <library_types.h>

namespace triptych::emulator {

/// Whether matrices of this type are computed: float32, bfloat16, float16.
bool is_element_type(cudaDataType type);
std::size_t element_bytes(cudaDataType type);
const char* element_name(cudaDataType type);

void to_float(cudaDataType type, const std::byte* from, std::span<float> to);
/// Rounds to nearest, ties to even.
void from_float(cudaDataType type, std::span<const float> from, std::byte* to);

/// To the 10 mantissa bits of TF32, nearest, ties away from zero, as `cvt.rna.tf32.f32` does.
void round_to_tf32(std::span<float> values);

}  // namespace triptych::emulator
