#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <cublasLt.h>

#include "emulator/cublaslt/element_types.h"
#include "emulator/runtime/emulator_test.h"

namespace triptych::emulator {

/// A matrix of the tests: its values in double, as the type holds them, and the same in device memory.
struct TestMatrix {
  cudaDataType type = CUDA_R_32F;
  cublasLtOrder_t order = CUBLASLT_ORDER_COL;
  std::size_t rows = 0, cols = 0, ld = 0, num_batches = 1, batch_stride = 0;
  std::vector<float> elements;  // as in memory, gaps included
  std::byte* address = nullptr;

  std::size_t index(std::size_t batch, std::size_t row, std::size_t col) const {
    return batch * batch_stride + (order == CUBLASLT_ORDER_COL ? col * ld + row : row * ld + col);
  }
  double at(std::size_t batch, std::size_t row, std::size_t col) const { return elements[index(batch, row, col)]; }
};

/// A cublasLtMatmul of the tests, with everything that it needs; any part may be changed before `run`.
struct TestMatmul {
  TestMatrix a, b, c, d;
  cublasComputeType_t compute_type = CUBLAS_COMPUTE_32F;
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  float alpha = 1.0f, beta = 0.0f;
  std::byte *bias = nullptr, *aux = nullptr;
  int64_t bias_batch_stride = 0, aux_ld = 0, aux_batch_stride = 0;
  int32_t bias_type = -1;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  bool uses_heuristic = true;
  uint32_t alignment_bytes = 2;

  struct Descriptors {
    cublasLtHandle_t handle = nullptr;
    cublasLtMatmulDesc_t matmul = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr, d = nullptr;
    cublasLtMatmulPreference_t preference = nullptr;
    ~Descriptors() {
      for (const cublasLtMatrixLayout_t layout : {a, b, c, d}) cublasLtMatrixLayoutDestroy(layout);
      cublasLtMatmulPreferenceDestroy(preference);
      cublasLtMatmulDescDestroy(matmul);
      cublasLtDestroy(handle);
    }
  };

  template <typename T>
  void set(cublasLtMatmulDesc_t matmul, cublasLtMatmulDescAttributes_t attribute, T value) const {
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(matmul, attribute, &value, sizeof value), CUBLAS_STATUS_SUCCESS);
  }

