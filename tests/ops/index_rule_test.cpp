#include "ops/index_rule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/gradient_check.h"

namespace triptych::test {
namespace {

const Placement kReplicate = Placement::replicate(), kPartial = Placement::partial();

Placement shard(int dim) {
  return Placement::shard(dim);
}
Layout on(Placement dp, Placement tp = kReplicate) {
  return Layout().with(Axis::kDp, dp).with(Axis::kTp, tp);
}

IndexRule::Applied apply(std::string_view rule, const std::vector<Shape>& shapes, const std::vector<Layout>& layouts) {
  std::vector<IndexRule::Operand> operands;
  for (std::size_t i = 0; i < shapes.size(); ++i) operands.push_back({shapes[i], layouts[i]});
  return IndexRule("operation", rule).apply(operands);
}

struct Row {
  std::string_view rule;
  std::vector<Shape> shapes;
  std::vector<Layout> operands, results;
  Layout dy;                      // of the first result
  std::vector<Layout> gradients;  // of the operands
};

TEST(IndexRuleTable, GivesTheLayoutsOfResultsAndGradients) {
  const Shape x{4, 6, 8}, w{10, 8}, h{8};
  const std::vector<Row> rows{
      // Megatron's column-parallel and row-parallel products, with the batch on dp.
      {"bsi,oi->bso",
       {x, w},
       {on(shard(0)), on(kReplicate, shard(0))},
       {on(shard(0), shard(2))},
       on(shard(0), shard(2)),
       {on(shard(0), kPartial), on(kPartial, shard(0))}},
      {"bsi,oi->bso",
       {x, w},
       {on(shard(0), shard(2)), on(kReplicate, shard(1))},
       {on(shard(0), kPartial)},
       on(shard(0)),
       {on(shard(0), shard(2)), on(kPartial, shard(1))}},
      // Replicated on tp: a gradient that comes as summands goes on as summands.
      {"...i,oi,o->...o",
       {x, w, Shape{10}},
       {on(shard(0)), Layout(), Layout()},
       {on(shard(0))},
       on(shard(0), kPartial),
       {on(shard(0), kPartial), on(kPartial, kPartial), on(kPartial, kPartial)}},
      {"...h!,h,h->...h",
       {Shape{4, 8}, h, h},
       {on(kReplicate, shard(0)), Layout(), Layout()},
       {on(kReplicate, shard(0))},
       on(kReplicate, shard(0)),
       {on(kReplicate, shard(0)), on(kReplicate, kPartial), on(kReplicate, kPartial)}},
      {"...h!,h,h->...h", {h, h, h}, {Layout(), Layout(), Layout()}, {Layout()}, Layout(), {{}, {}, {}}},
      {"bs,vh->bsh",
       {Shape{4, 6}, Shape{9, 8}},
       {on(shard(0)), on(kReplicate, shard(0))},
       {on(shard(0), kPartial)},
       on(shard(0)),
       {on(shard(0), kPartial), on(kPartial, shard(0))}},
      {"+bs,+bs->bs",
       {Shape{4, 6}, Shape{4, 6}},
       {on(shard(1), kPartial), on(shard(1), kPartial)},
       {on(shard(1), kPartial)},
       on(shard(1)),
       {on(shard(1)), on(shard(1))}},
      {"+bs,+s->bs",
       {Shape{4, 6}, Shape{6}},
       {on(shard(0), kPartial), on(kReplicate, kPartial)},
       {on(shard(0), kPartial)},
       on(shard(0)),
       {on(shard(0)), on(kPartial)}},
      // Linear in x alone: w has a summand of its gradient on every rank, x the whole.
      {"+bi,oi->bo", {w, w}, {on(kPartial), Layout()}, {on(kPartial)}, Layout(), {Layout(), on(kPartial)}},
      // Two results: the axis on s shards one and leaves summands of the other.
      {"bs,s->bs,b",
       {Shape{4, 6}, Shape{6}},
       {on(shard(0), shard(1)), on(kReplicate, shard(0))},
       {on(shard(0), shard(1)), on(shard(0), kPartial)},
       on(shard(0), shard(1)),
       {on(shard(0), shard(1)), on(kPartial, shard(0))}},
      // An axis with a letter that only the result has: it cannot be sharded.
      {"bs!h,h->bth",
       {x, h},
       {on(shard(0), shard(2)), on(kReplicate, shard(0))},
       {on(shard(0), shard(2))},
       on(shard(0), shard(2)),
       {on(shard(0), shard(2)), on(kPartial, shard(0))}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.rule);
    const IndexRule::Applied applied = apply(row.rule, row.shapes, row.operands);
    for (std::size_t r = 0; r < row.results.size(); ++r) {
      EXPECT_EQ(applied.layout(r), row.results[r]) << "result " << r << " is " << applied.layout(r).to_string();
    }
    for (std::size_t i = 0; i < row.gradients.size(); ++i) {
      const Layout layout = applied.gradient(i, row.dy);
      EXPECT_EQ(layout, row.gradients[i]) << "the gradient of operand " << i << " is " << layout.to_string();
    }
  }
}

TEST(IndexRuleTable, GivesTheShapesOfResults) {
  const Shape x{4, 6, 8};
  EXPECT_EQ(apply("...i,qpoi->...qpo", {x, Shape{2, 3, 5, 8}}, {{}, {}}).global_shape(), (Shape{4, 6, 2, 3, 5}));
  EXPECT_EQ(apply("...i,oi->...o", {Shape{8}, Shape{5, 8}}, {{}, {}}).global_shape(), Shape{5});
  const IndexRule::Applied two = apply("bs,s->bs,b", {Shape{4, 6}, Shape{6}}, {{}, {}});
  EXPECT_EQ(two.global_shape(0), (Shape{4, 6}));
  EXPECT_EQ(two.global_shape(1), Shape{4});
  EXPECT_THROW(apply("bs!h,h->bth", {x, Shape{8}}, {{}, {}}).global_shape(), InternalError) << "no operand has t";
}

struct Refused {
  std::string_view rule;
  std::vector<Shape> shapes;
  std::vector<Layout> operands;
  std::vector<std::string> words;  // of the error
};

TEST(IndexRuleErrors, NameTheAxisAndTheIndex) {
  const Shape x{4, 6, 8}, w{10, 8};
  const std::vector<Refused> cases{
      {"bsi,oi->bso", {x, w}, {on(shard(0), shard(2)), {}}, {"[tp]", "index i", "operand 1", "Shard(1)", "Replicate"}},
      {"bsi,oi->bso", {x, w}, {on(shard(0)), on(shard(0))}, {"[dp]", "index o", "operand 0", "Shard(0)"}},
      {"bsi,oi->bso", {x, w}, {on(kReplicate, kPartial), {}}, {"[tp]", "complete", "operand 0", "Partial"}},
      {"bs!h->bh", {x}, {on(shard(0), shard(1))}, {"[tp]", "index s", "bs!h->bh"}},
      {"...h!,h->...h", {x, Shape{8}}, {on(shard(2)), on(shard(0))}, {"[dp]", "index h"}},
      {"...i,oi->...o", {x, w}, {on(shard(1)), on(shard(1))}, {"[dp]", "index i", "operand 0", "Shard(2)", "Shard(1)"}},
      {"+bs,+bs->bs", {w, w}, {on(kPartial), {}}, {"[dp]", "summands", "operand 1", "Partial", "Replicate"}},
      {"+bs,+bs->bs",
       {w, w},
       {Layout().with(Axis::kTp, Placement::partial(ReduceOp::kMax)), {}},
       {"[tp]", "Partial(max)"}},
      // Summands of one operand beside a shard of another: adding or multiplying them is not a shard of the result.
      {"+bs,+s->bs", {w, Shape{8}}, {on(shard(0)), on(kPartial)}, {"[dp]", "index b", "operand 1", "Replicate"}},
      {"+bi,oi->bo", {w, w}, {on(kPartial), on(shard(0))}, {"[dp]", "index o", "operand 0", "Replicate"}},
  };
  for (const Refused& c : cases) {
    SCOPED_TRACE(c.rule);
    try {
      apply(c.rule, c.shapes, c.operands);
      FAIL() << "took " << c.operands[0].to_string();
    } catch (const LayoutError& error) {
      const std::string text = error.what();
      for (const std::string& word : c.words) EXPECT_NE(text.find(word), std::string::npos) << word << ": " << text;
      EXPECT_NE(text.find("operation"), std::string::npos) << text;
    }
  }
}

TEST(IndexRuleErrors, RefuseGradientsThatAreNeitherCompleteNorSummands) {
  const Shape x{4, 6, 8}, w{10, 8};
  const IndexRule::Applied column = apply("bsi,oi->bso", {x, w}, {{}, on(kReplicate, shard(0))});
  EXPECT_THROW(column.gradient(0, Layout()), LayoutError);
  EXPECT_THROW(column.gradient(0, on(kReplicate, kPartial)), LayoutError);
  EXPECT_THROW(column.gradient(0, on(kReplicate, shard(1))), LayoutError);
  const IndexRule::Applied row = apply("bsi,oi->bso", {x, w}, {on(kReplicate, shard(2)), on(kReplicate, shard(1))});
  EXPECT_THROW(row.gradient(0, on(kReplicate, kPartial)), LayoutError) << "each rank's summand has the whole gradient";
  EXPECT_THROW(row.gradient(1, on(kReplicate, shard(0))), LayoutError);
}

TEST(IndexRuleErrors, RefuseOperandsThatAreNotOfTheRule) {
  const Shape x{4, 6, 8};
  EXPECT_THROW(apply("bsi,oi->bso", {x, Shape{10, 9}}, {{}, {}}), InternalError) << "i is 8 and 9";
  EXPECT_THROW(apply("bsi,oi->bso", {x}, {{}}), InternalError);
  EXPECT_THROW(apply("bs,s->b", {x, Shape{8}}, {{}, {}}), InternalError) << "a dim more";
  EXPECT_THROW(apply("...si,i->...s", {Shape{8}, Shape{8}}, {{}, {}}), InternalError) << "a dim less";
  EXPECT_THROW(apply("...i,...i->...i", {x, Shape{6, 8}}, {{}, {}}), InternalError) << "the further dims differ";
}

// ---- Ranks in simulation: whatever layouts a rule takes, what each rank computes of its own pieces, put together as
// the rule says, is the result of the whole.

struct Array {
  std::vector<int64_t> dims;
  std::vector<double> values;

