#include <functional>

#include "emulator/cublaslt/matmul_test_support.h"

namespace triptych::emulator {
namespace {

class SupportTest : public MatmulTest {
 protected:
  cublasStatus_t status(const std::function<void(TestMatmul&)>& change) {
    TestMatmul is = make_matmul(CUDA_R_16BF, CUDA_R_16BF, 8, 8, 8);
    change(is);
    return is.run();
  }
};

TEST_F(SupportTest, TypesThatNobodyDocumentsAreNotSupported) {
  const auto with_types = [&](cudaDataType a, cudaDataType b, cudaDataType c, cudaDataType d,
                              cublasComputeType_t compute = CUBLAS_COMPUTE_32F) {
    return status([&](TestMatmul& is) {
      is.a.type = a;
      is.b.type = b;
      is.c.type = c;
      is.d.type = d;
      is.compute_type = compute;
    });
  };
  EXPECT_EQ(with_types(CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F, CUDA_R_32F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(with_types(CUDA_R_16BF, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(with_types(CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16F, CUDA_R_16F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(with_types(CUDA_R_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(with_types(CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, CUDA_R_16BF), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(with_types(CUDA_R_64F, CUDA_R_64F, CUDA_R_64F, CUDA_R_64F), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(with_types(CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F_FAST_TF32),
            CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_F(SupportTest, WhatIsDocumentedButNotEmulatedIsSaid) {
  violation("unsupported", [&] { status([](TestMatmul& is) { is.compute_type = CUBLAS_COMPUTE_16F; }); });
}

TEST_F(SupportTest, ShapesMustAgree) {
  EXPECT_EQ(status([](TestMatmul& is) { is.a.cols = 7; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.b.cols = 7; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.c.rows = 7; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.d.num_batches = 2; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.a.ld = 7; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.a.rows = is.c.rows = is.d.rows = 0; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.a.order = CUBLASLT_ORDER_COL32; }), CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_F(SupportTest, AddressesMustBeThereAndAligned) {
  EXPECT_EQ(status([](TestMatmul& is) { is.a.address = nullptr; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.b.address += 1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(status([](TestMatmul& is) { is.alignment_bytes = 16; }), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(status([](TestMatmul& is) {
              is.alignment_bytes = 16;  // promised to the heuristic, and not kept
              is.a.address += 2;
            }),
            CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(SupportTest, AuxiliaryAndBias) {
  const auto with_gelu = [&](const std::function<void(TestMatmul&)>& change) {
    return status([&](TestMatmul& is) {
      is.epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
      is.aux = make_matrix(CUDA_R_16BF, 16, 9).address;
      is.bias = make_matrix(CUDA_R_16BF, 16, 1).address;
      is.aux_ld = 8;
      change(is);
    });
  };
  EXPECT_EQ(with_gelu([](TestMatmul&) {}), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(with_gelu([](TestMatmul& is) { is.aux_ld = 9; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(with_gelu([](TestMatmul& is) { is.aux_ld = 0; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(with_gelu([](TestMatmul& is) { is.aux += 2; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(with_gelu([](TestMatmul& is) { is.bias += 1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(with_gelu([](TestMatmul& is) { is.bias_type = CUDA_R_16BF; }), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(with_gelu([](TestMatmul& is) { is.bias_type = CUDA_R_32F; }), CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_F(SupportTest, AnAlgorithmServesOnlyTheProblemItWasChosenFor) {
  const TestMatmul is = make_matmul(CUDA_R_32F, CUDA_R_32F, 8, 8, 8);
  TestMatmul::Descriptors chosen, other;
  is.describe(chosen);
  is.describe(other);
  cublasLtMatmulHeuristicResult_t result{};
  int num_results = 0;
  ASSERT_EQ(cublasLtMatmulAlgoGetHeuristic(chosen.handle, chosen.matmul, chosen.a, chosen.b, chosen.c, chosen.d,
                                           chosen.preference, 1, &result, &num_results),
            CUBLAS_STATUS_SUCCESS);
  const auto run = [&](const TestMatmul::Descriptors& with) {
    return cublasLtMatmul(with.handle, with.matmul, &is.alpha, is.a.address, with.a, is.b.address, with.b, &is.beta,
                          is.c.address, with.c, is.d.address, with.d, &result.algo, nullptr, 0, nullptr);
  };
  EXPECT_EQ(run(chosen), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(run(other), CUBLAS_STATUS_SUCCESS);
  is.set(other.matmul, CUBLASLT_MATMUL_DESC_TRANSA, static_cast<int32_t>(CUBLAS_OP_T));
  EXPECT_EQ(run(other), CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(SupportTest, AttributesKeepTheirSizesAndValues) {
  TestMatmul::Descriptors is;
  make_matmul(CUDA_R_32F, CUDA_R_32F, 8, 8, 8).describe(is);
  const int64_t wrong_size = CUBLAS_OP_T;
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(is.matmul, CUBLASLT_MATMUL_DESC_TRANSA, &wrong_size, sizeof wrong_size),
            CUBLAS_STATUS_INVALID_VALUE);
  uint64_t rows = 0;
  std::size_t written = 0;
  EXPECT_EQ(cublasLtMatrixLayoutGetAttribute(is.a, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, sizeof rows, &written),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(rows, 8u);
  EXPECT_EQ(written, sizeof rows);
  EXPECT_EQ(cublasLtMatmulDescDestroy(reinterpret_cast<cublasLtMatmulDesc_t>(is.preference)),
            CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(SupportTest, WithoutADeviceThereIsNoHandle) {
  start([](Options& options) { options.num_devices = 0; });
  cublasLtHandle_t handle = nullptr;
  EXPECT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_NOT_INITIALIZED);
  EXPECT_STREQ(cublasLtGetStatusName(CUBLAS_STATUS_NOT_SUPPORTED), "CUBLAS_STATUS_NOT_SUPPORTED");
  EXPECT_EQ(cublasLtGetVersion(), static_cast<std::size_t>(CUBLAS_VERSION));
}

}  // namespace
}  // namespace triptych::emulator
