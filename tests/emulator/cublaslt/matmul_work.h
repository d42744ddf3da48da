#pragma once

#include <span>
#include <string>
#include <vector>

#include "emulator/cublaslt/problem.h"
#include "emulator/device_memory.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// Where everything is; addresses on the device.
struct MatmulAddresses {
  uint64_t a = 0, b = 0, c = 0, d = 0;
  uint64_t alpha = 0, beta = 0;  ///< 0: the values in `MatmulWork` count
  uint64_t workspace = 0;
  std::size_t workspace_bytes = 0;
};

/// One cublasLtMatmul: reads the matrices through DeviceMemory's checks, multiplies in float32, applies the epilogue
/// before it rounds, writes poison to the workspace.
class MatmulWork : public Work {
 public:
  MatmulWork(const Problem& problem, const MatmulAddresses& addresses, float alpha, float beta, DeviceMemory& memory);
  std::string name() const override { return name_; }
  bool advance() override;
  bool can_run_again() const override { return true; }
  std::vector<Access> accesses() const override { return accesses_; }

  struct Bytes {
    uint64_t read = 0, written = 0;
  };
  /// Each byte of the operands once.
  Bytes num_bytes() const;

 private:
  std::vector<float> read_vector(cudaDataType type, uint64_t address, std::size_t count);
  void write_vector(cudaDataType type, uint64_t address, std::span<const float> values);
  /// The columns of the matrix, or of its transpose, one after the other.
  std::vector<float> read_columns(const Layout& layout, uint64_t address, bool transposed);
  void multiply_one(std::size_t batch);
  void apply_epilogue(std::size_t batch, std::span<float> values_NM);
  void sum_operands(std::size_t batch, std::span<const float> a_KM, std::span<const float> b_NK);
  uint64_t address_of(uint64_t base, const Layout& layout, std::size_t batch) const;

  const Problem problem_;
  const MatmulAddresses addresses_;
  float alpha_, beta_;
  DeviceMemory& memory_;
  std::string name_;
  std::vector<Access> accesses_;
};

}  // namespace triptych::emulator
