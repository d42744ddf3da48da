#pragma once

#include <cmath>
#include <complex>
#include <vector>

#include "module_check.h"
#include "nn/transformer_block.h"

namespace triptych::test {

// A Transformer block in double precision, as the papers of its parts write it.

using Rows = std::vector<double>;

inline constexpr std::size_t kBatch = 2, kSequence = 3, kMemory = 5, kMemoryWidth = 3;
inline const std::vector<int32_t> kLengths{3, 2}, kMemoryLengths{4, 5};

/// The block's parameters are "block.attention.norm.weight" and so on.
class BlockReference {
 public:
  /// Factors of the residual branches of each sample, where stochastic depth drops or scales them.
  using PathFactors = std::function<double(const std::string& branch, std::size_t sample)>;

  BlockReference(const Wholes& values, const TransformerBlockConfig& config, PathFactors factors = {})
      : values_(values),
        config_(config),
        width_(static_cast<std::size_t>(config.width)),
        factors_(std::move(factors)) {}

  Rows run() const {
    Rows x = values_.at("x");
    const auto heads = static_cast<std::size_t>(config_.num_heads);
    const std::size_t kv_heads = config_.kv_heads > 0 ? static_cast<std::size_t>(config_.kv_heads) : heads;
    const std::size_t dim = width_ / heads;
    // Xiong et al. 2020: a norm before each sublayer, or one behind its sum.
    const auto sublayer = [&](const std::string& name, const auto& branch) {
      const std::string norm = "block." + name + ".norm";
      const Rows of = branch(config_.post_norm ? x : normalized(x, norm));
      const double open = config_.initial_gate ? std::tanh(values_.at("block." + name + ".gate")[0]) : 1;
      for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] += open * of[i] * (factors_ ? factors_(name, i / (kSequence * width_)) : 1.0);
      }
      if (config_.post_norm) x = normalized(x, norm);
    };
    const auto attend = [&](const Rows& n) {
      Rows q, k, v;
      if (kv_heads == heads) {
        q = projected(n, width_, "attention.qkv", width_, 0);
        k = projected(n, width_, "attention.qkv", width_, 1);
        v = projected(n, width_, "attention.qkv", width_, 2);
      } else {
        q = projected(n, width_, "attention.q", width_, 0);
        k = projected(n, width_, "attention.kv", kv_heads * dim, 0);
        v = projected(n, width_, "attention.kv", kv_heads * dim, 1);
      }
      const Rows o = attended(turned(q, heads, dim), turned(k, kv_heads, dim), v, kSequence, heads, kv_heads,
                              config_.causal, kLengths);
      return projected(o, width_, "attention.out", width_, 0);
    };
    if (config_.self_attention) sublayer("attention", attend);
    if (config_.memory_width > 0) {
      sublayer("cross_attention", [&](const Rows& n) {
        const Rows &memory = values_.at("memory"), q = projected(n, width_, "cross_attention.q", width_, 0);
        const Rows k = projected(memory, kMemoryWidth, "cross_attention.kv", width_, 0);
        const Rows v = projected(memory, kMemoryWidth, "cross_attention.kv", width_, 1);
        const Rows o = attended(q, k, v, kMemory, heads, heads, false, kMemoryLengths);
        return projected(o, width_, "cross_attention.out", width_, 0);
      });
    }
    sublayer("feed_forward", [&](const Rows& n) {
      const auto inner = static_cast<std::size_t>(config_.feed_forward);
      Rows h = projected(n, width_, "feed_forward.in", inner, 0);
      for (double& a : h) a = activated(a);
      if (config_.activation == Activation::kSwiglu) {
        const Rows factor = projected(n, width_, "feed_forward.in", inner, 1);
        for (std::size_t i = 0; i < h.size(); ++i) h[i] *= factor[i];
      }
      return projected(h, inner, "feed_forward.out", width_, 0);
    });
    return x;
  }

 private:
  Rows normalized(const Rows& x, const std::string& name) const {
    const bool is_rms = config_.norm.kind == NormKind::kRms;
    const Rows& weight = values_.at(name + ".weight");
    const auto width = static_cast<double>(width_), epsilon = static_cast<double>(config_.norm.epsilon);
    Rows y(x.size());
    for (std::size_t r = 0; r < x.size(); r += width_) {
      double mean = 0, variance = 0;
      for (std::size_t c = 0; c < width_; ++c) mean += is_rms ? 0 : x[r + c] / width;
      for (std::size_t c = 0; c < width_; ++c) variance += std::pow(x[r + c] - mean, 2) / width;
      for (std::size_t c = 0; c < width_; ++c) {
        y[r + c] = (x[r + c] - mean) / std::sqrt(variance + epsilon) * weight[c] +
                   (is_rms ? 0 : values_.at(name + ".bias")[c]);
      }
    }
    return y;
  }

  // x W^T + b with the `outputs` rows of number `which` of the weight.
  Rows projected(const Rows& x, std::size_t inputs, const std::string& name, std::size_t outputs,
                 std::size_t which) const {
    const Rows &weight = values_.at("block." + name + ".weight"), &bias = values_.at("block." + name + ".bias");
    Rows y;
    for (std::size_t r = 0; r < x.size() / inputs; ++r) {
      for (std::size_t o = which * outputs; o < (which + 1) * outputs; ++o) {
        double sum = bias[o];
        for (std::size_t i = 0; i < inputs; ++i) sum += x[r * inputs + i] * weight[o * inputs + i];
        y.push_back(sum);
      }
    }
    return y;
  }

  double activated(double x) const {
    switch (config_.activation) {
      case Activation::kGelu:
        return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
      case Activation::kGeluTanh:
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case Activation::kGeluQuick:
        return x / (1 + std::exp(-1.702 * x));
      case Activation::kSwiglu:
        return x / (1 + std::exp(-x));
    }
    return 0;
  }

  // Each pair of a head's elements as a complex number, turned by its position's angle.
  Rows turned(const Rows& x, std::size_t heads, std::size_t dim) const {
    if (config_.rotary.grid.sequence == 0) return x;
    Rows y = x;
    const std::size_t half = dim / 2;
    for (std::size_t row = 0; row < kBatch * kSequence; ++row) {
      for (std::size_t head = 0; head < heads; ++head) {
        const std::size_t at = (row * heads + head) * dim;
        for (std::size_t i = 0; i < half; ++i) {
          const double frequency =
              std::pow(config_.rotary.base, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
          const std::complex<double> z = std::complex<double>(x[at + i], x[at + half + i]) *
                                         std::polar(1.0, static_cast<double>(row % kSequence) * frequency);
          y[at + i] = z.real();
          y[at + half + i] = z.imag();
        }
      }
    }
    return y;
  }

  Rows attended(const Rows& q, const Rows& k, const Rows& v, std::size_t num_keys, std::size_t heads,
                std::size_t kv_heads, bool causal, const std::vector<int32_t>& lengths) const {
    const std::size_t dim = width_ / heads;
    Rows o(q.size(), 0);
    for (std::size_t b = 0; b < kBatch; ++b) {
      for (std::size_t n = 0; n < heads; ++n) {
        const std::size_t kv_head = n / (heads / kv_heads);
        for (std::size_t i = 0; i < kSequence; ++i) {
          const std::size_t at = ((b * kSequence + i) * heads + n) * dim;
          const auto key_at = [&](std::size_t j) { return ((b * num_keys + j) * kv_heads + kv_head) * dim; };
          Rows p;
          double sum = 0;
          for (std::size_t j = 0; j < static_cast<std::size_t>(lengths[b]) && (!causal || j <= i); ++j) {
            double dot = 0;
            for (std::size_t d = 0; d < dim; ++d) dot += q[at + d] * k[key_at(j) + d];
            p.push_back(std::exp(dot / std::sqrt(static_cast<double>(dim))));
            sum += p.back();
          }
          for (std::size_t j = 0; j < p.size(); ++j) {
            for (std::size_t d = 0; d < dim; ++d) o[at + d] += p[j] / sum * v[key_at(j) + d];
          }
        }
      }
    }
    return o;
  }

  const Wholes& values_;
  TransformerBlockConfig config_;
  std::size_t width_;
  PathFactors factors_;
};

/// The block as a module of "x", and of "memory" where it has cross-attention.
inline ModuleSetup block_setup(const TransformerBlockConfig& config) {
  const bool has_memory = config.memory_width > 0;
  ModuleSetup setup;
  setup.batch = kBatch;
  setup.inputs = {{"x", Shape{kBatch, kSequence, config.width}, "stream"}};
  if (has_memory) setup.inputs.push_back({"memory", Shape{kBatch, kMemory, kMemoryWidth}, "stream"});
  setup.make = [config, has_memory](ParameterStore& store) -> Module {
    return [block = TransformerBlock(store, "block", config), has_memory](std::span<const Variable> inputs,
                                                                          const Pass& pass, const Range& rows) {
      const auto of_rows = [&](const std::vector<int32_t>& lengths) {
        return Tensor::from<int32_t>(
            pass.device, Shape{rows.length},
            std::span(lengths).subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.length)));
      };
      return block.forward(inputs[0], has_memory ? inputs[1] : Variable(),
                           {.own = of_rows(kLengths), .memory = has_memory ? of_rows(kMemoryLengths) : Tensor()}, pass);
    };
  };
  return setup;
}

}  // namespace triptych::test
