#include "objectives/contrastive_blocks.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "contrastive_oracle.h"
#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

// A rank's part of a batch, and the scalars.
struct RankInputs {
  ContrastiveRows rows;
  Range queries, candidates;  // of the batch
  Tensor scalars, sums, num_pairs;

  ContrastiveTerms terms(Kind kind) const {
    const bool symmetric = kind == Kind::kInfoNce;
    return {.log_scale = scalars.data<float>(),
            .bias = symmetric ? nullptr : scalars.data<float>() + 1,
            .coefficient = symmetric ? 0.5 : 1.0,
            .num_pairs = num_pairs.data<double>(),
            .sums = reinterpret_cast<ContrastiveSums*>(sums.data<double>())};
  }
};

Tensor tensor_of(Device& device, const Rows& rows, const Range& range, std::size_t width) {
  const Rows part = rows_of(rows, range, width);
  const std::vector<float> floats(part.begin(), part.end());
  return Tensor::from<float>(device, Shape{range.length, static_cast<int64_t>(width)}, floats);
}

RankInputs inputs_of(const Batch& batch, Device& device, const Mesh& mesh) {
  RankInputs in;
  in.queries = shard_range(static_cast<int64_t>(batch.size), mesh.size(Axis::kDp), mesh.rank(Axis::kDp));
  in.candidates = {0, in.queries.length};
  for (const Axis axis : {Axis::kCp, Axis::kTp}) {
    const Range part = shard_range(in.candidates.length, mesh.size(axis), mesh.rank(axis));
    in.candidates = {in.candidates.begin + part.begin, part.length};
  }
  in.rows.first = in.candidates.begin;
  in.candidates.begin += in.queries.begin;
  in.rows.queries = tensor_of(device, batch.image, in.queries, batch.width);
  in.rows.candidates = tensor_of(device, batch.text, in.candidates, batch.width);
  in.rows.batch = static_cast<int64_t>(batch.size);
  if (!batch.is_pair.empty()) {
    std::vector<uint8_t> flags;
    for (int64_t i = 0; i < in.queries.length; ++i) {
      flags.push_back(batch.is_pair[static_cast<std::size_t>(in.queries.begin + i)] ? 1 : 0);
    }
    in.rows.present = Tensor::from<uint8_t>(device, Shape{in.queries.length}, flags);
  }
  const std::vector<float> scalars{std::log(8.0f), kBias};
  in.scalars = Tensor::from<float>(device, Shape{2}, scalars);
  in.sums = Tensor::zeros(device, DType::kFloat64, Shape{kNumContrastiveSums});
  const std::vector<double> num_pairs{static_cast<double>(batch.pairs().size())};
  in.num_pairs = Tensor::from<double>(device, Shape{1}, num_pairs);
  return in;
}

std::string text_of(const MeshShape& shape, const ContrastiveBlockSizes& sizes, const Batch& batch) {
  return fmt::format("dp {} cp {} tp {} blocks {} x {} batch {} pairs {}", shape.dp, shape.cp, shape.tp, sizes.queries,
                     sizes.candidates, batch.size, batch.pairs().size());
}

