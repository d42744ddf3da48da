#include "nn/attention_pool.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "module_check.h"

namespace triptych::test {
namespace {

constexpr int64_t kWidth = 6, kHeads = 2, kInner = 10, kTokens = 5, kBatch = 2;

AttentionPoolHead::Config config_of(bool has_input_norm) {
  return {.width = kWidth,
          .num_heads = kHeads,
          .feed_forward = kInner,
          .activation = Activation::kGeluTanh,
          .input_norm = has_input_norm ? std::optional<NormConfig>({.epsilon = 1e-6f}) : std::nullopt,
          .norm = {.epsilon = 1e-6f}};
}

// The head in double precision, as Zhai et al. 2023 have it in their code and `transformers` in
// SiglipMultiheadAttentionPoolingHead: probe, attention, layernorm, MLP around which the attention's output is added.
class HeadReference {
 public:
  explicit HeadReference(const Wholes& values, bool has_input_norm) : values_(values), has_norm_(has_input_norm) {}

  std::vector<double> run() const {
    std::vector<double> all;
    for (int64_t b = 0; b < kBatch; ++b) {
      std::vector<std::vector<double>> tokens;
      for (int64_t t = 0; t < kTokens; ++t) {
        const auto begin = values_.at("x").begin() + (b * kTokens + t) * kWidth;
        const std::vector<double> token(begin, begin + kWidth);
        tokens.push_back(has_norm_ ? normalized(token, "pool.norm") : token);
      }
      const std::vector<double> pooled = attended(tokens);
      std::vector<double> h = product(normalized(pooled, "pool.feed_forward.norm"), "pool.feed_forward.in", kInner);
      for (double& a : h) a = 0.5 * a * (1 + std::tanh(std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a)));
      const std::vector<double> fed = product(h, "pool.feed_forward.out", kWidth);
      for (std::size_t d = 0; d < pooled.size(); ++d) all.push_back(pooled[d] + fed[d]);
    }
    return all;
  }

 private:
  std::vector<double> normalized(const std::vector<double>& x, const std::string& name) const {
    double mean = 0, variance = 0;
    const auto n = static_cast<double>(x.size());
    for (const double v : x) mean += v / n;
    for (const double v : x) variance += (v - mean) * (v - mean) / n;
    std::vector<double> y;
    for (std::size_t d = 0; d < x.size(); ++d) {
      y.push_back((x[d] - mean) / std::sqrt(variance + static_cast<double>(1e-6f)) * values_.at(name + ".weight")[d] +
                  values_.at(name + ".bias")[d]);
    }
    return y;
  }

  // Rows [first, first + outputs) of the matrix times x, and of the bias.
  std::vector<double> product(const std::vector<double>& x, const std::string& name, std::size_t outputs,
                              std::size_t first = 0) const {
    std::vector<double> y;
    for (std::size_t o = first; o < first + outputs; ++o) {
      y.push_back(values_.at(name + ".bias")[o]);
      for (std::size_t i = 0; i < x.size(); ++i) y.back() += values_.at(name + ".weight")[o * x.size() + i] * x[i];
    }
    return y;
  }

  std::vector<double> attended(const std::vector<std::vector<double>>& tokens) const {
    const std::vector<double> q = product(values_.at("pool.queries"), "pool.q", kWidth);
    std::vector<std::vector<double>> k, v;
    for (const std::vector<double>& token : tokens) {
      k.push_back(product(token, "pool.kv", kWidth));
      v.push_back(product(token, "pool.kv", kWidth, kWidth));
    }
    std::vector<double> o(kWidth, 0);
    const std::size_t dim = kWidth / kHeads;
    for (std::size_t head = 0; head < kHeads; ++head) {
      std::vector<double> p;
      double sum = 0;
      for (const std::vector<double>& key : k) {
        double dot = 0;
        for (std::size_t d = head * dim; d < (head + 1) * dim; ++d) dot += q[d] * key[d];
        p.push_back(std::exp(dot / std::sqrt(static_cast<double>(dim))));
        sum += p.back();
      }
      for (std::size_t t = 0; t < p.size(); ++t) {
        for (std::size_t d = head * dim; d < (head + 1) * dim; ++d) o[d] += p[t] / sum * v[t][d];
      }
    }
    return product(o, "pool.out", kWidth);
  }

