#include "parallel/pipeline/schedule.h"

#include <string_view>

#include <fmt/core.h>

namespace triptych::pipeline {

namespace {

std::string_view prefix_of(const Action& action) {
  switch (action.kind) {
    case Action::kForward:
      return "F";
    case Action::kEmbed:
      return "E";
    case Action::kLoss:
      return "L";
    case Action::kBackward:
      return "B";
    case Action::kBackwardInput:
      return "D";
    case Action::kBackwardWeight:
      return "W";
    case Action::kSendActivation:
      return action.embed ? "SE" : "SF";
    case Action::kRecvActivation:
      return action.embed ? "RE" : "RF";
    case Action::kSendGradient:
      return "SB";
    case Action::kRecvGradient:
      return "RB";
  }
  return "?";
}

}  // namespace

std::string to_string(const Action& action, bool with_stage) {
  std::string text(prefix_of(action));
  if (action.kind != Action::kLoss) text += fmt::format("{}", action.microbatch);
  if (with_stage) text += fmt::format("@{}", action.stage);
  return text;
}

bool Schedule::crosses_ranks(int stage) const {
  const auto s = static_cast<std::size_t>(stage);
  return s + 1 < rank_of_stage.size() && rank_of_stage[s] != rank_of_stage[s + 1];
}

}  // namespace triptych::pipeline
