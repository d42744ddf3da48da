#pragma once

#include <atomic>
#include <cstdint>

namespace triptych::test {

/// What all ranks of this process have had the kernels multiply so far. The linker puts the counting between the
/// operations and the kernels (tests/CMakeLists.txt, --wrap), so nothing in the program knows of it.
struct ProductCount {
  std::atomic<int64_t> flops{0};                ///< of matrix products, 2 m n k each
  std::atomic<int64_t> attention_backwards{0};  ///< calls
};
ProductCount& product_count();

}  // namespace triptych::test