void check_blocks(const Batch& batch, const MeshShape& shape, const ContrastiveBlockSizes& sizes, Kind kind,
                  const Expected& expected) {
  SCOPED_TRACE(text_of(shape, sizes, batch));
  run_ranks(shape.dp * shape.cp * shape.tp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, shape, device);
    const RankInputs in = inputs_of(batch, device, mesh);
    const ContrastiveGradients gradients = evaluate_in_blocks(kind, in.rows, in.terms(kind), {}, mesh, sizes);
    std::vector<double> sums = in.sums.to_vector<double>();
    world.all_reduce(sums.data(), kNumContrastiveSums, DType::kFloat64, ReduceOp::kSum)->wait();
    const Tolerance bound = tolerance(DType::kFloat32);
    EXPECT_NEAR(sums[0], expected.loss, bound.summed * expected.loss);
    EXPECT_NEAR(sums[1], expected.dlog_scale, bound.summed * sums[2]);
    EXPECT_NEAR(sums[3], kind == Kind::kSigmoid ? expected.dbias : 0, bound.summed * sums[4]);

    std::vector<float> dqueries = gradients.queries.to_vector<float>();
    mesh.group({Axis::kCp, Axis::kTp})
        .all_reduce(dqueries.data(), static_cast<int64_t>(dqueries.size()), DType::kFloat32, ReduceOp::kSum)
        ->wait();
    EXPECT_LT(relative_error(dqueries, rows_of(expected.dimage, in.queries, batch.width)), bound.summed);
    EXPECT_LT(
        relative_error(gradients.candidates.to_vector<float>(), rows_of(expected.dtext, in.candidates, batch.width)),
        bound.summed);
  });
}

class ContrastiveInBlocks : public ::testing::TestWithParam<Kind> {};

// Blocks that do not divide, of which some ranks have less than others or nothing; with samples that are no pairs.
TEST_P(ContrastiveInBlocks, GivesTheLossOfTheWhole) {
  const std::vector<MeshShape> meshes{{}, {.tp = 2}, {.dp = 2}, {.dp = 3, .tp = 3}, {.dp = 2, .cp = 2, .tp = 2}};
  const ContrastiveBlockSizes all_sizes[] = {{.queries = 2, .candidates = 1}, {.queries = 3, .candidates = 4}};
  for (const std::size_t size : {5, 13}) {
    for (const bool masks : {false, true}) {
      Batch batch = make_batch(size, 5);
      for (std::size_t i = 0; masks && i < size; ++i) batch.is_pair.push_back(i % 5 != 2);
      const Expected expected = expect(batch, GetParam(), std::log(8.0));
      for (const MeshShape& shape : meshes) {
        for (const ContrastiveBlockSizes& sizes : all_sizes) check_blocks(batch, shape, sizes, GetParam(), expected);
      }
    }
  }
}

TEST_P(ContrastiveInBlocks, MakesNoGradientsThatNobodyNeeds) {
  const Batch batch = make_batch(13, 5);
  run_ranks(2, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const RankInputs all = inputs_of(batch, device, mesh);
    const ContrastiveGradients both = evaluate_in_blocks(GetParam(), all.rows, all.terms(GetParam()), {}, mesh);
    for (const ContrastiveNeeds& needs :
         {ContrastiveNeeds{.queries = false}, ContrastiveNeeds{.candidates = false},
          ContrastiveNeeds{false, false, true}, ContrastiveNeeds{false, false, false}}) {
      const RankInputs in = inputs_of(batch, device, mesh);
      const ContrastiveGradients found = evaluate_in_blocks(GetParam(), in.rows, in.terms(GetParam()), needs, mesh);
      EXPECT_EQ(in.sums.to_vector<double>()[0], all.sums.to_vector<double>()[0]);
      EXPECT_TRUE(!needs.any() || in.sums.to_vector<double>() == all.sums.to_vector<double>());
      ASSERT_EQ(found.queries.defined(), needs.queries);
      ASSERT_EQ(found.candidates.defined(), needs.candidates);
      EXPECT_TRUE(!needs.queries || found.queries.to_vector<float>() == both.queries.to_vector<float>());
      EXPECT_TRUE(!needs.candidates || found.candidates.to_vector<float>() == both.candidates.to_vector<float>());
    }
  });
}

// Elements of all operations of a kind and type in a trace, such as of "all_gather(float32 x 12)".
std::map<std::string, int64_t> elements_by_kind(const Trace& trace) {
  std::map<std::string, int64_t> result;
  for (const Trace::Span& span : trace.spans()) {
    if (span.track != Trace::Track::kInFlight) continue;
    const std::size_t times = span.name.find(" x ");
    EXPECT_NE(times, std::string::npos) << span.name;
    result[span.name.substr(0, times)] += std::stoll(span.name.substr(times + 3));
  }
  return result;
}

