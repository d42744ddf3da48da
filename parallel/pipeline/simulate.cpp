#include "parallel/pipeline/simulate.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <string>

#include <fmt/core.h>

namespace triptych {

namespace {

using std::size_t;

struct Message {
  int microbatch;
  bool embed;
  double time;
};

// What a stage has done and holds for one microbatch.
struct Cell {
  bool forward = false, embed = false, backward = false;
  bool sent_forward = false, sent_embed = false, sent_gradient = false;
  bool has_forward_input = false, has_embed_input = false, has_gradient = false;
};

struct StageState {
  size_t next = 0;  // the action that is due
  double clock = 0;
  double busy = 0;
  int num_kept = 0;
  int num_embedded = 0;
  bool loss = false;
  std::vector<Cell> cells;             // [num_microbatches]
  std::deque<Message> activations_in;  // from the stage before, on their way or waiting
  std::deque<Message> gradients_in;    // from the stage behind
};

class Simulator {
 public:
  Simulator(const Schedule& schedule, const StageCosts& costs) : schedule_(schedule), costs_(costs) {
    check_sizes();
    states_.resize(schedule.stages.size());
    for (StageState& state : states_) state.cells.resize(static_cast<size_t>(schedule.num_microbatches));
    result_.timeline.resize(states_.size());
    result_.peak_activations.resize(states_.size());
  }

  Simulation run() {
    // Each stage goes as far as it can, in turn: since a stage's order is fixed and sends never wait, the result does
    // not depend on the order in which the stages are looked at.
    bool moved = true;
    while (moved) {
      moved = false;
      for (size_t s = 0; s < states_.size(); ++s) {
        while (states_[s].next < schedule_.stages[s].size() && step(s)) moved = true;
      }
    }
    check_finished();
    double busy = 0;
    for (const StageState& state : states_) {
      result_.makespan = std::max(result_.makespan, state.clock);
      busy += state.busy;
    }
    if (result_.makespan > 0) {
      result_.bubble_fraction = std::max(0.0, 1 - busy / (static_cast<double>(states_.size()) * result_.makespan));
    }
    return std::move(result_);
  }

 private:
  void check_sizes() const {
    if (schedule_.num_stages < 1 || schedule_.num_microbatches < 1 ||
        schedule_.stages.size() != static_cast<size_t>(schedule_.num_stages)) {
      throw ScheduleError("pipeline schedule",
                          fmt::format("{} stages and {} microbatches with {} lists of actions.", schedule_.num_stages,
                                      schedule_.num_microbatches, schedule_.stages.size()));
    }
    const auto check = [&](const std::vector<double>& values, const char* name) {
      if (values.size() != schedule_.stages.size()) {
        throw UserError("pipeline costs", fmt::format("there must be a {} cost for each of the {} stages, found {}.",
                                                      name, schedule_.num_stages, values.size()));
      }
      for (const double value : values) check_cost(value, name);
    };
    check(costs_.forward, "forward");
    check(costs_.backward, "backward");
    check(costs_.embed, "embed");
    check_cost(costs_.loss, "loss");
  }

  static void check_cost(double value, const char* name) {
    if (!std::isfinite(value) || value < 0) {
      throw UserError("pipeline costs",
                      fmt::format("a {} cost must be finite and not negative, found {}.", name, value));
    }
  }

  std::string place_within(size_t s, size_t index) const {
    const std::vector<Action>& actions = schedule_.stages[s];
    if (index >= actions.size()) return "its end";
    return fmt::format("action {} ({})", index, to_string(actions[index]));
  }
  std::string place(size_t s, size_t index) const { return fmt::format("stage {}, {}", s, place_within(s, index)); }

  [[noreturn]] void fail(size_t s, std::string_view why) const {
    throw ScheduleError("pipeline schedule", fmt::format("{}: {}", place(s, states_[s].next), why));
  }

  void need(bool condition, size_t s, std::string_view why) const {
    if (!condition) fail(s, why);
  }