  explicit Array(std::vector<int64_t> of) : dims(std::move(of)), values(static_cast<std::size_t>(count())) {}
  int64_t count() const { return Shape(dims).num_elements(); }
  double& at(const std::vector<int64_t>& index) {
    int64_t offset = 0;
    for (std::size_t d = 0; d < dims.size(); ++d) offset = offset * dims[d] + index[d];
    return values[static_cast<std::size_t>(offset)];
  }
};

void for_each_index(const std::vector<int64_t>& dims, const std::function<void(const std::vector<int64_t>&)>& body) {
  std::vector<int64_t> index(dims.size(), 0);
  for (int64_t left = Shape(dims).num_elements(); left > 0; --left) {
    body(index);
    for (std::size_t d = dims.size(); d-- > 0 && ++index[d] == dims[d];) index[d] = 0;
  }
}

Array random_array(const std::string& name, std::vector<int64_t> dims) {
  Array array(std::move(dims));
  for (std::size_t i = 0; i < array.values.size(); ++i) {
    array.values[i] = 1 + 0.5 * philox_normal(random_key(5, name, 0), i);
  }
  return array;
}

Array slice(Array& of, int dim, const Range& range) {
  const auto d = static_cast<std::size_t>(dim);
  std::vector<int64_t> dims = of.dims;
  dims[d] = range.length;
  Array piece(dims);
  for_each_index(dims, [&](std::vector<int64_t> index) {
    double& to = piece.at(index);
    index[d] += range.begin;
    to = of.at(index);
  });
  return piece;
}

constexpr std::array kSimulated{std::pair{Axis::kDp, 2}, std::pair{Axis::kTp, 3}};
using Pieces = std::vector<Array>;  // by rank: tp fastest

Pieces scatter_on(Array whole, const Layout& layout, std::size_t axis = 0) {
  if (axis == kSimulated.size()) return {whole};
  const auto [which, size] = kSimulated[axis];
  const Placement p = layout[which];
  Pieces pieces;
  Array rest = whole;
  for (int rank = 0; rank < size; ++rank) {
    Array mine = whole;
    if (p.is_shard()) mine = slice(whole, p.dim, shard_range(whole.dims[static_cast<std::size_t>(p.dim)], size, rank));
    if (p.is_partial() && rank + 1 < size) mine = random_array("summand" + std::to_string(rank), whole.dims);
    if (p.is_partial() && rank + 1 == size) mine = rest;
    for (std::size_t i = 0; p.is_partial() && i < rest.values.size(); ++i) rest.values[i] -= mine.values[i];
    for (Array& piece : scatter_on(mine, layout, axis + 1)) pieces.push_back(std::move(piece));
  }
  return pieces;
}

// Adds what `pieces` say of the whole; what ranks have alike must be alike.
Array gather(const Pieces& pieces, const Layout& layout, const std::vector<int64_t>& dims) {
  Array whole(dims);
  std::size_t rank = 0;
  for (int dp = 0; dp < kSimulated[0].second; ++dp) {
    for (int tp = 0; tp < kSimulated[1].second; ++tp, ++rank) {
      Array piece = pieces[rank];
      std::vector<int64_t> begin(dims.size(), 0), length = dims;
      bool is_first_copy = true;
      for (std::size_t axis = 0; axis < kSimulated.size(); ++axis) {
        const auto [which, size] = kSimulated[axis];
        const int coordinate = axis == 0 ? dp : tp;
        const Placement p = layout[which];
        if (p.is_replicate()) is_first_copy = is_first_copy && coordinate == 0;
        if (!p.is_shard()) continue;
        const auto d = static_cast<std::size_t>(p.dim);
        const Range range = shard_range(dims[d], size, coordinate);
        begin[d] = range.begin;
        length[d] = range.length;
      }
      if (piece.dims != length) {
        ADD_FAILURE() << "rank " << rank << " has another shape";
        return whole;
      }
      // A copy is compared with the first one, which ranks before it have written: only where nothing is summed.
      for_each_index(length, [&](std::vector<int64_t> index) {
        const double value = piece.at(index);
        for (std::size_t d = 0; d < index.size(); ++d) index[d] += begin[d];
        if (is_first_copy) {
          whole.at(index) += value;
        } else if (layout.partial_axes().empty()) {
          EXPECT_NEAR(whole.at(index), value, 1e-9 * (1 + std::abs(value))) << "copies differ";
        }
      });
    }
  }
  return whole;
}

// result = sum over the indices that it lacks of the product of the operands' powers, or of their sum.
struct Computation {
  std::string_view rule;
  std::vector<std::string> operands, results;  // their letters
  std::vector<int> powers = {};                // of a product; none: a sum
  int num_partial = 0;                         // 1 if operands may be Partial
};

using Sizes = std::map<char, int64_t>;

std::vector<int64_t> dims_of(const std::string& letters, const Sizes& sizes) {
  std::vector<int64_t> dims;
  for (const char letter : letters) dims.push_back(sizes.at(letter));
  return dims;
}

// The sizes of the letters as the operands at hand have them.
Sizes sizes_of(const Computation& c, const std::vector<Array>& operands) {
  Sizes sizes;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    for (std::size_t d = 0; d < c.operands[i].size(); ++d) {
      const auto found = sizes.emplace(c.operands[i][d], operands[i].dims[d]).first;
      EXPECT_EQ(found->second, operands[i].dims[d]) << "index " << c.operands[i][d];
    }
  }
  return sizes;
}

// With `dy` (of result `result`) the gradient of operand `of`, else the result.
Array compute(const Computation& c, std::vector<Array> operands, std::size_t result, Array* dy = nullptr,
              std::size_t of = 0) {
  const Sizes sizes = sizes_of(c, operands);
  std::string letters;
  std::vector<int64_t> dims;
  for (const auto& [letter, size] : sizes) {
    letters += letter;
    dims.push_back(size);
  }
  Array out(dims_of(dy != nullptr ? c.operands[of] : c.results[result], sizes));
  for_each_index(dims, [&](const std::vector<int64_t>& index) {
    const auto pick = [&](const std::string& some) {
      std::vector<int64_t> picked;
      for (const char letter : some) picked.push_back(index[letters.find(letter)]);
      return picked;
    };
    const bool is_sum = c.powers.empty();
    double term = is_sum ? 0 : 1;
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const double x = operands[i].at(pick(c.operands[i]));
      if (is_sum) {
        term += x;
      } else if (dy != nullptr && i == of) {
        term *= c.powers[i] * std::pow(x, c.powers[i] - 1);
      } else {
        term *= std::pow(x, c.powers[i]);
      }
    }
    if (dy == nullptr) {
      out.at(pick(c.results[result])) += term;
    } else {
      out.at(pick(c.operands[of])) += (is_sum ? 1 : term) * dy->at(pick(c.results[result]));
    }
  });
  return out;
}

