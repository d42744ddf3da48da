#include "kernels/optimizer.h"

#include <array>
#include <limits>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

UpdateState applied(int64_t num_updates, float gradient_factor = 1.0f) {
  UpdateState state;
  state.num_updates = num_updates;
  state.apply = 1;
  state.gradient_factor = gradient_factor;
  return state;
}

/// A parameter in device memory, and what the optimizer keeps of it.
template <typename Copy>
struct Parameter {
  Parameter(Device& device, const std::vector<float>& values)
      : master(device, values),
        m(device, std::vector<float>(values.size())),
        v(device, std::vector<float>(values.size())),
        grad(device, std::vector<float>(values.size())),
        copy(device, std::vector<Copy>(values.size())) {}

  AdamWTensor tensor(int64_t begin, int64_t end, bool with_copy = true) {
    return {.master = master.data() + begin,
            .m = m.data() + begin,
            .v = v.data() + begin,
            .grad = grad.data() + begin,
            .copy = with_copy ? copy.data() + begin : nullptr,
            .copy_dtype = dtype_of<Copy>,
            .n = end - begin};
  }
  DeviceArray<float> master, m, v, grad;
  DeviceArray<Copy> copy;
};

/// What a call of tensors of these sizes leaves, against the algorithm in double.
template <typename Copy>
void check_updates(Device& device, const std::vector<int64_t>& sizes) {
  std::vector<Parameter<Copy>> parameters;
  std::vector<std::vector<double>> master_d, m_d, v_d;
  for (const int64_t n : sizes) {
    const std::vector<float> start = test::normals<float>(n, "master" + std::to_string(n));
    parameters.emplace_back(device, start);
    master_d.push_back(test::to_doubles(start));
    m_d.emplace_back(start.size());
    v_d.emplace_back(start.size());
  }
  const double lr = 0.01f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-6f, scale = 0.25f;
  const auto decay_of = [](std::size_t t) { return t % 2 == 0 ? 0.2f : 0.0f; };
  for (int64_t step = 1; step <= 4; ++step) {
    std::vector<AdamWTensor> tensors;
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      const std::vector<float> grad = test::normals<float>(sizes[t], "grad" + std::to_string(step), 0.1);
      const double decay = decay_of(t);
      for (std::size_t i = 0; i < grad.size(); ++i) {
        const double g = scale * static_cast<double>(grad[i]);
        double &m = m_d[t][i], &v = v_d[t][i];
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        const double m_hat = m / (1 - std::pow(beta1, step)), v_hat = v / (1 - std::pow(beta2, step));
        master_d[t][i] -= lr * (m_hat / (std::sqrt(v_hat) + eps) + decay * master_d[t][i]);
      }
      device.write(parameters[t].grad.data(), grad.data(), grad.size() * sizeof(float));
      tensors.push_back(parameters[t].tensor(0, sizes[t], step % 2 == 0));
      tensors.back().weight_decay = decay_of(t);
    }
    const DeviceArray<UpdateState> state(device, {applied(step, 0.25f)});
    adamw(device.stream(),
          {.tensors = tensors, .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-6f, .state = state.data()});
  }
  const double limit = test::tolerance(DType::kFloat32).local;
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    SCOPED_TRACE(testing::Message() << "tensor " << t << " of " << sizes[t]);
    const std::vector<float> master = parameters[t].master.host();
    test::expect_close(parameters[t].m.host(), m_d[t], limit, "m");
    test::expect_close(parameters[t].v.host(), v_d[t], limit, "v");
    test::expect_close(master, master_d[t], limit, "master");
    const std::vector<Copy> copy = parameters[t].copy.host();
    for (std::size_t i = 0; i < copy.size(); ++i) ASSERT_EQ(copy[i].bits, Copy(master[i]).bits);
  }
}

TEST(AdamW, FollowsTheAlgorithmInDouble) {
  test::for_devices([](Device& device) {
    for (const int64_t n : {0, 1, 7, 65, 257, 40009}) check_updates<BFloat16>(device, {n});
    // More tensors than one launch takes, of sizes that begin and end anywhere in a block.
    std::vector<int64_t> sizes{5000, 0, 1, 4096, 4097};
    for (int64_t n = 0; n < 150; ++n) sizes.push_back(n * 7 % 40);
    check_updates<BFloat16>(device, sizes);
    if constexpr (test::kHasFloat16) check_updates<Float16>(device, {1, 130, 9001});
  });
}