  void once(bool& flag, size_t s) const {
    need(!flag, s, "it was done before; each is to be done once.");
    flag = true;
  }

  bool is_last(size_t s) const { return s + 1 == states_.size(); }
  bool is_coupled() const { return schedule_.coupling == LossCoupling::kCoupled; }

  void spend(size_t s, const Action& action, double cost) {
    StageState& state = states_[s];
    result_.timeline[s].push_back({action, state.clock, state.clock + cost});
    state.clock += cost;
    state.busy += cost;
  }

  // The message that a receive waits for; nothing while it is not sent yet.
  std::optional<Message> take(size_t s, std::deque<Message>& channel, const Action& action, size_t sender) {
    if (channel.empty()) return std::nullopt;
    const Message message = channel.front();
    if (message.microbatch != action.microbatch || message.embed != action.embed) {
      const bool gradient = action.kind == Action::kRecvGradient;
      const Action sent{gradient ? Action::kSendGradient : Action::kSendActivation, message.microbatch, 0,
                        message.embed};
      fail(s, fmt::format("the next message from stage {} is {}; sends and receives must have one order.", sender,
                          to_string(sent)));
    }
    channel.pop_front();
    return message;
  }

  // Does the due action of stage s; false if it has to wait.
  bool step(size_t s) {
    StageState& state = states_[s];
    const Action& action = schedule_.stages[s][state.next];
    need(action.stage == static_cast<int>(s), s, fmt::format("it is said to be of stage {}.", action.stage));
    need(action.microbatch >= 0 && action.microbatch < schedule_.num_microbatches, s, "there is no such microbatch.");
    const bool passes_activation = action.kind == Action::kSendActivation || action.kind == Action::kRecvActivation;
    need(passes_activation || !action.embed, s, "only an activation that is sent or received can be an embed's.");
    Cell& cell = state.cells[static_cast<size_t>(action.microbatch)];
    switch (action.kind) {
      case Action::kForward:
        once(cell.forward, s);
        need(s == 0 || cell.has_forward_input, s, "its input was not received.");
        result_.peak_activations[s] = std::max(result_.peak_activations[s], ++state.num_kept);
        spend(s, action, costs_.forward[s]);
        break;
      case Action::kEmbed:
        once(cell.embed, s);
        need(is_coupled(), s, "a loss that splits into microbatches has no embedding pass.");
        need(s == 0 || cell.has_embed_input, s, "its input was not received.");
        ++state.num_embedded;
        spend(s, action, costs_.embed[s]);
        break;
      case Action::kLoss:
        need(is_coupled(), s, "a loss that splits into microbatches is part of the last stage's forwards.");
        need(is_last(s), s, "only the last stage evaluates the loss.");
        once(state.loss, s);
        for (int m = 0; m < schedule_.num_microbatches; ++m) {
          const Cell& embedded = state.cells[static_cast<size_t>(m)];
          need(embedded.embed || embedded.forward, s, fmt::format("it needs every embedding, and {} has none.", m));
        }
        spend(s, action, costs_.loss);
        break;
      case Action::kBackward:
        once(cell.backward, s);
        need(cell.forward, s, "its forward was not done.");
        if (is_last(s)) {
          need(!is_coupled() || state.loss, s, "the loss, which gives its seed, was not evaluated.");
        } else {
          need(cell.has_gradient, s, "its gradient was not received.");
        }
        --state.num_kept;
        spend(s, action, costs_.backward[s]);
        break;
      case Action::kSendActivation:
        need(!is_last(s), s, "there is no next stage.");
        need(action.embed ? cell.embed : cell.forward, s, "what it sends was not computed.");
        once(action.embed ? cell.sent_embed : cell.sent_forward, s);
        states_[s + 1].activations_in.push_back({action.microbatch, action.embed, state.clock});
        break;
      case Action::kSendGradient:
        need(s > 0, s, "there is no previous stage.");
        need(cell.backward, s, "what it sends was not computed.");
        once(cell.sent_gradient, s);
        states_[s - 1].gradients_in.push_back({action.microbatch, false, state.clock});
        break;
      case Action::kRecvActivation: {
        need(s > 0, s, "there is no previous stage.");
        bool& received = action.embed ? cell.has_embed_input : cell.has_forward_input;
        need(!received, s, "it was received before.");
        const std::optional<Message> message = take(s, state.activations_in, action, s - 1);
        if (!message) return false;
        received = true;
        state.clock = std::max(state.clock, message->time);
        break;
      }
      case Action::kRecvGradient: {
        need(!is_last(s), s, "there is no next stage.");
        need(!cell.has_gradient, s, "it was received before.");
        const std::optional<Message> message = take(s, state.gradients_in, action, s + 1);
        if (!message) return false;
        cell.has_gradient = true;
        state.clock = std::max(state.clock, message->time);
        break;
      }
    }
    ++state.next;
    return true;
  }

