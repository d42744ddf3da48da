#include "training/resume_rules.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tasks/standard_tasks.h"

namespace triptych::test {
namespace {

RunConfig config_of(const std::string& text) {
  return parse_run_config(text, "run.toml", standard_tasks());
}

// What the user is told of going on with `now` from a checkpoint of `then`: the error, or the differences.
std::string outcome(const std::string& then, const std::string& now, const std::vector<std::string>& allowed = {},
                    bool needs_request = true) {
  try {
    std::string text;
    for (const std::string& line : describe_changes(
             judge_changes("step_10", config_of(then).effective_toml, config_of(now), allowed, needs_request))) {
      text += line + "\n";
    }
    return text;
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST(ResumeRules, EveryKeyOfEveryTaskHasARule) {
  for (const TaskKind& kind : standard_tasks()) {
    const RunConfig config = config_of(fmt::format("task = \"{}\"", kind.name));
    for (std::size_t begin = 0; begin < config.default_toml.size();) {
      const std::size_t end = config.default_toml.find('\n', begin);
      const std::string key = config.default_toml.substr(begin, config.default_toml.find(' ', begin) - begin);
      EXPECT_TRUE(has_change_rule(key)) << key << " needs a row in src/training/resume_rules.cpp";
      begin = end + 1;
    }
  }
}

TEST(ResumeRules, TheLongestRowHolds) {
  EXPECT_EQ(change_rule("model.text.width"), ChangeRule::kRefused);
  EXPECT_EQ(change_rule("model.dropout"), ChangeRule::kOnRequest);
  EXPECT_EQ(change_rule("model.text.drop_path"), ChangeRule::kOnRequest);
  EXPECT_EQ(change_rule("model.text.norm"), ChangeRule::kRefused);
  EXPECT_EQ(change_rule("run.seed"), ChangeRule::kRefused);
  EXPECT_EQ(change_rule("run.threads"), ChangeRule::kFree);
  EXPECT_EQ(change_rule("training.global_batch"), ChangeRule::kRefused);
  EXPECT_EQ(change_rule("training.stop_after"), ChangeRule::kFree);
  EXPECT_EQ(change_rule("data.augment.hue"), ChangeRule::kOnRequest);
  EXPECT_EQ(change_rule("data.filter"), ChangeRule::kOnRequest);  // what pictures of the training look like
  EXPECT_EQ(change_rule("data.fit"), ChangeRule::kFree);          // what evaluations see of them
  EXPECT_EQ(change_rule("something.new"), ChangeRule::kOnRequest);
  EXPECT_FALSE(has_change_rule("something.new"));
  EXPECT_FALSE(has_change_rule("tasks"));
}

TEST(ResumeRules, WhatDoesNotChangeWhatIsLearnedIsTold) {
  EXPECT_EQ(outcome("", ""), "");
  EXPECT_EQ(outcome("", "parallel.dp = 2\ncheckpoint.keep = 7\nevaluation.batch = 8"),
            "  checkpoint.keep: 2 -> 7\n  evaluation.batch: 64 -> 8\n  parallel.dp: 1 -> 2\n");
}

TEST(ResumeRules, WhatDoesChangeItNeedsTheFlagsThatTheErrorSays) {
  const std::string now = "optimizer.learning_rate = 0.5\nobjective.kind = \"sigmoid\"\nrun.threads = 3";
  EXPECT_EQ(outcome("", now),
            "[step_10] the rest of the run would learn otherwise than what is in the checkpoint:\n"
            "  objective.kind: \"infonce\" -> \"sigmoid\"\n"
            "  optimizer.learning_rate: 0.001 -> 0.5\n"
            "Use the old values, or say that it is meant: --allow-change objective.kind --allow-change "
            "optimizer.learning_rate");
  const std::string one = outcome("", now, {"objective.kind"});
  EXPECT_EQ(one.find("objective.kind"), std::string::npos) << one;
  EXPECT_NE(one.find("--allow-change optimizer.learning_rate"), std::string::npos) << one;
  EXPECT_EQ(outcome("", now, {"objective.kind", "optimizer.learning_rate"}),
            "  objective.kind: \"infonce\" -> \"sigmoid\" (learns otherwise from here on)\n"
            "  optimizer.learning_rate: 0.001 -> 0.5 (learns otherwise from here on)\n"
            "  run.threads: 0 -> 3\n");
  EXPECT_EQ(outcome("", "training.steps = 2000", {}, false),
            "  training.steps: 1000 -> 2000 (learns otherwise from here on)\n")
      << "nothing is left to learn";
}

TEST(ResumeRules, WhatWouldBeAnotherRunIsRefusedWhateverIsAllowed) {
  for (const char* change : {"run.seed = 2", "training.global_batch = 128", "model.text.layers = 2"}) {
    const std::string key = std::string(change).substr(0, std::string(change).find(' '));
    const std::string text = outcome("", change, {key});
    EXPECT_NE(text.find("start a new run"), std::string::npos) << text;
    EXPECT_NE(text.find(key + " = "), std::string::npos) << text;
  }
  EXPECT_NE(outcome("", "model.text.layers = 2").find("another model"), std::string::npos);
  EXPECT_EQ(outcome("", "run.seed = 2").find("another model"), std::string::npos);
  EXPECT_NE(outcome("", "run.seed = 2").find("run.seed = 1, the config says 2"), std::string::npos);
}

TEST(ResumeRules, KeysThatCameOrWent) {
  RunConfig now = config_of("");
  std::string then = now.effective_toml;
  const std::string line = "weight_decay = 0.1\n";
  ASSERT_NE(then.find(line), std::string::npos);
  then.erase(then.find(line), line.size());
  const auto told = [&](const RunConfig& config, const std::vector<std::string>& allowed) {
    return describe_changes(judge_changes("step_10", then, config, allowed, true));
  };
  EXPECT_TRUE(told(now, {}).empty()) << "it has the value that it had before there was a key";
  EXPECT_THROW(told(config_of("optimizer.weight_decay = 0.3"), {}), UserError);
  then += "[optimizer.old]\nkey = 4\n[model.old]\nkey = 5\n";
  EXPECT_THROW(told(now, {"optimizer.old.key"}), UserError);
  EXPECT_EQ(told(now, {"optimizer.old.key", "model.old.key"}),
            (std::vector<std::string>{"  model.old.key: 5 -> gone (learns otherwise from here on)",
                                      "  optimizer.old.key: 4 -> gone (learns otherwise from here on)"}));
}

TEST(ResumeRules, AFlagForNoKeyIsAnError) {
  EXPECT_NE(outcome("", "", {"optimizer.learning_rat"}).find("must name a key"), std::string::npos);
  EXPECT_EQ(outcome("", "", {"optimizer.learning_rate"}), "") << "one that did not change is harmless";
}

}  // namespace
}  // namespace triptych::test
