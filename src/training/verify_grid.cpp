#include "training/verify_grid.h"

#include <charconv>
#include <map>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/covering_choices.h"
#include "base/error.h"
#include "parallel/pipeline/schedules.h"

namespace triptych::training {
namespace {

// A value of a factor. Settings of which one is nothing without the other (ZeRO without replicas) are one factor, so
// that what it meets it meets at work.
struct Setting {
  std::string name;
  std::vector<std::string> overrides;
  int num_ranks = 1;  // that it multiplies those of others by
};
using Factor = std::vector<Setting>;

Factor sizes_factor(const std::string& name, const std::string& key, const std::vector<int>& sizes, bool of_ranks) {
  Factor factor;
  for (const int size : sizes) {
    factor.push_back(
        {fmt::format("{} {}", name, size), {fmt::format("parallel.{}={}", key, size)}, of_ranks ? size : 1});
  }
  return factor;
}

// Of each factor the first asks least of the model, the batch and the ranks.
std::vector<Factor> factors_of(const GridSizes& sizes) {
  Factor schedules, replicas, tensors, recomputes;
  for (const int stages : {1, 2}) {
    for (const ScheduleKind& kind : schedule_kinds()) {
      if (!kind.can_have(stages)) continue;
      schedules.push_back(
          {stages == 1 ? std::string(kind.name) : fmt::format("{} x {}", kind.name, stages),
           {fmt::format("parallel.schedule=\"{}\"", kind.name), fmt::format("parallel.virtual_stages={}", stages)}});
    }
  }
  const auto add_replicas = [&](int dp, int zero, int group) {
    std::string name = fmt::format("dp {}", dp);
    if (zero > 0) name += fmt::format(" zero {}", zero);
    if (group > 0) name += fmt::format(" zero_group {}", group);
    replicas.push_back({name,
                        {fmt::format("parallel.dp={}", dp), fmt::format("parallel.zero={}", zero),
                         fmt::format("parallel.zero_group={}", group)},
                        dp});
  };
  for (const int dp : sizes.dp) {
    if (dp > 2 && dp % 2 == 0) {
      add_replicas(dp, 3, dp / 2);
      continue;
    }
    for (int zero = 0; zero <= (dp > 1 ? 3 : 0); ++zero) add_replicas(dp, zero, 0);
  }
  for (const int tp : sizes.tp) {
    for (const bool sequence : {false, true}) {
      for (const int pieces : {1, sequence ? 3 : 2}) {
        if (tp == 1 && (sequence || pieces > 1)) continue;
        std::string name = fmt::format("tp {}{}", tp, sequence ? " sequence_parallel" : "");
        if (pieces > 1) name += fmt::format(" tp_pieces {}", pieces);
        tensors.push_back({name,
                           {fmt::format("parallel.tp={}", tp), fmt::format("parallel.sequence_parallel={}", sequence),
                            fmt::format("parallel.tp_pieces={}", pieces)},
                           tp});
      }
    }
  }
  for (const Recompute recompute : kRecomputes) {
    const std::string_view name = recompute_name(recompute);
    recomputes.push_back({fmt::format("recompute {}", name), {fmt::format("parallel.recompute=\"{}\"", name)}});
  }
  return {schedules,
          sizes_factor("pp", "pp", sizes.pp, true),
          replicas,
          sizes_factor("cp", "cp", sizes.cp, true),
          tensors,
          recomputes,
          sizes_factor("microbatches", "microbatches", sizes.microbatches, false)};
}

// What the config says of a choice.
struct Reading {
  ParallelOptions parallel;
  bool fits = true;     // the ranks there are
  std::string refusal;  // empty: none
  bool is_allowed() const { return fits && refusal.empty(); }
};

Reading read_choice(const std::vector<Factor>& factors, const Choice& choice, const ReadConfig& read, int most_ranks) {
  std::vector<std::string> overrides{"parallel.cuts=[]", "parallel.memory_budget_mb=0"};
  int num_ranks = 1;
  for (std::size_t f = 0; f < factors.size(); ++f) {
    const Setting& setting = factors[f][static_cast<std::size_t>(choice[f])];
    overrides.insert(overrides.end(), setting.overrides.begin(), setting.overrides.end());
    num_ranks *= setting.num_ranks;
  }
  if (num_ranks > most_ranks) return {.fits = false};
  try {
    return {.parallel = read(overrides, num_ranks).parallel};
  } catch (const UserError& error) {
    return {.refusal = error.what()};
  }
}

}  // namespace

VerifyGrid verify_grid(const ReadConfig& read, int num_ranks, GridKind kind, const GridSizes& sizes) {
  const std::vector<Factor> factors = factors_of(sizes);
  std::vector<int> num_values;
  for (const Factor& factor : factors) num_values.push_back(static_cast<int>(factor.size()));
  std::map<Choice, Reading> readings;  // of what was asked for so far
  const auto reading_of = [&](const Choice& choice) -> const Reading& {
    const auto [found, is_new] = readings.try_emplace(choice);
    if (is_new) found->second = read_choice(factors, choice, read, num_ranks);
    return found->second;
  };
  const ChoiceRule is_allowed = [&](const Choice& choice) { return reading_of(choice).is_allowed(); };

  VerifyGrid grid;
  const std::vector<Choice> choices =
      kind == GridKind::kFull ? all_choices(num_values, is_allowed) : covering_choices(num_values, is_allowed);
  for (const Choice& choice : choices) grid.cases.push_back(reading_of(choice).parallel);

  // A setting, or two that could be had alone, beside what asks least.
  const Choice least(factors.size(), 0);
  const auto is_left_out = [&](const Choice& choice, const std::string& name) {
    const Reading& reading = reading_of(choice);
    if (!reading.fits) ++grid.num_beyond_ranks;
    if (!reading.refusal.empty()) grid.left_out.push_back(fmt::format("{}: {}", name, reading.refusal));
    return !reading.is_allowed();
  };
  std::vector<std::pair<std::size_t, int>> possible;
  const auto name_of = [&](const std::pair<std::size_t, int>& value) {
    return factors[value.first][static_cast<std::size_t>(value.second)].name;
  };
  for (std::size_t f = 0; f < factors.size(); ++f) {
    for (int value = 0; value < num_values[f]; ++value) {
      Choice choice = least;
      choice[f] = value;
      if (!is_left_out(choice, name_of({f, value}))) possible.emplace_back(f, value);
    }
  }
  for (const auto& a : possible) {
    for (const auto& b : possible) {
      if (a.first >= b.first) continue;
      Choice choice = least;
      choice[a.first] = a.second;
      choice[b.first] = b.second;
      is_left_out(choice, fmt::format("{} with {}", name_of(a), name_of(b)));
    }
  }
  return grid;
}

GridPart parse_grid_part(const std::string& text) {
  GridPart part{0, 0};
  const char *begin = text.data(), *const end = begin + text.size();
  const auto [slash, error] = std::from_chars(begin, end, part.index);
  if (error == std::errc() && slash != end && *slash == '/') {
    const auto [rest, second_error] = std::from_chars(slash + 1, end, part.count);
    if (second_error != std::errc() || rest != end) part.count = 0;
  }
  if (part.index < 1 || part.index > part.count) {
    throw UserError("--part", fmt::format("must be K/N, the K-th of N parts, K from 1 to N: 3/16; found '{}'", text));
  }
  return part;
}

std::vector<ParallelOptions> cases_of(const VerifyGrid& grid, const GridPart& part) {
  std::vector<ParallelOptions> cases;
  for (auto i = static_cast<std::size_t>(part.index - 1); i < grid.cases.size();
       i += static_cast<std::size_t>(part.count)) {
    cases.push_back(grid.cases[i]);
  }
  if (cases.empty()) {
    throw UserError("--part", fmt::format("must have a case at least: there are {}, and {}/{} begins with number {}. "
                                          "Ask for fewer parts",
                                          grid.cases.size(), part.index, part.count, part.index));
  }
  return cases;
}

std::string case_text(const ParallelOptions& p) {
  std::string text = fmt::format("pp {} dp {} cp {} tp {}  {}", p.mesh.pp, p.mesh.dp, p.mesh.cp, p.mesh.tp, p.schedule);
  if (p.virtual_stages > 1) text += fmt::format(" x {}", p.virtual_stages);
  text += fmt::format("  {} microbatch{}", p.microbatches, p.microbatches == 1 ? "" : "es");
  if (p.zero > 0) text += fmt::format("  zero {}", p.zero);
  if (p.mesh.dp_near > 0) text += fmt::format("  zero_group {}", p.mesh.dp_near);
  if (p.recompute != Recompute::kNone) text += fmt::format("  recompute {}", recompute_name(p.recompute));
  if (p.sequence_parallel) text += "  sequence_parallel";
  if (p.tp_pieces > 1) text += fmt::format("  tp_pieces {}", p.tp_pieces);
  if (p.gradient_dtype != "fp32") text += "  gradients in " + p.gradient_dtype;
  return text;
}

}  // namespace triptych::training
