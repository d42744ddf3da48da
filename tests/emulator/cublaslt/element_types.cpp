#include "emulator/cublaslt/element_types.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace triptych::emulator {

bool is_element_type(cudaDataType type) {
  return type == CUDA_R_32F || type == CUDA_R_16BF || type == CUDA_R_16F;
}

std::size_t element_bytes(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : 2;
}

const char* element_name(cudaDataType type) {
  switch (type) {
    case CUDA_R_32F:
      return "float32";
    case CUDA_R_16BF:
      return "bfloat16";
    case CUDA_R_16F:
      return "float16";
    default:
      return "another type";
  }
}

void to_float(cudaDataType type, const std::byte* from, std::span<float> to) {
  if (type == CUDA_R_32F) {
    std::memcpy(to.data(), from, to.size_bytes());
    return;
  }
  for (std::size_t i = 0; i < to.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + 2 * i, 2);
    to[i] = type == CUDA_R_16BF ? std::bit_cast<float>(uint32_t{bits} << 16) : __half2float(__ushort_as_half(bits));
  }
}

void from_float(cudaDataType type, std::span<const float> from, std::byte* to) {
  if (type == CUDA_R_32F) {
    std::memcpy(to, from.data(), from.size_bytes());
    return;
  }
  for (std::size_t i = 0; i < from.size(); ++i) {
    const uint16_t bits = type == CUDA_R_16BF ? __bfloat16_as_ushort(__float2bfloat16_rn(from[i]))
                                              : __half_as_ushort(__float2half_rn(from[i]));
    std::memcpy(to + 2 * i, &bits, 2);
  }
}

void round_to_tf32(std::span<float> values) {
  for (float& value : values)
    if (std::isfinite(value)) value = std::bit_cast<float>((std::bit_cast<uint32_t>(value) + 0x1000u) & 0xffffe000u);
}

}  // namespace triptych::emulator