// 24 candidates on each rank of `dp`, 12 in each of two shares, gathered 4 of a rank at a time.
TEST_P(ContrastiveInBlocks, SendsWhatTheDocumentationSays) {
  constexpr int kRanks = 4, kShares = 2;
  constexpr int64_t kRowsOfRank = 24, kWidth = 6, kShare = kRowsOfRank / kShares, kOfRank = 4;
  const Batch batch = make_batch(kRanks * kRowsOfRank, kWidth);
  const bool is_symmetric = GetParam() == Kind::kInfoNce;
  run_ranks(kRanks * kShares, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = kRanks, .tp = kShares}, device);
    const RankInputs in = inputs_of(batch, device, mesh);
    for (const bool learns : {true, false}) {
      Trace trace;
      trace.start();
      mesh.set_trace(&trace);
      const ContrastiveNeeds needs{learns, learns, learns};
      evaluate_in_blocks(GetParam(), in.rows, in.terms(GetParam()), needs, mesh,
                         {.queries = 8, .candidates = kRanks * kOfRank});
      mesh.set_trace(nullptr);
      std::map<std::string, int64_t> expected{{"all_gather(float32", kShare * kWidth}};
      if (learns) expected["reduce_scatter(sum, float32"] = kShare * kWidth;
      if (is_symmetric) {
        if (learns) expected["all_gather(float32"] += (kShare - kOfRank) * kWidth;
        // Of the candidates that all ranks have, and of this rank's queries.
        expected["all_reduce(max, float32"] = 2 * (kRanks * kShare + kRowsOfRank);
        expected["all_reduce(sum, float32"] = kRanks * kShare + kRowsOfRank;
      }
      EXPECT_EQ(elements_by_kind(trace), expected);
    }
  });
}

// Two blocks of candidates and two of gradients, what a rank gets of one of these, a tile of similarities, and some
// floats for each query and candidate.
TEST_P(ContrastiveInBlocks, TakesTheMemoryOfBlocks) {
  constexpr int kRanks = 4;
  constexpr int64_t kBatch = 2048, kWidth = 64;
  const ContrastiveBlockSizes sizes{.queries = 32, .candidates = 128};
  Batch batch{kBatch, kWidth, Rows(kBatch * kWidth, 0.125), Rows(kBatch * kWidth, 0.125), {}};
  run_ranks(kRanks, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = kRanks}, device);
    const RankInputs in = inputs_of(batch, device, mesh);
    const auto before = static_cast<int64_t>(device.memory().used_bytes);
    const ContrastiveGradients gradients =
        evaluate_in_blocks(GetParam(), in.rows, in.terms(GetParam()), {}, mesh, sizes);
    const int64_t of_block =
        4 * (4 * sizes.candidates * kWidth + sizes.candidates / kRanks * kWidth + sizes.queries * sizes.candidates);
    const int64_t of_rows = GetParam() == Kind::kInfoNce ? 4 * 6 * (kBatch / kRanks + kBatch) : 0;
    const auto returned = static_cast<int64_t>(gradients.queries.num_bytes() + gradients.candidates.num_bytes());
    const auto peak = static_cast<int64_t>(device.memory().peak_used_bytes) - before - returned;
    EXPECT_LE(peak, (of_block + of_rows) * 11 / 10);  // and the stream's scratch
    EXPECT_GE(peak, (of_block + of_rows) / 2);        // or the formula says nothing
    EXPECT_LT(peak, 4 * kBatch * kWidth / 2);         // not all candidates at once
  });
}

INSTANTIATE_TEST_SUITE_P(Kinds, ContrastiveInBlocks, ::testing::Values(Kind::kInfoNce, Kind::kSigmoid),
                         [](const auto& param) { return param.param == Kind::kInfoNce ? "infonce" : "sigmoid"; });

}  // namespace
}  // namespace triptych::test
