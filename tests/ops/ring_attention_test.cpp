#include "ops/ring_attention.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "ops/repeat_heads.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"
#include "support/user_error.h"

namespace triptych::test {
namespace {

constexpr Layout kSequence = Layout().with(Axis::kCp, Placement::shard(1));

struct Case {
  int cp;
  int64_t queries, keys;
  bool causal = false;
  std::vector<int32_t> lengths = {};
  DType dtype = DType::kFloat32;
  int64_t times = 1;                                      // heads of queries that share one of keys and values
  MeshShape mesh() const { return {.cp = cp, .tp = 2}; }  // a rank of tp has half of the heads

  std::string to_string() const {
    return fmt::format("cp {}, {} queries, {} keys{}{} {}", cp, queries, keys, causal ? ", causal" : "",
                       lengths.empty() ? "" : ", lengths", dtype_name(dtype)) +
           fmt::format(" {} times", times);
  }
};

constexpr int64_t kBatch = 2, kHeads = 4, kWidth = 12;

// What came out, whole: the result and the inputs' gradients.
using Results = std::vector<std::vector<float>>;

// A leaf of random numbers, this rank's piece of the whole.
Variable leaf(const std::string& name, const Shape& shape, const Layout& layout, DType dtype, Mesh& mesh,
              Device& device) {
  const Tensor whole = Tensor::from<float>(device, shape, random_values(name, shape.num_elements())).to(dtype);
  const Tensor mine = redistribute(whole, shape, Layout(), layout, mesh);
  return Variable::leaf(mine.contiguous(), shape, layout);
}

// sum(dy * y) of an attention over `inputs`, forward and backward.
Results run(const Variable& y, const std::vector<Variable>& inputs, Mesh& mesh, Device& device) {
  const Shape& shape = y.global_shape();
  const Tensor dy = Tensor::from<float>(device, shape, random_values("dy", shape.num_elements())).to(y.dtype());
  const Gradient seed{redistribute(dy, shape, Layout(), y.layout(), mesh).contiguous(), y.layout()};
  backward(std::span(&y, 1), std::span(&seed, 1), {});
  const auto whole = [&](const Tensor& piece, const Shape& global, const Layout& layout) {
    return redistribute(piece, global, layout, Layout(), mesh).to(DType::kFloat32).to_vector<float>();
  };
  Results results{whole(y.tensor(), shape, y.layout())};
  for (const Variable& input : inputs) {
    const std::optional<Gradient> gradient = input.gradient();
    EXPECT_EQ(gradient->layout, input.layout()) << gradient->layout.to_string();
    results.push_back(whole(gradient->tensor, input.global_shape(), gradient->layout));
  }
  return results;
}

void expect_same(const Results& actual, const Results& expected, DType dtype) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::vector<double> reference(expected[i].begin(), expected[i].end());
    const std::vector<double> values(actual[i].begin(), actual[i].end());
    EXPECT_LT(relative_error(values, reference), tolerance(dtype).summed) << (i == 0 ? "forward" : "gradient ") << i;
  }
}

Shape of_qkv(const Case& c) {
  return Shape{kBatch, c.queries, 3, kWidth};
}
Shape of_q(const Case& c) {
  return Shape{kBatch, c.queries, kWidth};
}
Shape of_kv(const Case& c) {
  return Shape{kBatch, c.keys, 2, kWidth / c.times};
}

AttentionMask mask_of(const Case& c, Device& device) {
  AttentionMask mask{.causal = c.causal};
  if (!c.lengths.empty()) mask.lengths = Tensor::from<int32_t>(device, Shape{kBatch}, c.lengths);
  return mask;
}

// The plain operation on whole tensors, which has oracles of its own.
void check(const Case& c) {
  SCOPED_TRACE(c.to_string());
  OneRank alone;
  const AttentionMask mask = mask_of(c, alone.device);
  const Variable q = leaf("q", of_q(c), Layout(), c.dtype, alone.mesh, alone.device);
  const Variable kv = leaf("kv", of_kv(c), Layout(), c.dtype, alone.mesh, alone.device);
  const Variable qkv = leaf("qkv", of_qkv(c), Layout(), c.dtype, alone.mesh, alone.device);
  const Results across =
      run(cross_attention(q, c.times == 1 ? kv : repeat_heads(kv, c.times, kWidth / kHeads), kHeads, mask), {q, kv},
          alone.mesh, alone.device);
  const Results within = run(self_attention(qkv, kHeads, mask), {qkv}, alone.mesh, alone.device);
  run_ranks(c.cp * 2, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, c.mesh(), device);
    const AttentionMask own_mask = mask_of(c, device);
    const auto heads = [&](int dim) { return kSequence.with(Axis::kTp, Placement::shard(dim)); };
    const Variable own_q = leaf("q", of_q(c), heads(2), c.dtype, mesh, device);
    const Variable own_kv = leaf("kv", of_kv(c), heads(3), c.dtype, mesh, device);
    const Variable own_qkv = leaf("qkv", of_qkv(c), heads(3), c.dtype, mesh, device);
    const Variable o = ring_cross_attention(own_q, own_kv, kHeads, own_mask, mesh);
    EXPECT_EQ(o.layout(), own_q.layout());
    expect_same(run(o, {own_q, own_kv}, mesh, device), across, c.dtype);
    const Variable own = ring_self_attention(own_qkv, kHeads, own_mask, mesh);
    EXPECT_EQ(own.layout(), own_q.layout());
    expect_same(run(own, {own_qkv}, mesh, device), within, c.dtype);
  });
}

