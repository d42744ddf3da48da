#include "emulator/cublaslt/matmul_test_support.h"

namespace triptych::emulator {
namespace {

constexpr std::size_t kM = 9, kN = 6, kK = 13, kAuxLd = 16;

double gelu(double x) {
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu_derivative(double x) {
  const double h = 1e-5;
  return (gelu(x + h) - gelu(x - h)) / (2.0 * h);
}

struct Case {
  cublasLtEpilogue_t epilogue;
  cudaDataType in, out;
  std::size_t num_batches;
};

class EpilogueTest : public MatmulTest, public ::testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    MatmulTest::SetUp();
    const auto [epilogue, in, out, num_batches] = GetParam();
    is_.epilogue = epilogue;
    is_.transpose_a = CUBLAS_OP_T;
    is_.a = make_matrix(in, kK, kM, CUBLASLT_ORDER_COL, 0, num_batches);
    is_.b = make_matrix(in, kK, kN, CUBLASLT_ORDER_COL, 2, num_batches);
    is_.c = make_matrix(out, kM, kN, CUBLASLT_ORDER_COL, 1, num_batches);
    is_.d = make_matrix(out, kM, kN, CUBLASLT_ORDER_COL, 3, num_batches);
    is_.alpha = 1.5f;
    is_.beta = 0.5f;
    aux_ = make_matrix(out, kAuxLd, kN, CUBLASLT_ORDER_COL, 0, num_batches);
    is_.aux = aux_.address;
    is_.aux_ld = static_cast<int64_t>(aux_.ld);
    is_.aux_batch_stride = static_cast<int64_t>(aux_.batch_stride);
    bias_ = make_matrix(out, std::max(kM, kN), 1, CUBLASLT_ORDER_COL, 0, num_batches);
    is_.bias = bias_.address;
    is_.bias_batch_stride = static_cast<int64_t>(bias_.batch_stride);
  }

  bool has(unsigned bit) const { return (static_cast<unsigned>(is_.epilogue) & bit) != 0; }
  bool adds_bias() const { return has(CUBLASLT_EPILOGUE_BIAS); }
  bool is_gelu_gradient() const { return has(64); }
  bool is_bias_gradient() const { return has(16) || has(CUBLASLT_EPILOGUE_BGRADA) || has(CUBLASLT_EPILOGUE_BGRADB); }

  double before_activation(std::size_t batch, std::size_t i, std::size_t j) const {
    return product(is_, batch, i, j) + (adds_bias() ? bias_.at(batch, i, 0) : 0.0);
  }
  double expected(std::size_t batch, std::size_t i, std::size_t j) const {
    const double value = before_activation(batch, i, j);
    if (is_gelu_gradient()) return value * gelu_derivative(aux_.at(batch, i, j));
    if (has(CUBLASLT_EPILOGUE_GELU)) return gelu(value);
    if (has(CUBLASLT_EPILOGUE_RELU)) return std::max(value, 0.0);
    return value;
  }
  std::vector<double> expected_bias_gradient(std::size_t batch) const {
    std::vector<double> sums(has(CUBLASLT_EPILOGUE_BGRADB) ? kN : kM);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      if (has(CUBLASLT_EPILOGUE_BGRADA))
        for (std::size_t l = 0; l < kK; ++l) sums[i] += op_a(is_, batch, i, l);
      else if (has(CUBLASLT_EPILOGUE_BGRADB))
        for (std::size_t l = 0; l < kK; ++l) sums[i] += op_b(is_, batch, l, i);
      else
        for (std::size_t j = 0; j < kN; ++j) sums[i] += expected(batch, i, j);
    }
    return sums;
  }
  static double near(cudaDataType type, double value) { return tolerance(type, value, kK) + 1e-6; }

  TestMatmul is_;
  TestMatrix aux_, bias_;
};

TEST_P(EpilogueTest, AgreesWithDoubleLoops) {
  ASSERT_EQ(is_.run(), CUBLAS_STATUS_SUCCESS);
  const cudaDataType type = is_.d.type;
  const std::vector<float> d = receive(type, is_.d.address, is_.d.elements.size());
  const std::vector<float> aux = receive(type, aux_.address, aux_.elements.size());
  const std::vector<float> bias = receive(type, bias_.address, bias_.elements.size());
  const bool writes_aux = has(128) && !is_gelu_gradient();
  for (std::size_t batch = 0; batch < is_.d.num_batches; ++batch) {
    for (std::size_t i = 0; i < kM; ++i)
      for (std::size_t j = 0; j < kN; ++j) {
        ASSERT_NEAR(d[is_.d.index(batch, i, j)], expected(batch, i, j), near(type, expected(batch, i, j)));
        const double kept = writes_aux ? before_activation(batch, i, j) : aux_.at(batch, i, j);
        ASSERT_NEAR(aux[aux_.index(batch, i, j)], kept, writes_aux ? near(type, kept) : 0.0);
      }
    for (std::size_t i = kM; i < kAuxLd; ++i)  // what lies between the columns of the auxiliary matrix
      ASSERT_EQ(aux[aux_.index(batch, i, 0)], aux_.elements[aux_.index(batch, i, 0)]);
    if (is_bias_gradient()) {
      const std::vector<double> sums = expected_bias_gradient(batch);
      for (std::size_t i = 0; i < sums.size(); ++i)
        ASSERT_NEAR(bias[bias_.index(batch, i, 0)], sums[i], near(type, sums[i]));
    }
  }
}

TEST_P(EpilogueTest, NeedsColumnOrder) {
  is_.d.order = is_.c.order = CUBLASLT_ORDER_ROW;
  is_.c.ld = is_.d.ld = kM + kN;
  EXPECT_EQ(is_.run(), CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_P(EpilogueTest, NeedsItsPointers) {
  is_.uses_heuristic = false;
  is_.bias = nullptr;
  is_.aux = nullptr;
  const bool needs_none = is_.epilogue == CUBLASLT_EPILOGUE_RELU || is_.epilogue == CUBLASLT_EPILOGUE_GELU;
  EXPECT_EQ(is_.run(), needs_none ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE);
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const cublasLtEpilogue_t epilogue :
       {CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU_BIAS, CUBLASLT_EPILOGUE_GELU,
        CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
        CUBLASLT_EPILOGUE_DGELU, CUBLASLT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_BGRADA, CUBLASLT_EPILOGUE_BGRADB}) {
    cases.push_back({epilogue, CUDA_R_32F, CUDA_R_32F, 1});
    cases.push_back({epilogue, CUDA_R_16BF, CUDA_R_16BF, 2});
    cases.push_back({epilogue, CUDA_R_16F, CUDA_R_16F, 1});
    cases.push_back({epilogue, CUDA_R_16BF, CUDA_R_32F, 3});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, EpilogueTest, ::testing::ValuesIn(all_cases()));

}  // namespace
}  // namespace triptych::emulator