void expect_equal(const Array& actual, const Array& expected, const std::string& what) {
  ASSERT_EQ(actual.dims, expected.dims) << what;
  EXPECT_LT(relative_error(actual.values, expected.values), tolerance(DType::kFloat32).local) << what;
}

class Simulation {
 public:
  Simulation(Computation c, Sizes sizes) : c_(std::move(c)), sizes_(std::move(sizes)) {
    for (std::size_t i = 0; i < c_.operands.size(); ++i) {
      operands_.push_back(random_array("operand" + std::to_string(i), dims_of(c_.operands[i], sizes_)));
      shapes_.emplace_back(operands_.back().dims);
    }
  }

  // Checks every layout that the rule takes; how many these are.
  int run() {
    std::vector<Layout> layouts(operands_.size());
    choose(layouts, 0, 0);
    return num_taken_;
  }

 private:
  void choose(std::vector<Layout>& layouts, std::size_t operand, std::size_t axis) {
    if (operand == operands_.size()) return check(layouts);
    if (axis == kSimulated.size()) return choose(layouts, operand + 1, 0);
    const Axis which = kSimulated[axis].first;
    std::vector<Placement> placements{kReplicate, kPartial};
    for (int dim = 0; dim < shapes_[operand].rank(); ++dim) {
      // Two axes on one dim is a layout that no tensor of the program has.
      if (axis == 0 || !layouts[operand][kSimulated[0].first].is_shard(dim)) placements.push_back(shard(dim));
    }
    const Layout before = layouts[operand];
    for (const Placement p : placements) {
      layouts[operand] = before.with(which, p);
      choose(layouts, operand, axis + 1);
    }
    layouts[operand] = before;
  }