  static cublasLtMatrixLayout_t describe(const TestMatrix& is) {
    cublasLtMatrixLayout_t layout = nullptr;
    EXPECT_EQ(cublasLtMatrixLayoutCreate(&layout, is.type, is.rows, is.cols, static_cast<int64_t>(is.ld)),
              CUBLAS_STATUS_SUCCESS);
    const auto set = [&](cublasLtMatrixLayoutAttribute_t attribute, auto value) {
      EXPECT_EQ(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof value), CUBLAS_STATUS_SUCCESS);
    };
    set(CUBLASLT_MATRIX_LAYOUT_ORDER, static_cast<int32_t>(is.order));
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(is.num_batches));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, static_cast<int64_t>(is.batch_stride));
    return layout;
  }

  void describe(Descriptors& is) const {
    ASSERT_EQ(cublasLtCreate(&is.handle), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatmulDescCreate(&is.matmul, compute_type, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
    is.a = describe(a);
    is.b = describe(b);
    is.c = describe(c);
    is.d = describe(d);
    set(is.matmul, CUBLASLT_MATMUL_DESC_TRANSA, static_cast<int32_t>(transpose_a));
    set(is.matmul, CUBLASLT_MATMUL_DESC_TRANSB, static_cast<int32_t>(transpose_b));
    set(is.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<uint32_t>(epilogue));
    set(is.matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    set(is.matmul, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, bias_batch_stride);
    set(is.matmul, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias_type);
    set(is.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
    set(is.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, aux_ld);
    set(is.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, aux_batch_stride);
    ASSERT_EQ(cublasLtMatmulPreferenceCreate(&is.preference), CUBLAS_STATUS_SUCCESS);
    const uint64_t bytes = workspace_bytes;
    ASSERT_EQ(cublasLtMatmulPreferenceSetAttribute(is.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                   sizeof bytes),
              CUBLAS_STATUS_SUCCESS);
    for (int attribute = CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
         attribute <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES; ++attribute)
      ASSERT_EQ(cublasLtMatmulPreferenceSetAttribute(is.preference,
                                                     static_cast<cublasLtMatmulPreferenceAttributes_t>(attribute),
                                                     &alignment_bytes, sizeof alignment_bytes),
                CUBLAS_STATUS_SUCCESS);
  }

  /// Queues it on `stream`; the status of the first call that fails.
  cublasStatus_t run(cudaStream_t stream = nullptr) const {
    Descriptors is;
    describe(is);
    cublasLtMatmulHeuristicResult_t result{};
    int num_results = 0;
    if (uses_heuristic) {
      const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(is.handle, is.matmul, is.a, is.b, is.c, is.d,
                                                                   is.preference, 1, &result, &num_results);
      if (status != CUBLAS_STATUS_SUCCESS) return status;
      EXPECT_EQ(num_results, 1);
    }
    return cublasLtMatmul(is.handle, is.matmul, &alpha, a.address, is.a, b.address, is.b, &beta, c.address, is.c,
                          d.address, is.d, uses_heuristic ? &result.algo : nullptr, workspace, workspace_bytes, stream);
  }
};

class MatmulTest : public EmulatorTest {
 protected:
  /// Random values between -1 and 1 that the type holds exactly; gaps hold NaN.
  TestMatrix make_matrix(cudaDataType type, std::size_t rows, std::size_t cols,
                         cublasLtOrder_t order = CUBLASLT_ORDER_COL, std::size_t gap = 0, std::size_t num_batches = 1) {
    TestMatrix is;
    is.type = type;
    is.order = order;
    is.rows = rows;
    is.cols = cols;
    is.ld = (order == CUBLASLT_ORDER_COL ? rows : cols) + gap;
    is.num_batches = num_batches;
    is.batch_stride = is.ld * (order == CUBLASLT_ORDER_COL ? cols : rows) + gap;
    is.elements.assign(is.batch_stride * num_batches, std::nanf(""));
    std::uniform_real_distribution<float> distribution(-1.0f, 1.0f);
    for (std::size_t batch = 0; batch < num_batches; ++batch)
      for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < cols; ++j) is.elements[is.index(batch, i, j)] = distribution(random_);
    send(is);
    return is;
  }

  /// Rounds the elements to the type and puts them on the device.
  static void send(TestMatrix& is) {
    std::vector<std::byte> bytes(is.elements.size() * element_bytes(is.type));
    from_float(is.type, is.elements, bytes.data());
    to_float(is.type, bytes.data(), is.elements);
    is.address = upload(bytes);
  }

  static std::vector<float> receive(cudaDataType type, const std::byte* address, std::size_t count) {
    const std::vector<std::byte> bytes = download(address, count * element_bytes(type));
    std::vector<float> values(count);
    to_float(type, bytes.data(), values);
    return values;
  }

  TestMatmul make_matmul(cudaDataType in, cudaDataType out, std::size_t m, std::size_t n, std::size_t k) {
    TestMatmul is;
    is.a = make_matrix(in, m, k);
    is.b = make_matrix(in, k, n);
    is.c = make_matrix(out, m, n);
    is.d = make_matrix(out, m, n);
    return is;
  }

  static double op_a(const TestMatmul& is, std::size_t batch, std::size_t i, std::size_t l) {
    return is.transpose_a == CUBLAS_OP_N ? is.a.at(batch, i, l) : is.a.at(batch, l, i);
  }
  static double op_b(const TestMatmul& is, std::size_t batch, std::size_t l, std::size_t j) {
    return is.transpose_b == CUBLAS_OP_N ? is.b.at(batch, l, j) : is.b.at(batch, j, l);
  }
  static std::size_t depth(const TestMatmul& is) { return is.transpose_a == CUBLAS_OP_N ? is.a.cols : is.a.rows; }

  /// alpha * op(A) * op(B) + beta * C of one element.
  static double product(const TestMatmul& is, std::size_t batch, std::size_t i, std::size_t j) {
    double sum = 0.0;
    for (std::size_t l = 0; l < depth(is); ++l) sum += op_a(is, batch, i, l) * op_b(is, batch, l, j);
    return is.alpha * sum + (is.beta == 0.0f ? 0.0 : is.beta * is.c.at(batch, i, j));
  }

  /// Half a unit in the last place of a value near `magnitude`, and what float32 sums of `num_terms` terms below 1
  /// lose.
  static double tolerance(cudaDataType type, double magnitude, std::size_t num_terms) {
    const double epsilon = type == CUDA_R_16BF ? 0x1p-8 : type == CUDA_R_16F ? 0x1p-11 : 0x1p-24;
    return epsilon * std::max(1.0, std::abs(magnitude)) + 0x1p-23 * static_cast<double>(num_terms + 8);
  }

  std::mt19937 random_{42};
};

}  // namespace triptych::emulator
