#include "evaluation/attention_maps.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "base/error.h"

namespace triptych::evaluation {
namespace {

// One sample's [rows, ...] of a tensor of any float type.
std::vector<double> sample_of(const Tensor& tensor, int64_t sample) {
  const std::vector<float> values = tensor.slice(0, sample, 1).contiguous().to(DType::kFloat32).to_vector<float>();
  return {values.begin(), values.end()};
}

// The rows of one head among those of all: row r begins at values[offset + r * stride] and has `dim` elements.
struct HeadRows {
  const std::vector<double>& values;
  int64_t offset, stride, dim;

  double dot(int64_t row, const HeadRows& other, int64_t other_row) const {
    const double* a = values.data() + offset + row * stride;
    const double* b = other.values.data() + other.offset + other_row * other.stride;
    double sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += a[d] * b[d];
    return sum;
  }
};

// In place, over the first `count` of a row; the others become 0.
void softmax_row(Matrix& matrix, int64_t row, int64_t count) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t j = 0; j < count; ++j) largest = std::max(largest, matrix.at(row, j));
  for (int64_t j = 0; j < count; ++j) sum += matrix.at(row, j) = std::exp(matrix.at(row, j) - largest);
  for (int64_t j = 0; j < matrix.cols; ++j) matrix.at(row, j) = j < count ? matrix.at(row, j) / sum : 0;
}

void normalize_rows(Matrix& matrix) {
  for (int64_t i = 0; i < matrix.rows; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < matrix.cols; ++j) sum += matrix.at(i, j);
    for (int64_t j = 0; j < matrix.cols; ++j) matrix.at(i, j) /= sum == 0 ? 1 : sum;
  }
}

// What a rank has seen of an attention, and in which stage.
struct Staged {
  int stage = 0;
  AttentionWeights weights;
};

// Numbers and names as bytes, one after the other, for messages.
class Packer {
 public:
  void put(const void* data, std::size_t size) {
    const auto* begin = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), begin, begin + size);
  }
  void put(int64_t number) { put(&number, sizeof(number)); }
  void put(const std::vector<Matrix>& matrices) {
    put(static_cast<int64_t>(matrices.size()));
    for (const Matrix& matrix : matrices) {
      put(matrix.rows);
      put(matrix.cols);
      put(matrix.values.data(), matrix.values.size() * sizeof(double));
    }
  }

  std::vector<std::byte> bytes;
};

class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : bytes_(bytes) {}
  bool has_more() const { return !bytes_.empty(); }
  void take(void* data, std::size_t size) {
    std::memcpy(data, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  int64_t number() {
    int64_t value = 0;
    take(&value, sizeof(value));
    return value;
  }
  std::vector<Matrix> matrices() {
    std::vector<Matrix> all(static_cast<std::size_t>(number()));
    for (Matrix& matrix : all) {
      matrix.rows = number();
      matrix.cols = number();
      matrix.values.resize(static_cast<std::size_t>(matrix.rows * matrix.cols));
      take(matrix.values.data(), matrix.values.size() * sizeof(double));
    }
    return all;
  }

 private:
  std::span<const std::byte> bytes_;
};

// What `root` has, on every rank. Collective.
std::vector<Staged> from_root(const std::vector<Staged>& mine, Group& world, int root) {
  Packer packed;
  if (world.rank() == root) {
    for (const Staged& one : mine) {
      packed.put(one.stage);
      packed.put(static_cast<int64_t>(one.weights.name.size()));
      packed.put(one.weights.name.data(), one.weights.name.size());
      packed.put(one.weights.heads);
      packed.put(one.weights.gradients);
    }
  }
  auto size = static_cast<int64_t>(packed.bytes.size());
  world.broadcast(&size, 1, DType::kInt64, root)->wait();
  packed.bytes.resize(static_cast<std::size_t>(size));
  world.broadcast(packed.bytes.data(), size, DType::kUInt8, root)->wait();
  std::vector<Staged> all;
  for (Unpacker bytes(packed.bytes); bytes.has_more();) {
    Staged& one = all.emplace_back();
    one.stage = static_cast<int>(bytes.number());
    one.weights.name.resize(static_cast<std::size_t>(bytes.number()));
    bytes.take(one.weights.name.data(), one.weights.name.size());
    one.weights.heads = bytes.matrices();
    one.weights.gradients = bytes.matrices();
  }
  return all;
}

}  // namespace

Matrix identity(int64_t size) {
  Matrix matrix{size, size, std::vector<double>(static_cast<std::size_t>(size * size), 0)};
  for (int64_t i = 0; i < size; ++i) matrix.at(i, i) = 1;
  return matrix;
}

Matrix product(const Matrix& a, const Matrix& b) {
  TRIPTYCH_CHECK(a.cols == b.rows, "a product of [{}, {}] and [{}, {}]", a.rows, a.cols, b.rows, b.cols);
  Matrix c{a.rows, b.cols, std::vector<double>(static_cast<std::size_t>(a.rows * b.cols), 0)};
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t k = 0; k < a.cols; ++k) {
      for (int64_t j = 0; j < b.cols; ++j) c.at(i, j) += a.at(i, k) * b.at(k, j);
    }
  }
  return c;
}