  void check_finished() const {
    // A stage that has come to its end without its part is the cause of the others' waiting: so it is named first.
    for (size_t s = 0; s < states_.size(); ++s) {
      if (states_[s].next == schedule_.stages[s].size()) check_complete(s);
    }
    std::string waiting;
    for (size_t s = 0; s < states_.size(); ++s) {
      if (states_[s].next == schedule_.stages[s].size()) continue;
      const bool gradient = schedule_.stages[s][states_[s].next].kind == Action::kRecvGradient;
      const size_t sender = gradient ? s + 1 : s - 1;
      waiting += fmt::format("{}{} waits for stage {}, which is at {}", waiting.empty() ? "" : "; ",
                             place(s, states_[s].next), sender, place_within(sender, states_[sender].next));
    }
    if (!waiting.empty()) throw ScheduleError("pipeline schedule", fmt::format("deadlock: {}.", waiting));
    for (size_t s = 0; s < states_.size(); ++s) {
      const StageState& state = states_[s];
      if (!state.activations_in.empty() || !state.gradients_in.empty()) {
        const bool activation = !state.activations_in.empty();
        const Message& message = activation ? state.activations_in.front() : state.gradients_in.front();
        const Action sent{activation ? Action::kSendActivation : Action::kSendGradient, message.microbatch, 0,
                          message.embed};
        throw ScheduleError("pipeline schedule", fmt::format("stage {} never receives {} of stage {}.", s,
                                                             to_string(sent), activation ? s - 1 : s + 1));
      }
    }
  }

  void check_complete(size_t s) const {
    const StageState& state = states_[s];
    const auto fail_at_end = [&](const std::string& what) {
      throw ScheduleError("pipeline schedule", fmt::format("stage {}: {} is missing.", s, what));
    };
    for (int m = 0; m < schedule_.num_microbatches; ++m) {
      const Cell& cell = state.cells[static_cast<size_t>(m)];
      if (!cell.forward) fail_at_end(fmt::format("F{}", m));
      if (!cell.backward) fail_at_end(fmt::format("B{}", m));
      if (state.num_embedded > 0 && !cell.embed) fail_at_end(fmt::format("E{}", m));
      if (!is_last(s) && !cell.sent_forward) fail_at_end(fmt::format("SF{}", m));
      if (!is_last(s) && cell.embed && !cell.sent_embed) fail_at_end(fmt::format("SE{}", m));
      if (s > 0 && !cell.sent_gradient) fail_at_end(fmt::format("SB{}", m));
    }
    if (is_last(s) && is_coupled() && !state.loss) fail_at_end("L");
  }

  const Schedule& schedule_;
  const StageCosts& costs_;
  std::vector<StageState> states_;
  Simulation result_;
};

}  // namespace

StageCosts StageCosts::uniform(int num_stages, double forward, double backward) {
  const auto repeat = [&](double value) { return std::vector<double>(static_cast<size_t>(num_stages), value); };
  return {repeat(forward), repeat(backward), repeat(forward), 0};
}

Simulation simulate(const Schedule& schedule, const StageCosts& costs) {
  return Simulator(schedule, costs).run();
}

}  // namespace triptych
