#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tasks/standard_tasks.h"
#include "training/run_config.h"

namespace triptych::test {
namespace {

constexpr const char* kText = R"(
[optimizer]
ema_decay = 0.99
[evaluation]
weights = "ema"
[[adapters]]
match = ["*.qkv.weight", "text.*.out.weight"]
rank = 4
alpha = 2.0
[[adapters]]
match = ["*.in.weight"]
[init]
from = "runs/pre"
weights = "ema"
interpolate_positions = true
[[init.map]]
old = "a.*.b"
new = "c.*"
[[init.map]]
old = "d.*"
)";

RunConfig read(const std::string& text) {
  return parse_run_config(text, "run.toml", standard_tasks());
}

TEST(FineTuningConfig, IsReadAndReadsBackToItself) {
  const RunConfig config = read(kText);
  EXPECT_EQ(read(config.effective_toml).effective_toml, config.effective_toml);
  for (const RunConfig& c : {config, read(config.effective_toml)}) {
    EXPECT_EQ(c.adamw.average_decay, 0.99);
    EXPECT_EQ(c.evaluation.weights, SavedWeights::kAverage);
    ASSERT_EQ(c.adapters.size(), 2u);
    EXPECT_EQ(c.adapters[0].match, (std::vector<std::string>{"*.qkv.weight", "text.*.out.weight"}));
    EXPECT_EQ(c.adapters[0].scale(), 0.5f);
    EXPECT_EQ(c.adapters[1].scale(), 1.0f) << "alpha is the rank where neither is given";
    EXPECT_EQ(c.init.from, "runs/pre");
    EXPECT_EQ(c.init.weights, SavedWeights::kAverage);
    EXPECT_TRUE(c.init.interpolate_positions);
    ASSERT_EQ(c.init.map.size(), 2u);
    EXPECT_EQ(c.init.map[0].new_pattern, "c.*");
    EXPECT_EQ(c.init.map[1].old_pattern, "d.*");
    EXPECT_EQ(c.init.map[1].new_pattern, "");
  }
}

TEST(FineTuningConfig, WhatIsWrongIsTold) {
  const auto expect_parts = [](const std::string& text, std::initializer_list<const char*> parts) {
    try {
      read(text);
      ADD_FAILURE() << "was taken: " << text;
    } catch (const UserError& error) {
      for (const char* part : parts) EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect_parts("[[adapters]]\nrank = 0\n", {"adapters.0.match", "must be given", "adapters.0.rank", "at least 1"});
  expect_parts("[[adapters]]\nmatch = []\n", {"adapters.0.match", "not empty"});
  expect_parts("[[init.map]]\nold = \"a\"\n", {"init.from", "must name a checkpoint"});
  expect_parts("[init]\nfrom = \"x\"\n[[init.map]]\nold = \"a.*\"\nnew = \"*.*\"\n",
               {"init.map.0.new", "no more `*` than `old`: `a.*` -> `*.*`"});
  expect_parts("optimizer.ema_decay = 1.0", {"optimizer.ema_decay", "below 1"});
  expect_parts("evaluation.weights = \"emma\"", {"evaluation.weights", "ema"});
}

}  // namespace
}  // namespace triptych::test
