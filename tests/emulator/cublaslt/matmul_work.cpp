#include "emulator/cublaslt/matmul_work.h"

#include <cmath>
#include <cstring>

#include "emulator/cublaslt/element_types.h"
#include "emulator/cublaslt/gemm.h"
#include "emulator/runtime/host_memory.h"

namespace triptych::emulator {
namespace {

// cuBLASLt's GELU is the tanh form: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
constexpr float kSqrt2OverPi = 0.7978845608028654f, kCubic = 0.044715f;

float gelu(float x) {
  return 0.5f * x * (1.0f + std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x)));
}

float gelu_derivative(float x) {
  const float t = std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * kSqrt2OverPi * (1.0f + 3.0f * kCubic * x * x);
}

std::vector<float> transposed(std::span<const float> values, std::size_t rows, std::size_t columns) {
  std::vector<float> result(values.size());
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) result[j * rows + i] = values[i * columns + j];
  return result;
}

/// A matrix in memory: columns, or rows in row order, that begin `ld` elements apart.
struct Lines {
  std::size_t count, length;
};
Lines lines_of(const Layout& layout) {
  return layout.order == CUBLASLT_ORDER_COL ? Lines{layout.cols, layout.rows} : Lines{layout.rows, layout.cols};
}

}  // namespace

MatmulWork::MatmulWork(const Problem& problem, const MatmulAddresses& addresses, float alpha, float beta,
                       DeviceMemory& memory)
    : problem_(problem), addresses_(addresses), alpha_(alpha), beta_(beta), memory_(memory) {
  name_ = "cublasLtMatmul " + std::to_string(problem.m) + " x " + std::to_string(problem.n) + " x " +
          std::to_string(problem.k) + " of " + element_name(problem.type_a()) + " to " + element_name(problem.type_c());
  if (problem.num_batches() > 1) name_ += " (batch of " + std::to_string(problem.num_batches()) + ")";
}

bool MatmulWork::advance() {
  accesses_.clear();
  if (addresses_.alpha != 0) alpha_ = read_vector(CUDA_R_32F, addresses_.alpha, 1)[0];
  if (addresses_.beta != 0) beta_ = read_vector(CUDA_R_32F, addresses_.beta, 1)[0];
  if (addresses_.workspace_bytes > 0) {
    std::byte* const workspace = memory_.write(addresses_.workspace, addresses_.workspace_bytes, name_.c_str());
    fill_with_poison(workspace, addresses_.workspace_bytes);
    accesses_.push_back({addresses_.workspace, addresses_.workspace + addresses_.workspace_bytes, true});
  }
  for (std::size_t batch = 0; batch < static_cast<std::size_t>(problem_.num_batches()); ++batch) multiply_one(batch);
  return true;
}

std::vector<float> MatmulWork::read_vector(cudaDataType type, uint64_t address, std::size_t count) {
  const std::size_t bytes = count * element_bytes(type);
  std::vector<float> result(count);
  to_float(type, memory_.read(address, bytes, name_.c_str()), result);
  accesses_.push_back({address, address + bytes, false});
  return result;
}

void MatmulWork::write_vector(cudaDataType type, uint64_t address, std::span<const float> values) {
  const std::size_t bytes = values.size() * element_bytes(type);
  from_float(type, values, memory_.write(address, bytes, name_.c_str()));
  accesses_.push_back({address, address + bytes, true});
}

std::vector<float> MatmulWork::read_columns(const Layout& layout, uint64_t address, bool of_transpose) {
  const auto type = static_cast<cudaDataType>(layout.type);
  const Lines lines = lines_of(layout);
  const std::size_t pitch = static_cast<std::size_t>(layout.ld) * element_bytes(type);
  std::vector<float> values(lines.count * lines.length);
  if (static_cast<std::size_t>(layout.ld) == lines.length) {
    values = read_vector(type, address, values.size());
  } else {
    for (std::size_t i = 0; i < lines.count; ++i) {
      const std::vector<float> line = read_vector(type, address + i * pitch, lines.length);
      std::copy(line.begin(), line.end(), values.begin() + static_cast<std::ptrdiff_t>(i * lines.length));
    }
  }
  const bool lines_are_columns = (layout.order == CUBLASLT_ORDER_COL) != of_transpose;
  return lines_are_columns ? values : transposed(values, lines.count, lines.length);
}

uint64_t MatmulWork::address_of(uint64_t base, const Layout& layout, std::size_t batch) const {
  return base +
         batch * static_cast<std::size_t>(layout.batch_stride) * element_bytes(static_cast<cudaDataType>(layout.type));
}