TEST(RingAttentionTest, EqualsTheAttentionOverTheWholeSequence) {
  for (const int cp : {2, 3, 4}) {
    for (const bool causal : {false, true}) {
      check({cp, 12, 12, causal});
      check({cp, 13, 13, causal});           // does not divide
      check({cp, 13, 13, causal, {13, 5}});  // the last ranks' keys are masked
      check({cp, 11, 11, causal, {0, 11}});  // a sample without any key
      check({cp, 5, 5, causal, {5, 4}, DType::kBFloat16});
      check({cp, 1, 1, causal});  // all but one rank have nothing
      check({cp, 13, 13, causal, {13, 5}, DType::kFloat32, 2});
    }
  }
}

TEST(RingAttentionTest, OfOtherNumbersOfKeys) {
  for (const int cp : {2, 3, 4}) {
    check({cp, 9, 17, false});
    check({cp, 17, 2, false, {1, 2}});
    check({cp, 9, 17, false, {11, 17}, DType::kFloat32, 2});
  }
}

// What a rank keeps between forward and backward, of sequences that are `times` as long as the shortest.
std::size_t kept_bytes(int cp, int64_t sequence) {
  std::size_t most = 0;
  run_ranks(cp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.cp = cp}, device);
    const Shape shape{kBatch, sequence, 3, kWidth};
    const Variable qkv = leaf("qkv", shape, kSequence, DType::kFloat32, mesh, device);
    const std::size_t before = device.memory().used_bytes;
    const Variable o = ring_self_attention(qkv, kHeads, {}, mesh);
    if (world.rank() == 0) most = device.memory().used_bytes - before;
  });
  return most;
}

TEST(RingAttentionTest, ARankKeepsItsShareOfTheSequence) {
  const std::size_t two = kept_bytes(2, 512), four = kept_bytes(4, 512);
  EXPECT_EQ(kept_bytes(4, 1024), two) << "a rank's tokens are as many";
  // q, k, v, o and the sums of exponentials.
  const std::size_t token = kBatch * (4 * kWidth + kHeads) * sizeof(float);
  EXPECT_LE(four, 512 / 4 * token + 4096);
  EXPECT_GE(two, 512 / 2 * token);
}

// Of four ranks' halves 0 1, 2 3, 4 5, 6 7, those that are computed together are 0 7, 1 6, 2 5, 3 4; each goes to its
// rank and its output back. Keys and values go round.
TEST(RingAttentionTest, LinksThoseThatSendToEachOther) {
  std::vector<std::pair<int, int>> links;
  for (const Link& link : ring_links(4)) links.emplace_back(link.from, link.to);
  const std::vector<std::pair<int, int>> expected{{0, 1}, {0, 3}, {1, 0}, {1, 2}, {1, 3},
                                                  {2, 1}, {2, 3}, {3, 0}, {3, 1}, {3, 2}};
  EXPECT_EQ(links, expected);
  EXPECT_EQ(ring_links(2).size(), 2u);
  EXPECT_TRUE(ring_links(1).empty());
}

TEST(RingAttentionTest, RefusesSequencesThatAreNotOnItsAxisAlone) {
  run_ranks(4, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.cp = 2, .tp = 2}, device);
    const Shape shape{kBatch, 8, 3, kWidth};
    for (const Layout& layout : {Layout(), kSequence.with(Axis::kTp, Placement::shard(1, 1))}) {
      const Variable qkv = leaf("qkv", shape, layout, DType::kFloat32, mesh, device);
      try {
        ring_self_attention(qkv, kHeads, {}, mesh);
        ADD_FAILURE() << layout.to_string();
      } catch (const LayoutError& error) {
        EXPECT_NE(std::string(error.what()).find("on cp alone"), std::string::npos) << error.what();
      }
    }
  });
}

}  // namespace
}  // namespace triptych::test
