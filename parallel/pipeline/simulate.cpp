#include "parallel/pipeline/simulate.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/core.h>

namespace triptych::pipeline {

namespace {

using std::size_t;

struct Message {
  Action sent;
  double time;
};

// From one rank to another, in order: the activations and the gradients that are on their way or wait.
struct Channels {
  std::deque<Message> activations, gradients;
};

// What a stage has done and holds for one microbatch.
struct Cell {
  bool forward = false, embed = false;
  bool backward = false, backward_input = false, backward_weight = false;
  bool sent_forward = false, sent_embed = false, sent_gradient = false;
  bool received_forward = false, received_embed = false, received_gradient = false;

  bool has_input_gradient() const { return backward || backward_input; }
};

struct StageState {
  int num_kept = 0;
  std::vector<Cell> cells;  // [num_microbatches]
};

struct RankState {
  size_t next = 0;  // the action that is due
  double clock = 0;
  double busy = 0;
  int num_kept = 0;
  double kept_graphs = 0;
};

class Simulator {
 public:
  Simulator(const Schedule& schedule, const StageCosts& costs) : schedule_(schedule), costs_(costs) {
    check_sizes();
    check_costs();
    stages_.resize(static_cast<size_t>(schedule.num_stages));
    for (StageState& stage : stages_) stage.cells.resize(static_cast<size_t>(schedule.num_microbatches));
    ranks_.resize(schedule.ranks.size());
    result_.timeline.resize(ranks_.size());
    result_.peak_activations.resize(ranks_.size());
    result_.peak_stage_activations.resize(stages_.size());
    result_.peak_graphs.resize(ranks_.size());
  }

