#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "nn/parameter_store.h"
#include "optim/adamw.h"
#include "optim/learning_rate.h"
#include "parallel/in_process_group.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

// A parameter with a gradient of its own, without a reducer.
Parameter make_parameter(Device& device, const std::string& name, const Shape& shape) {
  Parameter p(name);
  p.global_shape = shape;
  p.value = p.compute = Tensor::from<float>(device, shape, random_values(name, shape.num_elements()));
  p.reduced = Tensor::empty(device, DType::kFloat32, shape);
  return p;
}

// One update by a loss and a norm of this rank alone.
void step(AdamW& optimizer, float rate, double norm) {
  const double numbers[] = {1.0, norm * norm, 0.0};
  Device device(1);
  const Tensor values = Tensor::from<double>(device, Shape{3}, numbers);
  double* at = values.data<double>();
  optimizer.step(rate, at, at + 1, at + 2);
}

struct Reference {
  std::vector<double> value, m, v;
};

// Loshchilov and Hutter 2019, algorithm 2, with the learning rate as the schedule multiplier of both terms.
void reference_step(Reference& r, const std::vector<float>& gradient, const AdamWOptions& o, double rate, double scale,
                    bool decay, double maximum, int update) {
  for (std::size_t i = 0; i < r.value.size(); ++i) {
    const double g = gradient[i] * scale;
    r.m[i] = o.beta1 * r.m[i] + (1 - static_cast<double>(o.beta1)) * g;
    r.v[i] = o.beta2 * r.v[i] + (1 - static_cast<double>(o.beta2)) * g * g;
    const double m = r.m[i] / (1 - std::pow(o.beta1, update)), v = r.v[i] / (1 - std::pow(o.beta2, update));
    if (decay) r.value[i] -= rate * o.weight_decay * r.value[i];
    r.value[i] -= rate * m / (std::sqrt(v) + o.epsilon);
    r.value[i] = std::min(r.value[i], maximum);
  }
}

TEST(AdamWTest, FollowsItsDefinitionOverSeveralSteps) {
  const AdamWOptions options{.beta1 = 0.8f, .beta2 = 0.95f, .epsilon = 1e-6f, .weight_decay = 0.3f, .clip_norm = 0.5};
  OneRank rank;
  std::vector<Parameter> parameters;
  parameters.push_back(make_parameter(rank.device, "weight", Shape{7, 5}));
  parameters.push_back(make_parameter(rank.device, "bias", Shape{11}));
  parameters.push_back(make_parameter(rank.device, "scale", Shape{1}));
  parameters[0].decay = true;
  parameters[2].maximum = parameters[2].value.data<float>()[0] + 0.02f;
  std::vector<Parameter*> all;
  std::vector<Reference> references;
  for (Parameter& p : parameters) {
    all.push_back(&p);
    const std::vector<float> value = p.value.to_vector<float>();
    references.push_back(
        {{value.begin(), value.end()}, std::vector<double>(value.size()), std::vector<double>(value.size())});
  }
  AdamW optimizer(rank.device, all, options);
  bool clamped = false;
  for (int update = 1; update <= 8; ++update) {
    const float rate = 0.01f * static_cast<float>(update), scale = update % 2 == 0 ? 0.25f : 1.0f;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      std::vector<float> g = random_values(fmt::format("gradient{}{}", i, update), parameters[i].value.num_elements());
      if (i == 2) g[0] = -1;  // pushes upwards, into its maximum
      std::copy(g.begin(), g.end(), parameters[i].reduced.data<float>());
      reference_step(references[i], g, options, rate, scale, i == 0, parameters[i].maximum, update);
    }
    step(optimizer, rate, options.clip_norm / static_cast<double>(scale));  // clips to `scale` times the gradient
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto where = fmt::format("{} after {}", parameters[i].name, update);
      const double bound = tolerance(DType::kFloat32).local;
      EXPECT_LT(relative_error(parameters[i].value.to_vector<float>(), references[i].value), bound) << where;
      EXPECT_LT(relative_error(optimizer.states()[i].first_moment.to_vector<float>(), references[i].m), bound) << where;
      EXPECT_LT(relative_error(optimizer.states()[i].second_moment.to_vector<float>(), references[i].v), bound)
          << where;
    }
    clamped = clamped || parameters[2].value.item<float>() == parameters[2].maximum;
  }
  EXPECT_TRUE(clamped);
}

