#include "nn/norm.h"

namespace triptych::nn {

std::string_view norm_name(NormKind kind) {
  return kind == NormKind::kRms ? "rms" : "layer";
}

NormParameters::NormParameters(ParameterStore& store, const std::string& name, int64_t width, const NormConfig& norm)
    : config(norm),
      weight(&store.create(name + ".weight", Shape{width}, "replicated", {.mean = 1})),
      bias(norm.kind == NormKind::kRms ? nullptr : &store.create(name + ".bias", Shape{width}, "replicated", {})) {}

Variable NormParameters::forward(const Variable& x, const Pass& pass) const {
  if (bias == nullptr) return rms_norm(x, pass.use(*weight), config.epsilon);
  return layer_norm(x, pass.use(*weight), pass.use(*bias), config.epsilon);
}

ResidualNorm NormParameters::after(const Variable& x, const Variable& z, const Variable& branch_bias,
                                   const Dropout& dropout, const Pass& pass) const {
  return residual_norm(x, z, branch_bias, dropout, pass.use(*weight), bias == nullptr ? Variable() : pass.use(*bias),
                       pass.mesh, config.epsilon);
}

}  // namespace triptych::nn