  Simulation run() {
    // Each rank goes as far as it can, in turn: since a rank's order is fixed and sends never wait, the result does
    // not depend on the order in which the ranks are looked at.
    bool moved = true;
    while (moved) {
      moved = false;
      for (size_t r = 0; r < ranks_.size(); ++r) {
        while (!at_end(r) && step(r)) moved = true;
      }
    }
    check_finished();
    double busy = 0;
    for (const RankState& rank : ranks_) {
      result_.makespan = std::max(result_.makespan, rank.clock);
      busy += rank.busy;
    }
    for (const std::vector<TimedAction>& row : result_.timeline) {
      result_.longest_span = std::max(result_.longest_span, row.back().end - row.front().start);
    }
    if (result_.makespan > 0) {
      result_.bubble_fraction = std::max(0.0, 1 - busy / (static_cast<double>(ranks_.size()) * result_.makespan));
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] static void refuse(const std::string& what) { throw ScheduleError("pipeline schedule", what); }

  void check_sizes() const {
    const Schedule& s = schedule_;
    if (s.num_ranks < 1 || s.num_stages < 1 || s.num_microbatches < 1 ||
        s.ranks.size() != static_cast<size_t>(s.num_ranks) ||
        s.rank_of_stage.size() != static_cast<size_t>(s.num_stages)) {
      refuse(fmt::format("{} ranks, {} stages and {} microbatches with {} lists of actions and the ranks of {} stages.",
                         s.num_ranks, s.num_stages, s.num_microbatches, s.ranks.size(), s.rank_of_stage.size()));
    }
    std::vector<bool> owns(s.ranks.size());
    for (size_t stage = 0; stage < s.rank_of_stage.size(); ++stage) {
      const int rank = s.rank_of_stage[stage];
      if (rank < 0 || rank >= s.num_ranks) {
        refuse(fmt::format("stage {} is said to be of rank {} of {}.", stage, rank, s.num_ranks));
      }
      owns[static_cast<size_t>(rank)] = true;
    }
    const auto idle = std::find(owns.begin(), owns.end(), false);
    if (idle != owns.end()) refuse(fmt::format("rank {} owns no stage.", idle - owns.begin()));
  }

  void check_costs() const {
    const auto check_cost = [](double value, const char* name) {
      if (!std::isfinite(value) || value < 0) {
        throw UserError("pipeline costs",
                        fmt::format("a {} cost must be finite and not negative, found {}.", name, value));
      }
    };
    const auto check = [&](const std::vector<double>& values, const char* name) {
      if (values.size() != static_cast<size_t>(schedule_.num_stages)) {
        throw UserError("pipeline costs", fmt::format("there must be a {} cost for each of the {} stages, found {}.",
                                                      name, schedule_.num_stages, values.size()));
      }
      for (const double value : values) check_cost(value, name);
    };
    check(costs_.forward, "forward");
    check(costs_.backward, "backward");
    check(costs_.embed, "embed");
    check(costs_.backward_input, "backward_input");
    check(costs_.backward_weight, "backward_weight");
    check_cost(costs_.loss, "loss");
    check_cost(costs_.graph_between_halves, "graph_between_halves");
  }

  std::string place_within(size_t r, size_t index) const {
    const std::vector<Action>& actions = schedule_.ranks[r];
    if (index >= actions.size()) return "its end";
    return fmt::format("action {} ({} of stage {})", index, to_string(actions[index]), actions[index].stage);
  }
  // Where a rank is.
  std::string place(size_t r) const { return fmt::format("rank {}, {}", r, place_within(r, ranks_[r].next)); }

  [[noreturn]] void fail(size_t r, std::string_view why) const { refuse(fmt::format("{}: {}", place(r), why)); }
  void need(bool condition, size_t r, std::string_view why) const {
    if (!condition) fail(r, why);
  }
  void once(bool& flag, size_t r) const {
    need(!flag, r, "it was done before; each is to be done once.");
    flag = true;
  }

  bool is_coupled() const { return schedule_.coupling == LossCoupling::kCoupled; }
  bool is_last(int stage) const { return stage + 1 == schedule_.num_stages; }
  bool at_end(size_t r) const { return ranks_[r].next == schedule_.ranks[r].size(); }
  size_t rank_of(int stage) const { return static_cast<size_t>(schedule_.rank_of_stage[static_cast<size_t>(stage)]); }
  StageState& stage_of(const Action& action) { return stages_[static_cast<size_t>(action.stage)]; }
  const Cell& cell(int stage, int microbatch) const {
    return stages_[static_cast<size_t>(stage)].cells[static_cast<size_t>(microbatch)];
  }
  Cell& cell(const Action& action) { return stage_of(action).cells[static_cast<size_t>(action.microbatch)]; }

  // Does the due action of rank r; false if it has to wait.
  bool step(size_t r) {
    const Action& action = schedule_.ranks[r][ranks_[r].next];
    check_names(r, action);
    switch (action.kind) {
      case Action::kForward:
      case Action::kEmbed:
        do_forward(r, action);
        break;
      case Action::kLoss:
        do_loss(r, action);
        break;
      case Action::kBackward:
      case Action::kBackwardInput:
        do_backward(r, action);
        break;
      case Action::kBackwardWeight:
        do_backward_weight(r, action);
        break;
      case Action::kSendActivation:
      case Action::kSendGradient:
        send(r, action);
        break;
      case Action::kRecvActivation:
      case Action::kRecvGradient:
        if (!receive(r, action)) return false;
        break;
    }
    ++ranks_[r].next;
    return true;
  }

  void check_names(size_t r, const Action& action) const {
    need(action.stage >= 0 && action.stage < schedule_.num_stages, r, "there is no such stage.");
    if (rank_of(action.stage) != r) fail(r, fmt::format("this stage is of rank {}.", rank_of(action.stage)));
    need(action.microbatch >= 0 && action.microbatch < schedule_.num_microbatches, r, "there is no such microbatch.");
    const bool passes_activation = action.kind == Action::kSendActivation || action.kind == Action::kRecvActivation;
    need(passes_activation || !action.embed, r, "only an activation that is sent or received can be an embed's.");
  }

  void spend(size_t r, const Action& action, double cost) {
    RankState& rank = ranks_[r];
    result_.timeline[r].push_back({action, rank.clock, rank.clock + cost});
    rank.clock += cost;
    rank.busy += cost;
  }

  void do_forward(size_t r, const Action& action) {
    const bool embed = action.kind == Action::kEmbed;
    const int s = action.stage;
    Cell& here = cell(action);
    once(embed ? here.embed : here.forward, r);
    need(!embed || is_coupled(), r, "a loss that splits into microbatches has no embedding pass.");
    check_passes(r, action);
    if (s > 0 && schedule_.crosses_ranks(s - 1)) {
      need(embed ? here.received_embed : here.received_forward, r, "its input was not received.");
    } else if (s > 0) {
      const Cell& before = cell(s - 1, action.microbatch);
      need(embed ? before.embed : before.forward, r, "its input was not computed by the stage before, on this rank.");
    }
    const auto index = static_cast<size_t>(s);
    if (embed) {
      embeds_ = true;
    } else {
      int& peak = result_.peak_activations[r];
      int& stage_peak = result_.peak_stage_activations[index];
      peak = std::max(peak, ++ranks_[r].num_kept);
      stage_peak = std::max(stage_peak, ++stages_[index].num_kept);
      keep_graphs(r, 1);
    }
    spend(r, action, embed ? costs_.embed[index] : costs_.forward[index]);
  }

  // A microbatch that is embedded is one whose forward runs again, for what the loss has not seen. So the two come in
  // this order, and one of them at a time lies between stages of one rank.
  void check_passes(size_t r, const Action& action) const {
    const int s = action.stage;
    const Cell& here = cell(s, action.microbatch);
    if (action.kind == Action::kEmbed) {
      need(!here.forward, r, "its forward was done before; a microbatch is embedded first.");
      return;
    }
    if (!here.embed) return;
    need(!is_last(s) || loss_, r, "it was embedded for the loss, which was not evaluated; its forward comes behind.");
    need(is_last(s) || schedule_.crosses_ranks(s) || cell(s + 1, action.microbatch).embed, r,
         "its embed waits for the stage behind, on this rank; the forward comes behind that.");
  }

  void do_loss(size_t r, const Action& action) {
    need(is_coupled(), r, "a loss that splits into microbatches is part of the last stage's forwards.");
    need(is_last(action.stage), r, "only the last stage evaluates the loss.");
    once(loss_, r);
    for (int m = 0; m < schedule_.num_microbatches; ++m) {
      const Cell& embedded = cell(action.stage, m);
      if (!embedded.embed && !embedded.forward) {
        fail(r, fmt::format("it needs every embedding, and {} has none.", m));
      }
    }
    spend(r, action, costs_.loss);
  }

  void do_backward(size_t r, const Action& action) {
    const bool whole = action.kind == Action::kBackward;
    const int s = action.stage;
    Cell& here = cell(action);
    need(!(whole ? here.backward_input : here.backward), r,
         "its input half was done before; a backward is whole or in halves.");
    once(whole ? here.backward : here.backward_input, r);
    need(here.forward, r, "its forward was not done.");
    if (is_last(s)) {
      need(!is_coupled() || loss_, r,
           "the coupled loss, which gives its seed, was not evaluated: L must come first, on the last stage.");
    } else if (schedule_.crosses_ranks(s)) {
      need(here.received_gradient, r, "its gradient was not received.");
    } else {
      need(cell(s + 1, action.microbatch).has_input_gradient(), r,
           "its gradient was not computed by the stage behind, on this rank.");
    }
    if (whole) {
      free_graph(r, action, 1);
    } else {
      keep_graphs(r, costs_.graph_between_halves - 1);
    }
    spend(r, action, (whole ? costs_.backward : costs_.backward_input)[static_cast<size_t>(s)]);
  }

  void do_backward_weight(size_t r, const Action& action) {
    Cell& here = cell(action);
    need(!here.backward, r, "its weight half was done before; a backward is whole or in halves.");
    once(here.backward_weight, r);
    need(here.backward_input, r, "its input half was not done.");
    free_graph(r, action, costs_.graph_between_halves);
    spend(r, action, costs_.backward_weight[static_cast<size_t>(action.stage)]);
  }

  void free_graph(size_t r, const Action& action, double memory) {
    --ranks_[r].num_kept;
    --stage_of(action).num_kept;
    keep_graphs(r, -memory);
  }

  void keep_graphs(size_t r, double memory) {
    double& kept = ranks_[r].kept_graphs;
    kept += memory;
    result_.peak_graphs[r] = std::max(result_.peak_graphs[r], kept);
  }

  // The stage at the other end of a message: the one it goes to or comes from.
  static int other_end(const Action& action) {
    return action.stage + (action.kind == Action::kSendActivation || action.kind == Action::kRecvGradient ? 1 : -1);
  }

  // Checks that a message can lie between the two stages.
  void check_ends(size_t r, const Action& action) const {
    const int other = other_end(action);
    need(other < schedule_.num_stages, r, "there is no next stage.");
    need(other >= 0, r, "there is no previous stage.");
    if (rank_of(other) == r) {
      fail(r, fmt::format("stage {} is on the same rank, where values are handed over without a message.", other));
    }
  }

  void send(size_t r, const Action& action) {
    check_ends(r, action);
    Cell& here = cell(action);
    const bool gradient = action.kind == Action::kSendGradient;
    need(gradient       ? here.has_input_gradient()
         : action.embed ? here.embed
                        : here.forward,
         r, "what it sends was not computed.");
    once(gradient ? here.sent_gradient : action.embed ? here.sent_embed : here.sent_forward, r);
    Channels& channels = channels_[{r, rank_of(other_end(action))}];
    (gradient ? channels.gradients : channels.activations).push_back({action, ranks_[r].clock});
  }

  // Takes the message that the receive names; false while it is not sent yet.
  bool receive(size_t r, const Action& action) {
    check_ends(r, action);
    Cell& here = cell(action);
    const bool gradient = action.kind == Action::kRecvGradient;
    bool& received = gradient ? here.received_gradient : action.embed ? here.received_embed : here.received_forward;
    need(!received, r, "it was received before.");
    const size_t sender = rank_of(other_end(action));
    Channels& channels = channels_[{sender, r}];
    std::deque<Message>& channel = gradient ? channels.gradients : channels.activations;
    if (channel.empty()) return false;
    const Message message = channel.front();
    const Action& sent = message.sent;
    if (sent.stage != other_end(action) || sent.microbatch != action.microbatch || sent.embed != action.embed) {
      fail(r, fmt::format("the next message from rank {} is {} of stage {}; sends and receives must have one order.",
                          sender, to_string(sent), sent.stage));
    }
    channel.pop_front();
    received = true;
    ranks_[r].clock = std::max(ranks_[r].clock, message.time);
    return true;
  }

  // No message is left over where this finds nothing: each is needed by a computation that has to be there.
  void check_finished() const {
    // A rank that has come to its end without its part is the cause of the others' waiting: so it is named first.
    for (size_t r = 0; r < ranks_.size(); ++r) {
      if (at_end(r)) check_complete(r);
    }
    constexpr int kMostTold = 8;  // a deadlock is between few, and all others wait for them
    std::string waiting;
    int num_waiting = 0;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      if (at_end(r) || ++num_waiting > kMostTold) continue;
      const size_t sender = rank_of(other_end(schedule_.ranks[r][ranks_[r].next]));
      waiting += fmt::format("{}{} waits for rank {}, which is at {}", waiting.empty() ? "" : "; ", place(r), sender,
                             place_within(sender, ranks_[sender].next));
    }
    if (num_waiting > kMostTold) waiting += fmt::format("; and {} more ranks wait", num_waiting - kMostTold);
    if (!waiting.empty()) refuse(fmt::format("deadlock: {}.", waiting));
  }