  void check(const std::vector<Layout>& layouts) {
    std::vector<IndexRule::Operand> given;
    std::string text;
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      given.push_back({shapes_[i], layouts[i]});
      text += fmt::format("operand {} {}; ", i, layouts[i].to_string());
    }
    SCOPED_TRACE(text);
    std::optional<IndexRule::Applied> rule;
    try {
      rule = IndexRule("operation", c_.rule).apply(given);
    } catch (const LayoutError&) {
      return;
    }
    ++num_taken_;
    std::vector<Pieces> pieces;
    for (std::size_t i = 0; i < layouts.size(); ++i) pieces.push_back(scatter_on(operands_[i], layouts[i]));
    for (std::size_t r = 0; r < c_.results.size(); ++r) {
      const Layout layout = rule->layout(r);
      const Array whole = compute(c_, operands_, r);
      const Pieces computed =
          by_rank(pieces, [&](std::vector<Array> mine, std::size_t) { return compute(c_, std::move(mine), r); });
      expect_equal(gather(computed, layout, whole.dims), whole, fmt::format("result {}", r));
      check_gradients(*rule, pieces, r, layout.of_gradient());
      for (const auto& [axis, size] : kSimulated) {
        if (layout[axis].is_replicate()) {
          check_gradients(*rule, pieces, r, layout.of_gradient().with(axis, kPartial));
        }
      }
    }
  }

  void check_gradients(const IndexRule::Applied& rule, const std::vector<Pieces>& pieces, std::size_t result,
                       const Layout& layout) {
    Array dy = random_array("dy", dims_of(c_.results[result], sizes_));
    Pieces dys = scatter_on(dy, layout);
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      const Pieces computed = by_rank(pieces, [&](std::vector<Array> mine, std::size_t rank) {
        return compute(c_, std::move(mine), result, &dys[rank], i);
      });
      expect_equal(
          gather(computed, rule.gradient(i, layout, result), operands_[i].dims), compute(c_, operands_, result, &dy, i),
          fmt::format("gradient of operand {} from result {} whose gradient is {}", i, result, layout.to_string()));
    }
  }

  static Pieces by_rank(const std::vector<Pieces>& pieces,
                        const std::function<Array(std::vector<Array>, std::size_t)>& body) {
    Pieces computed;
    for (std::size_t rank = 0; rank < pieces[0].size(); ++rank) {
      std::vector<Array> mine;
      for (const Pieces& of : pieces) mine.push_back(of[rank]);
      computed.push_back(body(std::move(mine), rank));
    }
    return computed;
  }

  Computation c_;
  Sizes sizes_;
  std::vector<Array> operands_;
  std::vector<Shape> shapes_;
  int num_taken_ = 0;
};

