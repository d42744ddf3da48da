#include "emulator/cublaslt/matmul_test_support.h"
#include "emulator/runtime/counters.h"

namespace triptych::emulator {
namespace {

struct Types {
  cudaDataType in, out;
};
constexpr Types kTypes[] = {{CUDA_R_32F, CUDA_R_32F},
                            {CUDA_R_16BF, CUDA_R_16BF},
                            {CUDA_R_16BF, CUDA_R_32F},
                            {CUDA_R_16F, CUDA_R_16F},
                            {CUDA_R_16F, CUDA_R_32F}};
constexpr cublasOperation_t kOperations[] = {CUBLAS_OP_N, CUBLAS_OP_T};
constexpr cublasLtOrder_t kOrders[] = {CUBLASLT_ORDER_COL, CUBLASLT_ORDER_ROW};

class ProductTest : public MatmulTest {
 protected:
  void expect_product(const TestMatmul& is) {
    ASSERT_EQ(is.run(), CUBLAS_STATUS_SUCCESS);
    const TestMatrix& d = is.d;
    const std::vector<float> elements = receive(d.type, d.address, d.elements.size());
    for (std::size_t batch = 0; batch < d.num_batches; ++batch)
      for (std::size_t i = 0; i < d.rows; ++i)
        for (std::size_t j = 0; j < d.cols; ++j) {
          const double expected = product(is, batch, i, j);
          ASSERT_NEAR(elements[d.index(batch, i, j)], expected, tolerance(d.type, expected, depth(is)))
              << "batch " << batch << ", row " << i << ", column " << j;
        }
    for (std::size_t i = 0; i < elements.size(); ++i) {  // nothing is written between the columns
      if (std::isnan(d.elements[i])) {
        ASSERT_TRUE(std::isnan(elements[i])) << "gap at " << i;
      }
    }
  }
};

TEST_F(ProductTest, EveryTransposeOrderAndType) {
  for (const auto& [in, out] : kTypes)
    for (const cublasOperation_t transpose_a : kOperations)
      for (const cublasOperation_t transpose_b : kOperations)
        for (const cublasLtOrder_t order_a : kOrders)
          for (const cublasLtOrder_t order_b : kOrders)
            for (const cublasLtOrder_t order_d : kOrders) {
              constexpr std::size_t m = 7, n = 5, k = 11, gap = 3;
              TestMatmul is;
              is.transpose_a = transpose_a;
              is.transpose_b = transpose_b;
              is.a = transpose_a == CUBLAS_OP_N ? make_matrix(in, m, k, order_a, gap)
                                                : make_matrix(in, k, m, order_a, gap);
              is.b = transpose_b == CUBLAS_OP_N ? make_matrix(in, k, n, order_b, gap)
                                                : make_matrix(in, n, k, order_b, gap);
              is.c = make_matrix(out, m, n, order_d, gap);
              is.d = make_matrix(out, m, n, order_d, gap);
              is.alpha = 0.5f;
              is.beta = -2.0f;
              expect_product(is);
            }
}

TEST_F(ProductTest, OddSizes) {
  constexpr std::size_t kSizes[][3] = {{1, 1, 1}, {64, 4, 16}, {65, 9, 130}, {129, 1, 2}, {1, 67, 3}, {200, 31, 77}};
  for (const auto& [m, n, k] : kSizes) expect_product(make_matmul(CUDA_R_16BF, CUDA_R_32F, m, n, k));
}

TEST_F(ProductTest, Batches) {
  TestMatmul is;
  is.a = make_matrix(CUDA_R_32F, 6, 4, CUBLASLT_ORDER_COL, 1, 3);
  is.b = make_matrix(CUDA_R_32F, 4, 5, CUBLASLT_ORDER_ROW, 2, 3);
  is.c = make_matrix(CUDA_R_32F, 6, 5, CUBLASLT_ORDER_COL, 0, 3);
  is.d = make_matrix(CUDA_R_32F, 6, 5, CUBLASLT_ORDER_COL, 5, 3);
  is.beta = 1.0f;
  expect_product(is);
  is.a.batch_stride = 0;  // one A for all
  expect_product(is);
  is.d.batch_stride = 0;
  violation("bad-argument", [&] { is.run(); });
}

TEST_F(ProductTest, WithBetaZeroCIsNotRead) {
  TestMatmul is = make_matmul(CUDA_R_32F, CUDA_R_32F, 5, 5, 5);
  is.c.address = reinterpret_cast<std::byte*>(device(25));  // never written
  expect_product(is);
}

TEST_F(ProductTest, InPlace) {
  TestMatmul is = make_matmul(CUDA_R_16BF, CUDA_R_32F, 33, 3, 9);
  is.beta = 1.0f;
  is.c.address = is.d.address;
  is.c.elements = is.d.elements;
  expect_product(is);
  is.c.ld = is.d.ld + 1;
  EXPECT_EQ(is.run(), CUBLAS_STATUS_INVALID_VALUE);
}

// 1 + 2^-11 is not a TF32 number, 1 + 2^-10 is: nearest, and halfway goes away from zero.
TEST_F(ProductTest, Tf32RoundsItsInputs) {
  const std::vector<float> exact{1.0f + 0x1p-11f, 1.0f + 0x1p-12f, -1.0f - 0x1p-11f};
  const std::vector<float> rounded{1.0f + 0x1p-10f, 1.0f, -1.0f - 0x1p-10f};
  for (const bool in_a : {true, false}) {
    TestMatmul is = make_matmul(CUDA_R_32F, CUDA_R_32F, in_a ? 3 : 1, in_a ? 1 : 3, 1);
    is.a.elements = in_a ? exact : std::vector<float>{1.0f};
    is.b.elements = in_a ? std::vector<float>{1.0f} : exact;
    send(is.a);
    send(is.b);
    ASSERT_EQ(is.run(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(receive(CUDA_R_32F, is.d.address, 3), exact);
    is.compute_type = CUBLAS_COMPUTE_32F_FAST_TF32;
    ASSERT_EQ(is.run(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(receive(CUDA_R_32F, is.d.address, 3), rounded);
  }
}

TEST_F(ProductTest, ScalesMayLieOnTheDevice) {
  const TestMatmul is = make_matmul(CUDA_R_32F, CUDA_R_32F, 2, 2, 2);
  TestMatmul::Descriptors descriptors;
  is.describe(descriptors);
  is.set(descriptors.matmul, CUBLASLT_MATMUL_DESC_POINTER_MODE, static_cast<int32_t>(CUBLASLT_POINTER_MODE_DEVICE));
  float *const alpha = device(1), *const beta = upload(std::vector<float>{0.0f});
  cudaStream_t stream = make_stream();
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<float> two{2.0f};
  ASSERT_EQ(cudaMemcpyAsync(alpha, two.data(), 4, cudaMemcpyHostToDevice, stream),
            cudaSuccess);  // read in stream order
  ASSERT_EQ(cublasLtMatmul(descriptors.handle, descriptors.matmul, alpha, is.a.address, descriptors.a, is.b.address,
                           descriptors.b, beta, is.c.address, descriptors.c, is.d.address, descriptors.d, nullptr,
                           nullptr, 0, stream),
            CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_NEAR(receive(CUDA_R_32F, is.d.address, 1)[0], 2.0 * product(is, 0, 0, 0), 1e-6);
}

TEST_F(ProductTest, ReadsAreChecked) {
  TestMatmul is = make_matmul(CUDA_R_32F, CUDA_R_32F, 4, 4, 4);
  is.a.ld = 5;  // one column's end lies behind the allocation
  violation("out-of-bounds", [&] { is.run(), cudaDeviceSynchronize(); });
  is = make_matmul(CUDA_R_32F, CUDA_R_32F, 4, 4, 4);
  is.b.address = reinterpret_cast<std::byte*>(device(16));
  violation("uninitialised-read", [&] { is.run(), cudaDeviceSynchronize(); });
  is = make_matmul(CUDA_R_32F, CUDA_R_32F, 4, 4, 4);
  ASSERT_EQ(cudaFree(is.d.address), cudaSuccess);
  violation("use-after-free", [&] { is.run(), cudaDeviceSynchronize(); });
  is = make_matmul(CUDA_R_32F, CUDA_R_32F, 4, 4, 4);
  is.d.address = is.a.address;
  violation("bad-argument", [&] { is.run(); });
}

TEST_F(ProductTest, TheWorkspaceIsWrittenAndBelongsToOneStreamAtATime) {
  const TestMatmul other = make_matmul(CUDA_R_32F, CUDA_R_32F, 4, 4, 4);
  TestMatmul is = make_matmul(CUDA_R_32F, CUDA_R_32F, 4, 4, 4);
  is.workspace_bytes = 4096;
  is.workspace = upload(std::vector<float>(1024, 1.0f));
  ASSERT_EQ(is.run(), CUBLAS_STATUS_SUCCESS);
  EXPECT_TRUE(std::isnan(download(static_cast<float*>(is.workspace), 1024)[1023]));
  TestMatmul beside = other;
  beside.workspace = is.workspace;
  beside.workspace_bytes = is.workspace_bytes;
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  ASSERT_EQ(is.run(make_stream()), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(beside.run(make_stream()), CUBLAS_STATUS_SUCCESS);
  violation("stream-race", [] { cudaDeviceSynchronize(); });
}

TEST_F(ProductTest, TheWorkspaceHasWhatTheCallPromises) {
  TestMatmul is = make_matmul(CUDA_R_32F, CUDA_R_32F, 4, 4, 4);
  is.workspace = upload(std::vector<float>(1 << 16, 1.0f));
  is.workspace_bytes = 4 << 16;
  ASSERT_EQ(is.run(), CUBLAS_STATUS_SUCCESS);
  is.workspace_bytes += 16;
  violation("out-of-bounds", [&] { is.run(); });
}

TEST_F(ProductTest, IsCounted) {
  const TestMatmul is = make_matmul(CUDA_R_16BF, CUDA_R_32F, 3, 5, 7);
  reset_counters();
  ASSERT_EQ(is.run(), CUBLAS_STATUS_SUCCESS);
  const Counts::Matmul counts = counters().matmuls;
  EXPECT_EQ(counts.calls, 1u);
  EXPECT_EQ(counts.flops, 2u * 3 * 5 * 7);
  EXPECT_EQ(counts.bytes_read, 2u * (3 * 7 + 7 * 5));
  EXPECT_EQ(counts.bytes_written, 4u * 3 * 5);
}

}  // namespace
}  // namespace triptych::emulator