TEST(AdamWTest, TheFirstUpdateIsTheLearningRateWhateverTheGradientsSize) {
  OneRank rank;
  Parameter p = make_parameter(rank.device, "p", Shape{4});
  p.value.fill_zero();
  const std::vector<float> gradient{1e-3f, -1e-3f, 5.0f, -700.0f};
  std::copy(gradient.begin(), gradient.end(), p.reduced.data<float>());
  Parameter* all[] = {&p};
  AdamW optimizer(rank.device, all, {});
  step(optimizer, 0.125f, 1);
  const std::vector<float> value = p.value.to_vector<float>();
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(value[i], gradient[i] > 0 ? -0.125 : 0.125, 0.125 * 2e-5);
}

// The first update is the learning rate in size, and decay takes its share of the value: what a treatment changes.
TEST(AdamWTest, TrainsEachParameterAsItsTreatmentSays) {
  OneRank rank;
  std::vector<Parameter> parameters;
  std::vector<Parameter*> all;
  for (const char* name : {"head.weight", "body.weight", "body.norm"}) {
    parameters.push_back(make_parameter(rank.device, name, Shape{2}));
  }
  for (Parameter& p : parameters) {
    all.push_back(&p);
    p.decay = !p.name.ends_with("norm");
    for (std::size_t i = 0; i < 2; ++i) p.value.data<float>()[i] = 2;
    for (std::size_t i = 0; i < 2; ++i) p.reduced.data<float>()[i] = i == 0 ? 3.0f : -0.5f;
  }
  const NamedParameter named[] = {{"head.weight", 0}, {"body.weight", 1}, {"body.norm", 1}};
  const Treatments treatments(
      {.groups = {{.pattern = "body.*", .learning_rate_scale = 0.5, .weight_decay = 0.75}}, .layer_decay = 0.5}, named);
  AdamW optimizer(rank.device, all, {.weight_decay = 0.25f}, treatments);
  step(optimizer, 0.125f, 1);
  const double rates[] = {0.125, 0.03125, 0.03125}, decays[] = {0.25, 0.75, 0};
  for (std::size_t k = 0; k < 3; ++k) {
    const std::vector<float> value = parameters[k].value.to_vector<float>();
    const double kept = 2 * (1 - rates[k] * decays[k]);
    EXPECT_NEAR(value[0], kept - rates[k], 1e-6) << parameters[k].name;
    EXPECT_NEAR(value[1], kept + rates[k], 1e-6) << parameters[k].name;
  }
}

// A parameter that thaws is one whose first update that is.
TEST(AdamWTest, AThawedParameterBeginsAsANewOne) {
  const AdamWOptions options{.beta1 = 0.8f, .beta2 = 0.95f, .epsilon = 1e-6f, .weight_decay = 0, .clip_norm = 0};
  OneRank rank;
  std::vector<Parameter> parameters;
  std::vector<Parameter*> all;
  std::vector<Reference> references;
  for (const char* name : {"trained", "thawed", "frozen"})
    parameters.push_back(make_parameter(rank.device, name, Shape{5}));
  for (Parameter& p : parameters) {
    all.push_back(&p);
    const std::vector<float> value = p.value.to_vector<float>();
    references.push_back({{value.begin(), value.end()}, std::vector<double>(5), std::vector<double>(5)});
  }
  const NamedParameter named[] = {{"trained"}, {"thawed"}, {"frozen"}};
  const Treatments treatments(
      {.groups = {{.pattern = "thawed", .frozen = true, .thaw_step = 3}, {.pattern = "frozen", .frozen = true}}},
      named);
  std::optional<AdamW> optimizer(std::in_place, rank.device, all, options, treatments);
  EXPECT_FALSE(optimizer->states()[1].first_moment.defined()) << "nothing is kept of what is frozen";
  constexpr int kSkipped = 5;
  int updates[] = {0, 0};
  for (int i = 0; i < 9; ++i) {
    for (Parameter& p : parameters) p.is_trained = treatments.is_trained(p.name, i);
    if (treatments.thaws_at(i)) optimizer->thaw(i);
    if (i == 7) {  // gone on with from a checkpoint
      const std::map<int64_t, int64_t> thawed = optimizer->thawed_updates();
      EXPECT_EQ(thawed, (std::map<int64_t, int64_t>{{3, updates[1]}}));
      std::vector<AdamW::State> states(optimizer->states().begin(), optimizer->states().end());
      optimizer.emplace(rank.device, all, options, treatments);
      optimizer->thaw(i - 1);
      for (std::size_t k = 0; k < 2; ++k) {
        optimizer->states()[k].first_moment.copy_from(states[k].first_moment);
        optimizer->states()[k].second_moment.copy_from(states[k].second_moment);
      }
      optimizer->restore(updates[0], 1, 0);
      optimizer->restore_thawed(thawed);
    }
    for (std::size_t k = 0; k < 2; ++k) {
      const std::vector<float> g = random_values(fmt::format("gradient{}{}", k, i), 5);
      std::copy(g.begin(), g.end(), parameters[k].reduced.data<float>());
      if (!parameters[k].is_trained || i == kSkipped) continue;
      reference_step(references[k], g, options, 0.01, 1, false, parameters[k].maximum, ++updates[k]);
    }
    step(*optimizer, 0.01f, i == kSkipped ? std::numeric_limits<double>::quiet_NaN() : 1);
    for (std::size_t k = 0; k < 3; ++k) {
      EXPECT_LT(relative_error(parameters[k].value.to_vector<float>(), references[k].value),
                tolerance(DType::kFloat32).local)
          << parameters[k].name << " after " << i;
    }
  }
  EXPECT_EQ(updates[1], 5) << "steps 3 to 8, of which one was skipped";
  EXPECT_FALSE(optimizer->states()[2].first_moment.defined());
}