AttentionWeights attention_weights(const SeenAttention& seen, int64_t sample) {
  const int64_t queries = seen.q.size(1), keys = seen.kv.size(1), width = seen.q.size(2);
  const int64_t dim = width / seen.num_heads;
  const std::vector<double> q = sample_of(seen.q, sample), kv = sample_of(seen.kv, sample);
  std::vector<double> gradient;
  if (seen.gradient.defined() && seen.gradient.gradient())
    gradient = sample_of(seen.gradient.gradient()->tensor, sample);
  const int64_t length =
      seen.lengths.defined() ? seen.lengths.to_vector<int32_t>()[static_cast<std::size_t>(sample)] : keys;
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  AttentionWeights result{.name = seen.name, .heads = {}, .gradients = {}};
  for (int64_t n = 0; n < seen.num_heads; ++n) {
    const HeadRows of_q{q, n * dim, width, dim}, of_k{kv, n * dim, 2 * width, dim};
    const HeadRows of_v{kv, width + n * dim, 2 * width, dim}, of_gradient{gradient, n * dim, width, dim};
    Matrix weights{queries, keys, std::vector<double>(static_cast<std::size_t>(queries * keys), 0)}, slopes = weights;
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t count = std::min(length, seen.causal ? std::max<int64_t>(0, i + 1 + keys - queries) : keys);
      for (int64_t j = 0; j < count; ++j) weights.at(i, j) = scale * of_q.dot(i, of_k, j);
      softmax_row(weights, i, count);
      for (int64_t j = 0; !gradient.empty() && j < keys; ++j) slopes.at(i, j) = of_gradient.dot(i, of_v, j);
    }
    result.heads.push_back(std::move(weights));
    if (!gradient.empty()) result.gradients.push_back(std::move(slopes));
  }
  return result;
}

std::vector<AttentionWeights> all_attention_weights(const AttentionSink& sink, int64_t sample, Mesh& mesh,
                                                    const std::function<bool(const std::string&)>& is_wanted) {
  std::vector<Staged> mine;
  for (const SeenAttention& seen : sink.all()) {
    // The other replicas have computed the same, and so have the ranks that share out sequences.
    if (mesh.rank(Axis::kDp) == 0 && mesh.rank(Axis::kCp) == 0 && is_wanted(seen.name)) {
      mine.push_back({seen.stage, attention_weights(seen, sample)});
    }
  }
  std::vector<Staged> all;
  Group& world = mesh.world();
  for (int pp = 0; pp < mesh.shape().pp; ++pp) {
    std::vector<Staged> of_stages;
    for (int tp = 0; tp < mesh.shape().tp; ++tp) {
      const int root = mesh_world_rank(mesh.shape(), {.pp = pp, .tp = tp});
      std::vector<Staged> part = world.size() == 1 ? std::move(mine) : from_root(mine, world, root);
      if (tp == 0) {
        of_stages = std::move(part);
        continue;
      }
      for (std::size_t i = 0; i < part.size(); ++i) {  // of the same attentions, the next heads
        AttentionWeights &whole = of_stages[i].weights, &more = part[i].weights;
        std::move(more.heads.begin(), more.heads.end(), std::back_inserter(whole.heads));
        std::move(more.gradients.begin(), more.gradients.end(), std::back_inserter(whole.gradients));
      }
    }
    std::move(of_stages.begin(), of_stages.end(), std::back_inserter(all));
  }
  std::stable_sort(all.begin(), all.end(), [](const Staged& a, const Staged& b) { return a.stage < b.stage; });
  std::vector<AttentionWeights> weights;
  for (Staged& one : all) weights.push_back(std::move(one.weights));
  return weights;
}

Matrix mean_over_heads(const AttentionWeights& attention) {
  Matrix mean = attention.heads.at(0);
  for (std::size_t h = 1; h < attention.heads.size(); ++h) {
    for (std::size_t k = 0; k < mean.values.size(); ++k) mean.values[k] += attention.heads[h].values[k];
  }
  for (double& value : mean.values) value /= static_cast<double>(attention.heads.size());
  return mean;
}

Matrix rollout(std::span<const AttentionWeights> layers) {
  TRIPTYCH_CHECK(!layers.empty(), "a rollout over no layer");
  Matrix all = identity(layers[0].heads.at(0).rows);
  for (const AttentionWeights& layer : layers) {
    Matrix a = mean_over_heads(layer);
    for (int64_t i = 0; i < a.rows; ++i) a.at(i, i) += 1;
    normalize_rows(a);
    all = product(a, all);
  }
  return all;
}

Matrix relevant_weights(const AttentionWeights& attention) {
  TRIPTYCH_CHECK(attention.gradients.size() == attention.heads.size(), "{} has no gradients", attention.name);
  Matrix mean{attention.heads[0].rows, attention.heads[0].cols, {}};
  mean.values.resize(attention.heads[0].values.size());
  for (std::size_t h = 0; h < attention.heads.size(); ++h) {
    for (std::size_t k = 0; k < mean.values.size(); ++k) {
      const double weighted = attention.heads[h].values[k] * attention.gradients[h].values[k];
      mean.values[k] += std::max(0.0, weighted) / static_cast<double>(attention.heads.size());
    }
  }
  return mean;
}

Matrix relevance(std::span<const AttentionWeights> layers) {
  TRIPTYCH_CHECK(!layers.empty(), "relevance over no layer");
  Matrix all = identity(layers[0].heads.at(0).rows);
  for (const AttentionWeights& layer : layers) {
    const Matrix more = product(relevant_weights(layer), all);
    for (std::size_t k = 0; k < all.values.size(); ++k) all.values[k] += more.values[k];
  }
  return all;
}

Matrix normalized_relevance(const Matrix& relevance) {
  Matrix normalized = relevance;
  for (int64_t i = 0; i < normalized.rows; ++i) normalized.at(i, i) -= 1;
  normalize_rows(normalized);
  for (int64_t i = 0; i < normalized.rows; ++i) normalized.at(i, i) += 1;
  return normalized;
}

Matrix relevance_through(const AttentionWeights& attention, const Matrix& relevance) {
  return product(relevant_weights(attention), normalized_relevance(relevance));
}

}  // namespace triptych::evaluation