TEST(IndexRuleSimulation, LocalResultsAndGradientsMakeUpTheGlobalOnes) {
  const std::vector<Computation> computations{
      {"bsi,oi->bso", {"bsi", "oi"}, {"bso"}, {1, 1}},
      {"...i,oi->...o", {"ABi", "oi"}, {"ABo"}, {1, 1}},
      {"bsh,h->bsh", {"bsh", "h"}, {"bsh"}, {2, 1}},
      {"+bi,oi->bo", {"bi", "oi"}, {"bo"}, {1, 2}, 1},
      {"+bs,+s->bs", {"bs", "s"}, {"bs"}, {}, 1},
      {"bs,s->bs,b", {"bs", "s"}, {"bs", "b"}, {1, 2}},
      {"ab,bc,ac->a", {"ab", "bc", "ac"}, {"a"}, {1, 1, 1}},
  };
  // 5 does not divide by 2 or 3, and 1 leaves ranks with nothing.
  const Sizes sizes{{'b', 5}, {'s', 4}, {'i', 3}, {'o', 1}, {'h', 2}, {'a', 3}, {'c', 4}, {'A', 2}, {'B', 3}};
  for (const Computation& c : computations) {
    SCOPED_TRACE(c.rule);
    // On each axis: nothing, one of the letters, or summands; not the same letter twice.
    std::string letters;
    for (const std::string& operand : c.operands) letters += operand;
    std::sort(letters.begin(), letters.end());
    const auto num_letters = static_cast<int>(std::unique(letters.begin(), letters.end()) - letters.begin());
    const int choices = 1 + num_letters + c.num_partial;
    EXPECT_EQ(Simulation(c, sizes).run(), choices * choices - num_letters);
  }
}

}  // namespace
}  // namespace triptych::test