  const Wholes& values_;
  bool has_norm_;
};

ModuleSetup head_setup(const AttentionPoolHead::Config& config) {
  ModuleSetup setup;
  setup.batch = kBatch;
  setup.inputs = {{"x", Shape{kBatch, kTokens, kWidth}, "batch"}};
  setup.make = [config](ParameterStore& store) -> Module {
    return [head = AttentionPoolHead(store, "pool", config)](std::span<const Variable> inputs, const Pass& pass,
                                                             const Range&) { return head.forward(inputs[0], pass); };
  };
  return setup;
}

TEST(AttentionPoolHeadTest, EqualsDoubleAndItsCentralDifferencesOnEveryMesh) {
  for (const bool has_norm : {true, false}) {
    SCOPED_TRACE(has_norm ? "behind pre-norm blocks" : "behind post-norm blocks");
    check_module(head_setup(config_of(has_norm)),
                 [&](const Wholes& values) { return HeadReference(values, has_norm).run(); });
  }
}

// sin(step i + phase) of the elements from `first` on.
std::vector<float> wave(int64_t count, double step, double phase, int64_t first = 0) {
  std::vector<float> values;
  for (int64_t i = first; i < first + count; ++i) {
    values.push_back(static_cast<float>(std::sin(step * static_cast<double>(i) + phase)));
  }
  return values;
}

// Against SiglipMultiheadAttentionPoolingHead of transformers 5.24.0 in double: its in_proj_weight and in_proj_bias are
// our queries' rows, then those of keys and values.
TEST(AttentionPoolHeadTest, EqualsSiglipOfTransformers) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
  const AttentionPoolHead head(store, "pool", config_of(false));
  const std::map<std::string, std::vector<float>> values{{"pool.queries", wave(6, 0.7, 0.1)},
                                                         {"pool.q.weight", wave(36, 0.37, 0.2)},
                                                         {"pool.kv.weight", wave(72, 0.37, 0.2, 36)},
                                                         {"pool.q.bias", wave(6, 0.5, 0.3)},
                                                         {"pool.kv.bias", wave(12, 0.5, 0.3, 6)},
                                                         {"pool.out.weight", wave(36, 0.61, 0.4)},
                                                         {"pool.out.bias", wave(6, 0.9, 0.5)},
                                                         {"pool.feed_forward.norm.weight", wave(6, 1.1, 0.6)},
                                                         {"pool.feed_forward.norm.bias", wave(6, 1.3, 0.7)},
                                                         {"pool.feed_forward.in.weight", wave(60, 0.43, 0.8)},
                                                         {"pool.feed_forward.in.bias", wave(10, 0.77, 0.9)},
                                                         {"pool.feed_forward.out.weight", wave(60, 0.53, 1.0)},
                                                         {"pool.feed_forward.out.bias", wave(6, 1.7, 1.1)}};
  for (Parameter* p : store.all()) {
    p->value.copy_from(Tensor::from<float>(rank.device, p->global_shape, values.at(p->name)));
  }
  const Shape shape{kBatch, kTokens, kWidth};
  const Variable x = Variable::constant(Tensor::from<float>(rank.device, shape, wave(shape.num_elements(), 0.29, 1.2)),
                                        shape, Layout());
  const Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan};
  const std::vector<double> expected{3.8179556,  1.33481957, -2.69082547, 0.0285233362, -2.20090468, 1.88196554,
                                     3.22545146, 2.1452726,  -3.57684032, 0.767827944,  -2.5169352,  1.77235652};
  EXPECT_LT(relative_error(head.forward(x, pass).tensor().to_vector<float>(), expected),
            tolerance(DType::kFloat32).summed);
}

// The parts of SigLIP's head, each a tensor that can be copied from it.
TEST(AttentionPoolHeadTest, HasTheTensorsOfSiglip) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
  const AttentionPoolHead head(store, "pool", config_of(true));
  std::string names;
  for (const Parameter* p : store.all()) names += fmt::format("{} {}\n", p->name, p->global_shape.to_string());
  EXPECT_EQ(names,
            "pool.queries [1, 6]\n"
            "pool.norm.weight [6]\npool.norm.bias [6]\n"
            "pool.q.weight [6, 6]\npool.q.bias [6]\npool.kv.weight [2, 6, 6]\npool.kv.bias [2, 6]\n"
            "pool.out.weight [6, 6]\npool.out.bias [6]\n"
            "pool.feed_forward.norm.weight [6]\npool.feed_forward.norm.bias [6]\n"
            "pool.feed_forward.in.weight [10, 6]\npool.feed_forward.in.bias [10]\n"
            "pool.feed_forward.out.weight [6, 10]\npool.feed_forward.out.bias [6]\n");
}

}  // namespace
}  // namespace triptych::test