TEST(AdamWTest, CountsAndLeavesOutAStepThatIsNotFinite) {
  OneRank rank;
  Parameter p = make_parameter(rank.device, "p", Shape{3});
  p.reduced = Tensor::from<float>(rank.device, Shape{3}, std::vector<float>{1, 2, 3});
  Parameter* all[] = {&p};
  AdamW optimizer(rank.device, all, {});
  const std::vector<float> before = p.value.to_vector<float>();
  step(optimizer, 0.5f, std::numeric_limits<double>::infinity());
  EXPECT_EQ(p.value.to_vector<float>(), before);
  EXPECT_EQ(optimizer.update_state()->num_skipped, 1);
  step(optimizer, 0.5f, 1);
  EXPECT_NE(p.value.to_vector<float>(), before);
  EXPECT_EQ(optimizer.update_state()->num_updates, 1) << "the bias correction counts updates that happened";
}

TEST(AdamWTest, WritesTheComputeCopyToo) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(rank.device, rank.mesh, plan, 1, DType::kBFloat16);
  Parameter& p = store.create("w", Shape{6, 3}, "replicated", {.standard_deviation = 1, .in_compute_dtype = true});
  p.reduced = Tensor::from<float>(rank.device, Shape{6, 3}, random_values("g", 18));
  AdamW optimizer(rank.device, store.all(), {});
  step(optimizer, 0.5f, 1);
  const std::vector<float> master = p.value.to_vector<float>();
  const std::vector<BFloat16> copy = p.compute.to_vector<BFloat16>();
  ASSERT_EQ(p.compute.dtype(), DType::kBFloat16);
  for (std::size_t i = 0; i < master.size(); ++i) {
    EXPECT_LE(std::abs(static_cast<float>(copy[i]) - master[i]), 0x1p-8f * std::abs(master[i]));
  }
}

TEST(LearningRate, WarmsUpLinearlyThenFallsAsHalfACosine) {
  const LearningRateOptions options{.peak = 0.8, .final_share = 0.1, .warmup_steps = 4, .total_steps = 12};
  EXPECT_DOUBLE_EQ(learning_rate(options, 0), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate(options, 1), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(options, 3), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate(options, 4), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate(options, 8), 0.8 * 0.55) << "half way down";
  EXPECT_NEAR(learning_rate(options, 6), 0.8 * (0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5))), 1e-15);
  EXPECT_NEAR(learning_rate(options, 12), 0.08, 1e-15);
  EXPECT_NEAR(learning_rate(options, 1000), 0.08, 1e-15) << "it stays there";
}

TEST(LearningRate, NeedsNoWarmUpAndNoDescent) {
  EXPECT_DOUBLE_EQ(learning_rate({.peak = 0.5, .warmup_steps = 0, .total_steps = 1}, 0), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate({.peak = 0.5, .warmup_steps = 3, .total_steps = 3}, 2), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate({.peak = 0.5, .final_share = 1, .total_steps = 10}, 7), 0.5);
}

// What the tests of Hugging Face's transformers (tests/optimization/test_optimization.py,
// get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup: peak 10, 2 steps of warm-up, 10 in all) expect
// from the end of the warm-up on; its warm-up counts from 0.
TEST(LearningRate, FallsAsTransformersSchedulesDo) {
  const double linear[] = {10.0, 8.75, 7.5, 6.25, 5.0, 3.75, 2.5, 1.25};
  const double cosine[] = {10.0, 9.61, 8.53, 6.91, 5.0, 3.08, 1.46, 0.38};
  LearningRateOptions options{.peak = 10, .warmup_steps = 2, .total_steps = 10};
  for (int64_t step = 2; step < 10; ++step) {
    options.schedule = LearningRateSchedule::kLinear;
    EXPECT_DOUBLE_EQ(learning_rate(options, step), linear[step - 2]) << step;
    options.schedule = LearningRateSchedule::kCosine;
    EXPECT_NEAR(learning_rate(options, step), cosine[step - 2], 0.01) << step;
  }
}

