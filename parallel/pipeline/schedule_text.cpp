#include "parallel/pipeline/schedule_text.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/simulate.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::pipeline {

namespace {

constexpr std::pair<char, Action::Kind> kLetters[] = {
    {'F', Action::kForward},  {'E', Action::kEmbed},         {'L', Action::kLoss},
    {'B', Action::kBackward}, {'D', Action::kBackwardInput}, {'W', Action::kBackwardWeight},
};

bool is_computation(const Action& action) {
  return std::ranges::any_of(kLetters, [&](const auto& letter) { return letter.second == action.kind; });
}

struct Line {
  int number;  // in the file, from 1
  std::vector<std::string_view> words;
};

std::vector<Line> lines_of(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  std::vector<Line> lines;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view rest = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    rest = rest.substr(0, rest.find('#'));
    Line line{number, {}};
    while (true) {
      rest.remove_prefix(std::min(rest.find_first_not_of(kBlank), rest.size()));
      if (rest.empty()) break;
      const std::size_t size = std::min(rest.find_first_of(kBlank), rest.size());
      line.words.push_back(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    if (!line.words.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

// A whole number from 0 below `limit`, all of the text; none otherwise.
std::optional<int> number_in(std::string_view text, int limit) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value >= limit) return std::nullopt;
  return value;
}

std::optional<Action> parse_word(std::string_view word, int rank) {
  const auto* letter = std::ranges::find(kLetters, word.front(), &std::pair<char, Action::Kind>::first);
  if (letter == std::end(kLetters)) return std::nullopt;
  const std::size_t mark = std::min(word.find('@'), word.size());
  const std::string_view microbatch = word.substr(1, mark - 1);
  const std::optional<int> stage =
      mark == word.size() ? rank : number_in(word.substr(mark + 1), kMaxPipelineRanks * kMaxVirtualStages);
  const bool is_loss = letter->second == Action::kLoss;
  const std::optional<int> index = is_loss && microbatch.empty() ? 0 : number_in(microbatch, kMaxMicrobatches);
  if (!stage || !index || (is_loss && !microbatch.empty())) return std::nullopt;
  return Action{.kind = letter->second, .microbatch = *index, .stage = *stage};
}

void add(StageActions& stage, const Action& action) {
  switch (action.kind) {
    case Action::kForward:
      return stage.forward(action.microbatch);
    case Action::kEmbed:
      return stage.embed(action.microbatch);
    case Action::kLoss:
      return stage.loss();
    case Action::kBackward:
      return stage.backward(action.microbatch);
    case Action::kBackwardInput:
      return stage.backward_input(action.microbatch);
    default:
      return stage.backward_weight(action.microbatch);
  }
}

}  // namespace

std::string to_text(const Schedule& schedule) {
  bool has_stage_a_rank = schedule.num_stages == schedule.num_ranks;
  for (std::size_t s = 0; s < schedule.rank_of_stage.size(); ++s) {
    has_stage_a_rank = has_stage_a_rank && schedule.rank_of_stage[s] == static_cast<int>(s);
  }
  std::string text;
  for (const std::vector<Action>& rank : schedule.ranks) {
    std::string line;
    for (const Action& action : rank) {
      if (is_computation(action)) line += (line.empty() ? "" : " ") + to_string(action, !has_stage_a_rank);
    }
    text += line + "\n";
  }
  return text;
}

Schedule parse_schedule(std::string_view text, const std::string& where, std::optional<LossCoupling> coupling) {
  const std::vector<Line> lines = lines_of(text);
  if (lines.empty()) throw UserError(where, "must have a line of actions for every rank, found none.");
  if (lines.size() > kMaxPipelineRanks) {
    throw UserError(where,
                    fmt::format("must have at most {} ranks, a line each, found {}.", kMaxPipelineRanks, lines.size()));
  }
  Schedule schedule{.name = where, .num_ranks = static_cast<int>(lines.size())};
  std::map<int, int> owners;  // by stage
  std::vector<std::vector<Action>> computations;
  bool has_loss = false;
  for (std::size_t r = 0; r < lines.size(); ++r) {
    const auto rank = static_cast<int>(r);
    std::vector<Action>& mine = computations.emplace_back();
    for (const std::string_view word : lines[r].words) {
      const std::string place = fmt::format("{}:{}", where, lines[r].number);
      const std::optional<Action> action = parse_word(word, rank);
      if (!action) {
        throw UserError(place,
                        fmt::format("must have words such as F0, B0, D0, W0, E0 or L, with @ and the stage where "
                                    "a rank has several, found '{}'.",
                                    word.substr(0, 40)));
      }
      const auto [owner, is_new] = owners.emplace(action->stage, rank);
      if (!is_new && owner->second != rank) {
        throw UserError(place, fmt::format("stage {} must be of one rank, found it on rank {} and on rank {}.",
                                           action->stage, owner->second, rank));
      }
      schedule.num_microbatches = std::max(schedule.num_microbatches, action->microbatch + 1);
      has_loss = has_loss || action->kind == Action::kLoss;
      mine.push_back(*action);
    }
  }
  schedule.coupling = coupling.value_or(has_loss ? LossCoupling::kCoupled : LossCoupling::kSplit);
  schedule.num_stages = owners.rbegin()->first + 1;
  if (static_cast<std::size_t>(schedule.num_stages) != owners.size()) {
    throw UserError(where,
                    fmt::format("must name every stage from 0, found {} of {}.", owners.size(), schedule.num_stages));
  }
  if (int64_t{schedule.num_stages} * schedule.num_microbatches > kMaxScheduleCells) {
    throw UserError(where, fmt::format("stages times microbatches must be at most {}, found {} * {}.",
                                       kMaxScheduleCells, schedule.num_stages, schedule.num_microbatches));
  }
  for (const auto& [stage, rank] : owners) schedule.rank_of_stage.push_back(rank);
  schedule.ranks.resize(lines.size());
  for (const std::vector<Action>& mine : computations) {
    for (const Action& action : mine) {
      StageActions stage(schedule, action.stage);
      add(stage, action);
    }
  }
  try {
    simulate(schedule, StageCosts::uniform(schedule.num_stages, 1, 2));
  } catch (const ScheduleError& error) {
    throw UserError(where,
                    fmt::format("cannot be carried out: {} Sends (S) and receives (R) stand behind and in front of "
                                "what they pass.",
                                error.what()));
  }
  return schedule;
}

}  // namespace triptych::pipeline
