#include "optim/treatment.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/user_error.h"

namespace triptych::test {
namespace {

const std::vector<NamedParameter> kParameters{{"image.embed.positions", 4},     {"image.blocks.0.out.weight", 3},
                                              {"image.blocks.1.out.weight", 2}, {"text.tokens", 2},
                                              {"text.blocks.0.out.weight", 1},  {"text.tokens", 0},
                                              {"objective.log_scale", 0}};

std::string error_of(const TreatmentOptions& options) {
  return user_error_of([&] { Treatments(options, kParameters); });
}

TEST(Treatments, ByDefaultAllAreTrainedAlike) {
  for (const Treatments& treatments : {Treatments(), Treatments({}, kParameters)}) {
    const Treatment& one = treatments.of("image.blocks.0.out.weight");
    EXPECT_EQ(one.learning_rate_scale, 1);
    EXPECT_EQ(one.weight_decay, std::nullopt);
    EXPECT_TRUE(treatments.is_trained("image.blocks.0.out.weight", 0));
    EXPECT_FALSE(treatments.thaws_at(0));
  }
}

TEST(Treatments, TheFirstGroupThatMatchesHolds) {
  const Treatments treatments({.groups = {{.pattern = "*.blocks.0.*", .learning_rate_scale = 0.5, .weight_decay = 0.25},
                                          {.pattern = "image.*", .learning_rate_scale = 0.125, .weight_decay = 0}}},
                              kParameters);
  EXPECT_EQ(treatments.of("image.blocks.0.out.weight").learning_rate_scale, 0.5);
  EXPECT_EQ(treatments.of("text.blocks.0.out.weight").learning_rate_scale, 0.5);
  EXPECT_EQ(treatments.of("text.blocks.0.out.weight").weight_decay, 0.25f);
  EXPECT_EQ(treatments.of("image.embed.positions").learning_rate_scale, 0.125);
  EXPECT_EQ(treatments.of("image.embed.positions").weight_decay, 0.0f);
  EXPECT_EQ(treatments.of("objective.log_scale").learning_rate_scale, 1);
  EXPECT_EQ(treatments.of("objective.log_scale").weight_decay, std::nullopt);
}

TEST(Treatments, LearnFasterTheNearerToTheTop) {
  const Treatments treatments({.groups = {{.pattern = "image.embed.*", .learning_rate_scale = 10}}, .layer_decay = 0.5},
                              kParameters);
  EXPECT_EQ(treatments.of("image.blocks.0.out.weight").learning_rate_scale, 0.125);
  EXPECT_EQ(treatments.of("objective.log_scale").learning_rate_scale, 1);
  EXPECT_EQ(treatments.of("image.embed.positions").learning_rate_scale, 10 / 16.0) << "both hold";
  EXPECT_EQ(treatments.of("text.tokens").learning_rate_scale, 0.25) << "a tied one lies where its first block does";
}

TEST(Treatments, AFrozenGroupIsTrainedFromItsStepOnOrNever) {
  const Treatments treatments({.groups = {{.pattern = "image.blocks.*", .frozen = true, .thaw_step = 5},
                                          {.pattern = "text.*", .frozen = true}}},
                              kParameters);
  for (const int64_t step : {0, 4, 5, 1000000}) {
    EXPECT_EQ(treatments.is_trained("image.blocks.1.out.weight", step), step >= 5) << step;
    EXPECT_FALSE(treatments.is_trained("text.tokens", step));
    EXPECT_TRUE(treatments.is_trained("image.embed.positions", step));
    EXPECT_EQ(treatments.thaws_at(step), step == 5);
  }
}

TEST(Treatments, APatternOfNoParameterIsRefusedWithTheNearest) {
  expect_parts(error_of({.groups = {{.pattern = "image.*"}, {.pattern = "txt.blocks.*"}}}),
               {"optimizer.groups.1.pattern", "`txt.blocks.*`", "Did you mean `text.blocks.*`?"});
  expect_parts(error_of({.groups = {{.pattern = "encoder.layers.*.mlp"}}}),
               {"optimizer.groups.0.pattern", "The names are image.*, objective.*, text.*"});
  expect_parts(error_of({.groups = {{.pattern = "*.blocks.*"}, {.pattern = "text.blocks.*"}}}),
               {"optimizer.groups.1.pattern", "earlier groups", "text.blocks.0.out.weight", "Put it before"});
  expect_parts(error_of({.groups = {{.pattern = "*", .frozen = true, .thaw_step = 3}}}),
               {"optimizer.groups", "found all 6 frozen"});
}

}  // namespace
}  // namespace triptych::test
