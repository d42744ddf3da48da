#include "parallel/device_choice.h"

#include <map>
#include <set>
#include <string_view>

#include "base/error.h"
#include "parallel/agreement.h"

namespace triptych::parallel {
namespace {

// A matching of ranks and devices by augmenting paths: a rank that finds its devices taken asks their holders, in turn,
// to take another. Ranks come in their order and try the device of their place first, so that none moves without need.
class Matching {
 public:
  explicit Matching(std::span<const VisibleDevices> ranks) : ranks_(ranks), choice_(ranks.size()) {}

  // False if the rank gets none; then seen() and asked() are those that have too few devices between them.
  bool place(std::size_t rank) {
    seen_.clear();
    asked_.clear();
    return take(rank);
  }
  const std::vector<int>& choice() const { return choice_; }
  const std::set<std::string>& seen() const { return seen_; }
  const std::set<std::size_t>& asked() const { return asked_; }

 private:
  bool take(std::size_t rank) {
    asked_.insert(rank);
    const VisibleDevices& own = ranks_[rank];
    const std::size_t count = own.ids.size();
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t device = (static_cast<std::size_t>(own.node_rank) + i) % count;
      const std::string& id = own.ids[device];
      if (!seen_.insert(id).second) continue;
      const auto holder = holder_.find(id);
      if (holder != holder_.end() && !take(holder->second)) continue;
      holder_[id] = rank;
      choice_[rank] = static_cast<int>(device);
      return true;
    }
    return false;
  }

  std::span<const VisibleDevices> ranks_;
  std::vector<int> choice_;
  std::map<std::string, std::size_t> holder_;  // by device
  std::set<std::string> seen_;
  std::set<std::size_t> asked_;
};

template <typename Items, typename Text>
std::string list(const Items& items, const Text& text) {
  std::string result;
  for (const auto& item : items) result += (result.empty() ? "" : ", ") + text(item);
  return result;
}

[[noreturn]] void refuse(std::span<const VisibleDevices> ranks, const Matching& matching) {
  const std::size_t count = matching.seen().size();
  const auto rank_text = [&](std::size_t rank) { return fmt::format("{} on {}", rank, ranks[rank].host); };
  const auto id_text = [](const std::string& id) { return id; };
  throw UserError("device",
                  fmt::format("each rank needs a GPU of its own: ranks {} see {} GPU{} between them ({}). Start "
                              "at most {} rank{} there, or let each see another: CUDA_VISIBLE_DEVICES, "
                              "Slurm's --gpus-per-task",
                              list(matching.asked(), rank_text), count, count == 1 ? "" : "s",
                              list(matching.seen(), id_text), count, count == 1 ? "" : "s"));
}

constexpr char kSeparator = '\n';  // in no name of a host or device

std::string to_text(const VisibleDevices& devices) {
  std::string text = devices.host + kSeparator + std::to_string(devices.node_rank) + kSeparator;
  for (const std::string& id : devices.ids) text += id + kSeparator;
  return text;
}

VisibleDevices from_text(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t end = 0; (end = text.find(kSeparator)) != std::string_view::npos; text.remove_prefix(end + 1)) {
    lines.emplace_back(text.substr(0, end));
  }
  return {.host = lines.at(0), .node_rank = std::stoi(lines.at(1)), .ids = {lines.begin() + 2, lines.end()}};
}

}  // namespace

std::vector<int> choose_devices(std::span<const VisibleDevices> ranks) {
  Matching matching(ranks);
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (!matching.place(rank)) refuse(ranks, matching);
  }
  return matching.choice();
}

int agree_on_device(World& world, const std::function<std::vector<std::string>()>& visible) {
  VisibleDevices mine{.host = world.host(), .node_rank = world.node_rank(), .ids = {}};
  Group& group = world.group();
  together(group, [&] { mine.ids = visible(); });
  if (mine.ids.empty()) return 0;
  std::vector<VisibleDevices> ranks;
  for (const std::string& text : group.all_gather_string(to_text(mine))) ranks.push_back(from_text(text));
  std::vector<int> choice;
  together(group, [&] { choice = choose_devices(ranks); });
  return choice[static_cast<std::size_t>(group.rank())];
}

}  // namespace triptych::parallel