TEST(LearningRate, StaysConstantOrUntilItDecays) {
  LearningRateOptions options{.schedule = LearningRateSchedule::kConstant,
                              .peak = 8,
                              .final_share = 0.25,
                              .warmup_steps = 4,
                              .total_steps = 20};
  const auto rates = [&](std::vector<int64_t> steps) {
    std::vector<double> result;
    for (const int64_t step : steps) result.push_back(learning_rate(options, step));
    return result;
  };
  EXPECT_EQ(rates({0, 1, 2, 3, 4, 5, 19, 20, 90}), (std::vector<double>{2, 4, 6, 8, 8, 8, 8, 8, 8}));
  options.schedule = LearningRateSchedule::kWsd;
  EXPECT_EQ(rates({0, 3, 4, 19, 90}), (std::vector<double>{2, 8, 8, 8, 8})) << "nothing decays yet";
  options.decay_steps = 6;  // of 6 in height: one a step
  EXPECT_EQ(rates({0, 3, 4, 13, 14, 15, 16, 17, 18, 19, 20, 90}),
            (std::vector<double>{2, 8, 8, 8, 8, 7, 6, 5, 4, 3, 2, 2}));
  options.schedule = LearningRateSchedule::kLinear;
  options.decay_steps = 0;
  options.total_steps = 10;
  EXPECT_EQ(rates({3, 4, 5, 6, 7, 8, 9, 10, 90}), (std::vector<double>{8, 8, 7, 6, 5, 4, 3, 2, 2}));
}

// One parameter of each kind on every mesh, kept whole or in pieces over dp; its gradient is a function of the global
// element.
TEST(SumOfSquaredGradients, CountsEachGlobalElementOnce) {
  const Shape matrix{6, 5}, vector{7};
  const auto row_of = [](int64_t i) { return static_cast<float>(i % 11) - 4.5f; };
  double expected = 0;
  for (const int64_t count : {matrix.num_elements(), matrix.num_elements(), vector.num_elements()}) {
    for (int64_t i = 0; i < count; ++i) expected += static_cast<double>(row_of(i)) * row_of(i);
  }
  for (const MeshShape& shape : {MeshShape{}, MeshShape{.tp = 2}, MeshShape{.dp = 3}, MeshShape{.dp = 2, .tp = 2}}) {
    for (const bool shards_state : {false, true})
      run_ranks(shape.dp * shape.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, shape, device);
        const PlanRow rows[] = {{"rows", on_tp(0)}, {"columns", on_tp(1)}, {"whole", kWhole}};
        const Plan plan({rows});
        ParameterStore store(device, mesh, plan, 1, DType::kFloat32, {}, InitialValues::kAsSpecified, shards_state);
        store.create("rows", matrix, "rows", {});
        store.create("columns", matrix, "columns", {});
        store.create("whole", vector, "whole", {});
        for (Parameter* p : store.all()) {
          p->reduced = Tensor::empty(device, DType::kFloat32, p->value.shape());
          Shape begin;
          const Shape local = local_shape(p->global_shape, p->kept, mesh, &begin);
          float* g = p->reduced.data<float>();
          const int64_t columns = local.rank() == 2 ? local[1] : 1;
          for (int64_t r = 0; r < local[0]; ++r) {
            for (int64_t c = 0; c < columns; ++c) {
              const int64_t global =
                  local.rank() == 2 ? (begin[0] + r) * p->global_shape[1] + begin[1] + c : begin[0] + r;
              g[r * columns + c] = row_of(global);
            }
          }
        }
        const std::vector<Parameter*> all = store.all();
        const Tensor value = Tensor::zeros(device, DType::kFloat64, Shape{1});
        sum_of_squared_gradients(device, mesh, all, value.data<double>());
        double sum = value.item<double>();
        world.all_reduce(&sum, 1, DType::kFloat64, ReduceOp::kSum)->wait();
        EXPECT_DOUBLE_EQ(sum, expected);
        store.all()[0]->reduced.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
        sum_of_squared_gradients(device, mesh, all, value.data<double>());
        double bad = value.item<double>();
        world.all_reduce(&bad, 1, DType::kFloat64, ReduceOp::kSum)->wait();
        EXPECT_FALSE(std::isfinite(bad));
      });
  }
}

}  // namespace
}  // namespace triptych::test