/// A rank that owns a piece of a tensor updates it to the very bits that the whole would get.
TEST(AdamW, PiecesGiveTheSameBits) {
  test::for_devices([](Device& device) {
    const std::vector<float> grad = test::normals<float>(1000, "grad"), start = test::normals<float>(1000, "master");
    Parameter<BFloat16> whole(device, start), pieces(device, start);
    for (Parameter<BFloat16>* p : {&whole, &pieces}) device.write(p->grad.data(), grad.data(), 1000 * sizeof(float));
    const DeviceArray<UpdateState> state(device, {applied(1)});
    const auto update = [&](std::vector<AdamWTensor> tensors) {
      adamw(device.stream(), {.tensors = tensors, .lr = 0.1f, .state = state.data()});
    };
    update({whole.tensor(0, 1000)});
    update({pieces.tensor(0, 333), pieces.tensor(333, 334)});
    update({pieces.tensor(334, 1000)});
    EXPECT_FALSE(test::same_bits(whole.master.host(), start));
    EXPECT_TRUE(test::same_bits(whole.master.host(), pieces.master.host()));
    EXPECT_TRUE(test::same_bits(whole.m.host(), pieces.m.host()));
    EXPECT_TRUE(test::same_bits(whole.v.host(), pieces.v.host()));
    const std::vector<BFloat16> copy = pieces.copy.host();
    for (std::size_t i = 0; i < copy.size(); ++i) ASSERT_EQ(copy[i].bits, BFloat16(whole.master.host()[i]).bits);
  });
}

TEST(AdamW, KeepsElementsAtTheirMaximum) {
  test::for_devices([](Device& device) {
    Parameter<BFloat16> p(device, {1.0f, 3.0f, 2.0f, std::numeric_limits<float>::quiet_NaN()});
    AdamWTensor tensor = p.tensor(0, 4);
    tensor.maximum = 2.0f;
    const DeviceArray<UpdateState> state(device, {applied(1)});
    adamw(device.stream(), {.tensors = {&tensor, 1}, .lr = 0.1f, .state = state.data()});
    const std::vector<float> master = p.master.host();
    EXPECT_EQ(std::vector<float>(master.begin(), master.begin() + 3), (std::vector<float>{1.0f, 2.0f, 2.0f}));
    EXPECT_TRUE(std::isnan(master[3]));
    EXPECT_EQ(static_cast<float>(p.copy.host()[1]), 2.0f);
  });
}

TEST(AdamW, ChangesNothingInASkippedStep) {
  test::for_devices([](Device& device) {
    const std::vector<float> start = test::normals<float>(100, "master");
    Parameter<BFloat16> p(device, start);
    device.write(p.grad.data(), start.data(), start.size() * sizeof(float));
    UpdateState skipped = applied(3);
    skipped.apply = 0;
    const DeviceArray<UpdateState> state(device, {skipped});
    const AdamWTensor tensor = p.tensor(0, 100);
    adamw(device.stream(), {.tensors = {&tensor, 1}, .lr = 0.1f, .state = state.data()});
    EXPECT_TRUE(test::same_bits(p.master.host(), start));
    EXPECT_TRUE(test::same_bits(p.m.host(), std::vector<float>(100)));
    EXPECT_TRUE(test::same_bits(p.v.host(), std::vector<float>(100)));
    EXPECT_TRUE(test::same_bits(p.copy.host(), std::vector<BFloat16>(100)));
  });
}

TEST(AdamW, RefusesWhatTheContractExcludes) {
  test::for_devices([](Device& device) {
    Parameter<BFloat16> p(device, {1.0f});
    AdamWTensor tensor = p.tensor(0, 1);
    if (device.kind() == "cpu") {  // on a GPU the host does not see the count
      const DeviceArray<UpdateState> state(device, {applied(0)});
      EXPECT_THROW(adamw(device.stream(), {.tensors = {&tensor, 1}, .state = state.data()}), InternalError);
    }
    const DeviceArray<UpdateState> state(device, {applied(1)});
    tensor.copy_dtype = DType::kInt32;
    EXPECT_THROW(adamw(device.stream(), {.tensors = {&tensor, 1}, .state = state.data()}), InternalError);
  });
}

double sum_of(Device& device, std::span<const FloatSpan> tensors) {
  DeviceArray<double> sum(device, std::vector{-1.0});
  sum_of_squares(device.stream(), tensors, sum.data());
  return sum.host()[0];
}

