#include "nn/norm.h"

#include "autograd/kept.h"

namespace triptych::nn {
namespace {

// The norm of x, made again from it where the pass selects that.
Variable selected(const NormParameters& norm, const Variable& x, const Variable& normalized, const Pass& pass) {
  if (!pass.selects()) return normalized;
  Pass inner = pass;
  inner.record = false;
  return made_again(normalized, Kept([norm, x = x.detached(), inner] { return norm.forward(x, inner).tensor(); }));
}

}  // namespace

std::string_view norm_name(NormKind kind) {
  return kind == NormKind::kRms ? "rms" : "layer";
}

NormParameters::NormParameters(ParameterStore& store, const std::string& name, int64_t width, const NormConfig& norm)
    : config(norm),
      weight(&store.create(name + ".weight", Shape{width}, "replicated", {.mean = 1})),
      bias(norm.kind == NormKind::kRms ? nullptr : &store.create(name + ".bias", Shape{width}, "replicated", {})) {}

Variable NormParameters::forward(const Variable& x, const Pass& pass) const {
  const Variable normalized = bias == nullptr ? rms_norm(x, pass.use(*weight), config.epsilon)
                                              : layer_norm(x, pass.use(*weight), pass.use(*bias), config.epsilon);
  return selected(*this, x, normalized, pass);
}

ResidualNorm NormParameters::after(const Variable& x, const Variable& z, const Variable& branch_bias,
                                   const Dropout& dropout, const Pass& pass) const {
  ResidualNorm made = residual_norm(x, z, branch_bias, dropout, pass.use(*weight),
                                    bias == nullptr ? Variable() : pass.use(*bias), pass.mesh, config.epsilon);
  made.normalized = selected(*this, made.sum, made.normalized, pass);
  return made;
}

}  // namespace triptych::nn
