#pragma once

// Which of Highway's targets the kernels are compiled for: the portable fallback, AVX2 and AVX-512 on x86. What is
// between them is rare, and each target costs compile time. To be included before any of Highway's headers.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
