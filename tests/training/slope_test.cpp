#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/philox.h"
#include "parallel/in_process_group.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"
#include "tasks/standard_tasks.h"
#include "training/session.h"
#include "training/task_configs.h"

namespace triptych::test {
namespace {

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

void write(Parameter& parameter, const std::vector<float>& values, ParameterStore& store) {
  parameter.value.device().write(parameter.value.raw(), values.data(), values.size() * sizeof(float));
  store.refresh_compute_copies();
}

class GradientOfTheModel : public ::testing::TestWithParam<const char*> {};

// Along a direction d the loss of the whole model has the slope <gradient, d>: of each parameter, along what backward
// says, where a summand that is left out would show, and along a random direction.
TEST_P(GradientOfTheModel, IsTheSlopeOfTheLoss) {
  const RunConfig config = parse_run_config(config_of(GetParam(), 1), "slope", standard_tasks());
  const std::unique_ptr<Group> self = make_self_group("slope");
  Session session(config, *self, RankPlace{}, InitialValues::kAllDifferent);
  const Fields data = synthetic_fields(session, config);
  const auto loss = [&] { return session.executor().run_step(data.cut(1), 1).to_vector<double>()[0]; };
  loss();
  struct Wanted {
    std::vector<float> value, gradient;
  };
  std::vector<Wanted> wanted;
  double largest = 0;
  for (const Parameter* parameter : session.store().all()) {
    wanted.push_back({parameter->value.to_vector<float>(), parameter->gradient.tensor().to_vector<float>()});
    largest = std::max(largest, dot(wanted.back().gradient, wanted.back().gradient));
  }
  ASSERT_GT(largest, 0);
  const double floor = 0.1 * kOfSlope * std::sqrt(largest);  // of parameters that hardly change the loss
  for (std::size_t p = 0; p < wanted.size(); p += kIsSanitized ? 7 : 1) {
    Parameter& parameter = *session.store().all()[p];
    const auto& [value, gradient] = wanted[p];
    const double norm = std::sqrt(dot(gradient, gradient));
    for (const bool random : {false, true}) {
      std::vector<float> direction = gradient;
      for (std::size_t i = 0; random && i < direction.size(); ++i) {
        direction[i] = philox_normal(random_key(3, parameter.name, 0), i);
      }
      const double length = std::sqrt(dot(direction, direction));
      if (length == 0) continue;  // such as a bias of keys, which changes no attention
      const auto at = [&](double step) {
        std::vector<float> moved = value;
        for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += static_cast<float>(step * direction[i] / length);
        write(parameter, moved, session.store());
        const double result = loss();
        write(parameter, value, session.store());
        return result;
      };
      const double size = std::sqrt(dot(value, value)), expected = dot(gradient, direction) / length;
      // A shorter step where the longer one crosses a kink: of |x|, of the bounds of two boxes, of who is paired with
      // whom.
      double slope = std::numeric_limits<double>::infinity();
      for (const double share : {0.002, 0.0003}) {
        const double h = size > 0 ? share * size : 5 * share;
        const double far = (at(2 * h) - at(-2 * h)) / (4 * h), near = (at(h) - at(-h)) / (2 * h);
        const double found = (4 * near - far) / 3;
        if (std::abs(found - expected) < std::abs(slope - expected)) slope = found;
        if (std::abs(slope - expected) <= kOfSlope * norm + floor) break;
      }
      EXPECT_NEAR(slope, expected, kOfSlope * norm + floor) << parameter.name << (random ? ", random" : "");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, GradientOfTheModel,
                         ::testing::Values("contrastive", "classify", "caption", "coca", "masked_image", "masked_text",
                                           "answer", "align", "language", "detect", "ground"),
                         [](const auto& task) { return std::string(task.param); });

}  // namespace
}  // namespace triptych::test
