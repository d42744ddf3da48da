#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::test {

/// The names of actions, separated by spaces.
inline std::string words(const std::vector<Action>& actions, bool with_stage = false) {
  std::string text;
  for (const Action& action : actions) text += (text.empty() ? "" : " ") + to_string(action, with_stage);
  return text;
}

/// `words` turned round: `RF2@5`, or without a stage one of stage `rank`.
inline std::vector<Action> parse_actions(const std::string& text, int rank) {
  constexpr std::pair<std::string_view, Action> kPrefixes[] = {
      {"SF", {.kind = Action::kSendActivation}},
      {"SE", {.kind = Action::kSendActivation, .embed = true}},
      {"RF", {.kind = Action::kRecvActivation}},
      {"RE", {.kind = Action::kRecvActivation, .embed = true}},
      {"SB", {.kind = Action::kSendGradient}},
      {"RB", {.kind = Action::kRecvGradient}},
      {"F", {.kind = Action::kForward}},
      {"E", {.kind = Action::kEmbed}},
      {"L", {.kind = Action::kLoss}},
      {"B", {.kind = Action::kBackward}},
      {"D", {.kind = Action::kBackwardInput}},
      {"W", {.kind = Action::kBackwardWeight}},
  };
  std::vector<Action> actions;
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    for (const auto& [prefix, meant] : kPrefixes) {
      if (!word.starts_with(prefix)) continue;
      Action action = meant;
      const std::string numbers = word.substr(prefix.size());
      const std::size_t mark = numbers.find('@');
      if (mark != 0 && !numbers.empty()) action.microbatch = std::stoi(numbers);
      action.stage = mark == std::string::npos ? rank : std::stoi(numbers.substr(mark + 1));
      actions.push_back(action);
      break;
    }
  }
  return actions;
}

/// A schedule written by hand: a text a rank.
inline Schedule by_hand(LossCoupling coupling, std::vector<int> rank_of_stage, int num_microbatches,
                        const std::vector<std::string>& ranks) {
  Schedule schedule{.name = "by hand",
                    .coupling = coupling,
                    .num_ranks = static_cast<int>(ranks.size()),
                    .num_stages = static_cast<int>(rank_of_stage.size()),
                    .num_microbatches = num_microbatches,
                    .rank_of_stage = std::move(rank_of_stage)};
  for (const std::string& text : ranks) {
    schedule.ranks.push_back(parse_actions(text, static_cast<int>(schedule.ranks.size())));
  }
  return schedule;
}

/// GPipe over stages that any ranks own: stage after stage, each with all microbatches, and back.
inline Schedule gpipe_over(std::vector<int> rank_of_stage, int num_ranks, int num_microbatches, LossCoupling coupling) {
  const int num_stages = static_cast<int>(rank_of_stage.size());
  Schedule schedule{"gpipe_over", coupling, num_ranks, num_stages, num_microbatches, std::move(rank_of_stage), {}};
  schedule.ranks.resize(static_cast<std::size_t>(num_ranks));
  for (int s = 0; s < num_stages; ++s) {
    for (int m = 0; m < num_microbatches; ++m) StageActions(schedule, s).forward(m);
  }
  if (coupling == LossCoupling::kCoupled) StageActions(schedule, num_stages - 1).loss();
  for (int s = num_stages; s-- > 0;) {
    for (int m = 0; m < num_microbatches; ++m) StageActions(schedule, s).backward(m);
  }
  return schedule;
}

/// The same with stage s on rank s % num_ranks.
inline Schedule looped_gpipe(int num_ranks, int stages_a_rank, int num_microbatches, LossCoupling coupling) {
  std::vector<int> rank_of_stage;
  for (int s = 0; s < num_ranks * stages_a_rank; ++s) rank_of_stage.push_back(s % num_ranks);
  return gpipe_over(rank_of_stage, num_ranks, num_microbatches, coupling);
}

}  // namespace triptych::test