void MatmulWork::multiply_one(std::size_t batch) {
  const Problem& is = problem_;
  std::vector<float> a_KM =
      read_columns(is.a, address_of(addresses_.a, is.a, batch), is.matmul.transpose_a != CUBLAS_OP_N);
  std::vector<float> b_NK =
      read_columns(is.b, address_of(addresses_.b, is.b, batch), is.matmul.transpose_b != CUBLAS_OP_N);
  sum_operands(batch, a_KM, b_NK);
  if (is.is_tf32()) {
    round_to_tf32(a_KM);
    round_to_tf32(b_NK);
  }
  std::vector<float> values_NM(is.m * is.n);
  multiply(is.m, is.n, is.k, a_KM, b_NK, values_NM);
  for (float& value : values_NM) value *= alpha_;
  if (beta_ != 0.0f) {  // with 0, C is not read at all, whatever it holds
    const std::vector<float> c_NM = read_columns(is.c, address_of(addresses_.c, is.c, batch), false);
    for (std::size_t i = 0; i < values_NM.size(); ++i) values_NM[i] += beta_ * c_NM[i];
  }
  apply_epilogue(batch, values_NM);

  const bool by_columns = is.d.order == CUBLASLT_ORDER_COL;
  const std::vector<float> d = by_columns ? values_NM : transposed(values_NM, is.n, is.m);
  const Lines lines = lines_of(is.d);
  const std::size_t pitch = static_cast<std::size_t>(is.d.ld) * element_bytes(is.type_c());
  const uint64_t address = address_of(addresses_.d, is.d, batch);
  if (static_cast<std::size_t>(is.d.ld) == lines.length) {
    write_vector(is.type_c(), address, d);
    return;
  }
  for (std::size_t i = 0; i < lines.count; ++i)
    write_vector(is.type_c(), address + i * pitch, std::span(d).subspan(i * lines.length, lines.length));
}

void MatmulWork::apply_epilogue(std::size_t batch, std::span<float> values_NM) {
  const Problem& is = problem_;
  const Epilogue& epilogue = is.epilogue;
  const cudaDataType type = is.type_c();
  const std::size_t bytes = element_bytes(type);
  const uint64_t bias = is.matmul.bias + batch * static_cast<std::size_t>(is.matmul.bias_batch_stride) * bytes;
  const uint64_t aux = is.matmul.aux + batch * static_cast<std::size_t>(is.matmul.aux_batch_stride) * bytes;
  const std::size_t aux_pitch = static_cast<std::size_t>(is.matmul.aux_ld) * bytes;
  std::vector<float> bias_M, sums_M(epilogue.sums_columns ? is.m : 0);
  if (epilogue.adds_bias) bias_M = read_vector(type, bias, is.m);
  for (std::size_t j = 0; j < is.n; ++j) {
    const std::span<float> column = values_NM.subspan(j * is.m, is.m);
    if (epilogue.adds_bias)
      for (std::size_t i = 0; i < is.m; ++i) column[i] += bias_M[i];
    if (epilogue.writes_aux) write_vector(type, aux + j * aux_pitch, column);
    if (epilogue.relu)
      for (float& value : column) value = value > 0.0f || std::isnan(value) ? value : 0.0f;
    if (epilogue.gelu)
      for (float& value : column) value = gelu(value);
    if (epilogue.gelu_gradient) {
      const std::vector<float> inputs = read_vector(type, aux + j * aux_pitch, is.m);
      for (std::size_t i = 0; i < is.m; ++i) column[i] *= gelu_derivative(inputs[i]);
    }
    if (epilogue.sums_columns)
      for (std::size_t i = 0; i < is.m; ++i) sums_M[i] += column[i];
  }
  if (epilogue.sums_columns) write_vector(type, bias, sums_M);
}

void MatmulWork::sum_operands(std::size_t batch, std::span<const float> a_KM, std::span<const float> b_NK) {
  const Problem& is = problem_;
  if (!is.epilogue.sums_a && !is.epilogue.sums_b) return;
  std::vector<float> sums(is.epilogue.sums_a ? is.m : is.n);
  for (std::size_t l = 0; l < is.k; ++l)
    for (std::size_t i = 0; i < sums.size(); ++i)
      sums[i] += is.epilogue.sums_a ? a_KM[l * is.m + i] : b_NK[i * is.k + l];
  const cudaDataType type = is.type_c();
  write_vector(
      type, is.matmul.bias + batch * static_cast<std::size_t>(is.matmul.bias_batch_stride) * element_bytes(type), sums);
}

MatmulWork::Bytes MatmulWork::num_bytes() const {
  const Problem& is = problem_;
  const uint64_t in = element_bytes(is.type_a()), out = element_bytes(is.type_c());
  const auto batches = static_cast<uint64_t>(is.num_batches());
  const auto distinct = [&](const Layout& layout) { return layout.batch_stride == 0 ? 1 : batches; };
  Bytes bytes;
  bytes.read = (is.m * is.k * distinct(is.a) + is.k * is.n * distinct(is.b)) * in;
  bytes.written = is.m * is.n * out * batches;
  if (addresses_.beta != 0 || beta_ != 0.0f) bytes.read += is.m * is.n * out * distinct(is.c);
  if (is.epilogue.gelu_gradient) bytes.read += is.m * is.n * out * batches;
  if (is.epilogue.writes_aux) bytes.written += is.m * is.n * out * batches;
  if (is.epilogue.adds_bias) bytes.read += is.m * out;
  if (is.epilogue.sums_columns || is.epilogue.sums_a) bytes.written += is.m * out * batches;
  if (is.epilogue.sums_b) bytes.written += is.n * out * batches;
  return bytes;
}

}  // namespace triptych::emulator