  void check_complete(size_t r) const {
    for (int s = 0; s < schedule_.num_stages; ++s) {
      if (rank_of(s) == r) check_stage_complete(r, s);
    }
  }

  void check_stage_complete(size_t r, int s) const {
    const auto missing = [&](const std::string& what) {
      refuse(fmt::format("rank {}, stage {}: {} is missing.", r, s, what));
    };
    const bool sends_before = s > 0 && schedule_.crosses_ranks(s - 1), sends_after = schedule_.crosses_ranks(s);
    for (int m = 0; m < schedule_.num_microbatches; ++m) {
      const Cell& here = cell(s, m);
      if (embeds_ && !here.embed) missing(fmt::format("E{}", m));
      if (sends_after && here.embed && !here.sent_embed) missing(fmt::format("SE{}", m));
      if (!here.forward) missing(fmt::format("F{}", m));
      if (sends_after && !here.sent_forward) missing(fmt::format("SF{}", m));
    }
    if (is_last(s) && is_coupled() && !loss_) missing("L");
    for (int m = 0; m < schedule_.num_microbatches; ++m) {
      const Cell& here = cell(s, m);
      if (!here.has_input_gradient()) missing(fmt::format("B{}", m));
      if (sends_before && !here.sent_gradient) missing(fmt::format("SB{}", m));
      if (!here.backward && !here.backward_weight) missing(fmt::format("W{}", m));
    }
  }

  const Schedule& schedule_;
  const StageCosts& costs_;
  std::vector<StageState> stages_;
  std::vector<RankState> ranks_;
  std::map<std::pair<size_t, size_t>, Channels> channels_;  // by sender and receiver
  bool loss_ = false, embeds_ = false;
  Simulation result_;
};

}  // namespace

StageCosts StageCosts::uniform(int num_stages, double forward, double backward, double input_share) {
  const auto repeat = [&](double value) { return std::vector<double>(static_cast<size_t>(num_stages), value); };
  return {.forward = repeat(forward),
          .backward = repeat(backward),
          .embed = repeat(forward),
          .backward_input = repeat(input_share * backward),
          .backward_weight = repeat((1 - input_share) * backward)};
}

Simulation simulate(const Schedule& schedule, const StageCosts& costs) {
  return Simulator(schedule, costs).run();
}

}  // namespace triptych::pipeline
