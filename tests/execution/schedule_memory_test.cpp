// The memory that a rank's activations take at most in a step, as its pool counts it, beside the number of graphs that
// the simulation says are kept, times the memory of one.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "execution/partition_model.h"
#include "models/parts.h"
#include "objectives/contrastive.h"
#include "objectives/cross_entropy.h"
#include "ops/linear.h"
#include "ops/pooling.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/simulate.h"
#include "support/one_rank.h"
#include "support/rank_model.h"

namespace triptych::test {
namespace {

constexpr int kRanks = 4, kLayers = 48;
constexpr int64_t kTokens = 12, kWidth = 16, kOutputs = 3, kRows = 2;  // kRows: of a microbatch

// Stages of equal Transformer blocks; the ends have next to no memory.
ModelSpec uniform_model() {
  const Slot stream{.name = "stream", .dims = {kTokens, kWidth}};
  ModelSpec model;
  BlockSpec start;
  start.name = "start";
  start.fields = {"given"};
  start.writes = {stream};
  start.make = [](ParameterStore&) {
    return make_block(0, [](int, std::span<const Variable>, const Fields& fields, const Pass& pass) {
      return pass.laid_out(pass.rows(fields["given"]), "stream");
    });
  };
  model.blocks.push_back(start);
  append_stack(model.blocks, "body", stream,
               {.width = kWidth, .layers = kLayers, .heads = 2, .feed_forward = 2 * kWidth}, {});
  BlockSpec end;
  end.name = "end";
  end.reads = {"stream"};
  for (const char* const name : {"value", "image_embedding", "text_embedding"}) {
    end.writes.push_back({.name = name, .dims = {kOutputs}, .place = "batch", .dtype = DType::kFloat32});
  }
  end.make = [](ParameterStore& store) {
    return make_block(&store.create("end", Shape{kOutputs, kWidth}, "replicated", {.standard_deviation = 0.1f}),
                      [](Parameter* weight, std::span<const Variable> in, const Fields&, const Pass& pass) {
                        const Variable x = mean_tokens(pass.laid_out(in[0], "batch"));
                        const Variable y = linear(x, pass.use(*weight), Variable(), DType::kFloat32);
                        return std::vector<Variable>(3, y);
                      });
  };
  model.blocks.push_back(end);
  return model;
}

std::vector<ObjectiveSpec> objectives_of(LossCoupling coupling) {
  if (coupling == LossCoupling::kCoupled) return {contrastive_objective({})};
  return {cross_entropy_objective({.name = "classes", .slot = "value", .field = "label"})};
}

// Bytes that one microbatch's graph on a stage in the middle keeps, with what arrived and what is sent: behind its
// forward, and between the two halves of its backward.
struct GraphBytes {
  double behind_forward = 0, between_halves = 0;
};
GraphBytes graph_bytes(int num_stages) {
  OneRank one;
  const ModelSpec model = uniform_model();
  const std::vector<ObjectiveSpec> objectives = objectives_of(LossCoupling::kSplit);
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(one.device, one.mesh, plan, 1, DType::kFloat32);
  const Stage stage(model, partition_model(model, objectives, num_stages), num_stages / 2, store);
  const Route route = route_to(model, slots_of(objectives));
  const Pass pass{.device = one.device, .mesh = one.mesh, .plan = plan, .dtype = DType::kFloat32, .record = true};
  // Without the gradients of norms and biases, which stay.
  const auto used = [&] { return static_cast<double>(one.device.memory().used_by_part[MemoryPart::kOther]); };
  const double before = used();
  Values inputs;
  for (const Slot& slot : stage.slots_in(route)) {
    const SlotShape shape = slot_shape(slot, kRows, pass);
    inputs[slot.name] =
        Variable::leaf(Tensor::zeros(one.device, shape.dtype, shape.global), shape.global, shape.layout);
  }
  Values outputs = stage.forward(route, inputs, Fields(kRows), pass);
  GraphBytes bytes{.behind_forward = used() - before};
  std::vector<Variable> roots;
  std::vector<Gradient> seeds;
  for (auto& [name, output] : outputs) {
    seeds.push_back(
        {Tensor::zeros(one.device, output.dtype(), output.tensor().shape()), output.layout().of_gradient()});
    roots.push_back(std::move(output));
  }
  outputs.clear();
  WorkApart apart;
  backward(roots, seeds, {.apart = &apart});
  roots.clear();
  seeds.clear();
  inputs.clear();
  bytes.between_halves = used() - before;
  return bytes;
}

// Bytes beyond what lies there between two steps, of each rank.
std::vector<double> measured_peaks(const Schedule& schedule) {
  std::vector<double> peaks(kRanks);
  run_ranks(kRanks, [&](Group& world) {
    RankModel rank(world, {.pp = kRanks}, uniform_model(), objectives_of(schedule.coupling), schedule);
    const int64_t rows = kRows * schedule.num_microbatches;
    Fields batch(rows);
    batch.set("given", Tensor::zeros(rank.device, DType::kFloat32, Shape{rows, kTokens, kWidth}));
    batch.set("label", Tensor::zeros(rank.device, DType::kInt32, Shape{rows}));
    const std::vector<Fields> microbatches = batch.cut(schedule.num_microbatches);
    for (int step = 0; step < 2; ++step) rank.executor.run_step(microbatches, step);
    const MemoryStats memory = rank.device.memory();
    peaks[static_cast<std::size_t>(world.rank())] = static_cast<double>(memory.peak_used_bytes - memory.used_bytes);
  });
  return peaks;
}

struct MemoryCase {
  std::string schedule;
  LossCoupling coupling;
  int microbatches;
};

class ScheduleMemory : public ::testing::TestWithParam<MemoryCase> {};

TEST_P(ScheduleMemory, IsThatOfTheGraphsThatTheSimulationKeeps) {
  const MemoryCase& c = GetParam();
  const Schedule schedule = make_schedule(c.schedule, {kRanks, 0, c.microbatches, c.coupling});
  const GraphBytes one = graph_bytes(schedule.num_stages);
  StageCosts costs = StageCosts::uniform(schedule.num_stages, 1, 2);
  costs.graph_between_halves = one.between_halves / one.behind_forward;
  const Simulation simulation = simulate(schedule, costs);
  const std::vector<double> peaks = measured_peaks(schedule);
  for (std::size_t r = 0; r < kRanks; ++r) {
    const double simulated = one.behind_forward * simulation.peak_graphs[r], ratio = peaks[r] / simulated;
    std::printf("rank %zu: simulated %.2f graphs of %.0f B, %.0f B; measured %.0f B, ratio %.3f\n", r,
                simulation.peak_graphs[r], one.behind_forward, simulated, peaks[r], ratio);
    // The rest is what a backward takes on its way, and messages.
    EXPECT_GT(ratio, 0.9) << "rank " << r;
    EXPECT_LT(ratio, 1.1) << "rank " << r;
  }
}

std::vector<MemoryCase> memory_cases() {
  std::vector<MemoryCase> cases;
  for (const LossCoupling coupling : {LossCoupling::kSplit, LossCoupling::kCoupled}) {
    for (const std::string& schedule : schedule_names()) {
      for (const int microbatches : {8, 16}) cases.push_back({schedule, coupling, microbatches});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, ScheduleMemory, ::testing::ValuesIn(memory_cases()), [](const auto& of) {
  const MemoryCase& c = of.param;
  return fmt::format("{}_{}_m{}", c.schedule, c.coupling == LossCoupling::kSplit ? "split" : "coupled", c.microbatches);
});

}  // namespace
}  // namespace triptych::test