TEST(SumOfSquares, AgreesWithDoubleAndShowsWhatIsNotFinite) {
  test::for_devices([](Device& device) {
    const auto expect_sum = [&](const std::vector<FloatSpan>& tensors, long double expected) {
      EXPECT_NEAR(sum_of(device, tensors), static_cast<double>(expected),
                  test::tolerance(DType::kFloat32).local * static_cast<double>(expected));
    };
    const auto squares = [](const std::vector<float>& x) {
      long double sum = 0;
      for (const float value : x) sum += static_cast<long double>(value) * static_cast<long double>(value);
      return sum;
    };
    expect_sum({}, 0);
    std::vector<DeviceArray<float>> kept;
    std::vector<FloatSpan> all;
    long double all_squares = 0;
    for (int64_t index = 0; index < 300; ++index) {
      const int64_t n =
          std::array<int64_t, 6>{0, 1, 7, 65, 257, 200003}[static_cast<std::size_t>(index < 6 ? index : index % 5)];
      const std::vector<float> x = test::normals<float>(n, "x" + std::to_string(index));
      kept.emplace_back(device, x);
      all.push_back({kept.back().data(), n});
      if (index < 6) expect_sum({all.back()}, squares(x));
      all_squares += squares(x);
    }
    expect_sum(all, all_squares);

    DeviceArray<float> x(device, std::vector<float>(200003, 3e38f));
    const FloatSpan whole{x.data(), 200003};
    EXPECT_TRUE(std::isfinite(sum_of(device, {&whole, 1})));
    for (const int64_t at : {0, 70000, 200002}) {
      for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        const float good = 1.0f;
        device.write(x.data() + at, &bad, sizeof(float));
        EXPECT_FALSE(std::isfinite(sum_of(device, {&whole, 1})));
        device.write(x.data() + at, &good, sizeof(float));
      }
    }
  });
}

/// The state and the norm after a step of this loss and squared norm.
struct Decided {
  UpdateState state;
  double norm;
};
Decided decide(Device& device, const UpdateState& before, double loss, double squared_norm, DecideUpdateArgs args) {
  const DeviceArray<double> inputs(device, {loss, squared_norm});
  DeviceArray<double> norm(device, 1);
  DeviceArray<UpdateState> state(device, {before});
  args.loss = inputs.data();
  args.squared_norm = inputs.data() + 1;
  args.norm = norm.data();
  args.state = state.data();
  decide_update(device.stream(), args);
  return {state.host()[0], norm.host()[0]};
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(DecideUpdate, ClipsTheNormAndCountsUpdates) {
  test::for_devices([](Device& device) {
    UpdateState before;
    before.num_updates = 6;
    Decided decided = decide(device, before, 1.5, 25.0, {.clip_norm = 2.0});
    EXPECT_EQ(decided.norm, 5.0);
    EXPECT_EQ(decided.state.gradient_factor, 0.4f);
    EXPECT_EQ(decided.state.apply, 1);
    EXPECT_EQ(decided.state.num_updates, 7);
    EXPECT_EQ(decided.state.num_skipped, 0);
    EXPECT_EQ(decided.state.loss_scale, 1.0f);
    for (const double clip : {0.0, 5.0, 6.0}) {
      EXPECT_EQ(decide(device, before, 1.5, 25.0, {.clip_norm = clip}).state.gradient_factor, 1.0f);
    }
    before.loss_scale = 8.0f;  // gradients, and so the norm, are eight times as large
    decided = decide(device, before, 1.5, 1600.0, {.clip_norm = 2.0});
    EXPECT_EQ(decided.norm, 5.0);
    EXPECT_EQ(decided.state.gradient_factor, 0.05f);
    EXPECT_EQ(decide(device, before, 1.5, 0.0, {.clip_norm = 2.0}).state.gradient_factor, 0.125f);
  });
}

TEST(DecideUpdate, SkipsWhatIsNotFinite) {
  test::for_devices([](Device& device) {
    UpdateState before = applied(4);
    before.num_skipped = 2;
    for (const auto& [loss, squared_norm] :
         {std::array<double, 2>{kNaN, 1.0}, {1.0, kNaN}, {kInfinity, 1.0}, {-kInfinity, 1.0}, {1.0, kInfinity}}) {
      const UpdateState state = decide(device, before, loss, squared_norm, {.clip_norm = 1.0}).state;
      EXPECT_EQ(state.apply, 0);
      EXPECT_EQ(state.num_updates, 4);
      EXPECT_EQ(state.num_skipped, 3);
      EXPECT_EQ(state.loss_scale, 1.0f);
    }
  });
}

TEST(DecideUpdate, MovesTheLossScale) {
  test::for_devices([](Device& device) {
    const DecideUpdateArgs args{.growth_interval = 3, .min_loss_scale = 2.0f, .max_loss_scale = 16.0f};
    UpdateState state;
    state.loss_scale = 8.0f;
    std::vector<float> scales;
    // Good steps, of which every third doubles it; then overflows that halve it, down to the least; then a good one.
    for (const double squared_norm :
         {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, kInfinity, kNaN, kInfinity, kInfinity, 1.0, 1.0, kInfinity, 1.0, 1.0, 1.0}) {
      state = decide(device, state, 1.0, squared_norm, args).state;
      scales.push_back(state.loss_scale);
    }
    EXPECT_EQ(scales, (std::vector<float>{8, 8, 16, 16, 16, 16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 4}));
    EXPECT_EQ(state.num_updates, 11);
    EXPECT_EQ(state.num_skipped, 5);
    EXPECT_EQ(state.num_good, 0);
  });
}

}  // namespace
}  // namespace triptych::test
