#include "parallel/paper_world.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "parallel/in_process_group.h"

namespace triptych::parallel {
namespace {

class Done : public Pending {
 public:
  bool test() override { return true; }
  void wait() override {}
};

/// Ranks of a mesh, of which each stage is one thread.
class PaperGroup : public Group {
 public:
  /// `stages`   the threads of the stages that have ranks here; null for one stage alone
  PaperGroup(GroupIdentity identity, const MeshShape& shape, std::shared_ptr<Group> stages)
      : Group(std::move(identity)), shape_(shape), stages_(std::move(stages)) {
    for (int r = 0; r < size(); ++r) {
      const int stage = stage_of(r);
      if (std::find(stage_ranks_.begin(), stage_ranks_.end(), stage) == stage_ranks_.end())
        stage_ranks_.push_back(stage);
    }
    std::sort(stage_ranks_.begin(), stage_ranks_.end());
  }

  std::string_view transport() const override { return "paper"; }
  std::chrono::milliseconds timeout() const override { return std::chrono::milliseconds::max(); }
  void barrier() override {}
  void progress() override {}
  [[noreturn]] void abort(int) override { throw WorldError(identity()->where(), "a rank on paper gave up"); }

  std::vector<std::string> all_gather_string(const std::string& text) override {
    const std::vector<std::string> of_stages = stages_ ? stages_->all_gather_string(text) : std::vector{text};
    std::vector<std::string> all;
    for (int r = 0; r < size(); ++r) all.push_back(of_stages[place_of(stage_of(r))]);
    return all;
  }

  /// By colors that a stage's ranks have in common.
  std::unique_ptr<Group> split(int color, int, std::string name) override {
    const std::vector<std::string> colors = all_gather_string(std::to_string(color));
    return make(
        color, [&](int rank) { return std::stoi(colors[static_cast<std::size_t>(rank)]); }, std::move(name), true);
  }

  std::unique_ptr<Group> split_by(const std::function<int(int)>& color_of, std::string name) override {
    return make(color_of(rank()), color_of, std::move(name), false);
  }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override {
    const std::size_t bytes = operation.bytes();
    auto* to = static_cast<std::byte*>(operation.recv);
    const auto* from = static_cast<const std::byte*>(operation.send);
    if (operation.kind == Operation::Kind::kAllGather) {
      for (int r = 0; r < size(); ++r) std::memcpy(to + static_cast<std::size_t>(r) * bytes, from, bytes);
    } else if (operation.kind == Operation::Kind::kReduceScatter) {
      std::memcpy(to, from + static_cast<std::size_t>(rank()) * bytes, bytes);
    } else if (operation.kind == Operation::Kind::kAllToAll) {
      std::memcpy(to, from, static_cast<std::size_t>(size()) * bytes);
    }
    return std::make_shared<Done>();
  }

 private:
  int stage_of(int rank) const { return mesh_coordinate(shape_, world_rank(rank)).pp; }
  std::size_t place_of(int stage) const {
    return static_cast<std::size_t>(std::find(stage_ranks_.begin(), stage_ranks_.end(), stage) - stage_ranks_.begin());
  }

  std::unique_ptr<Group> make(int color, const std::function<int(int)>& color_of, std::string name, bool may_differ) {
    GroupIdentity made{.name = std::move(name), .rank = 0, .world_ranks = {}};
    std::vector<int> stages;
    for (int r = 0; r < size(); ++r) {
      if (color < 0 || color_of(r) != color) continue;
      if (r == rank()) made.rank = made.size();
      made.world_ranks.push_back(world_rank(r));
      stages.push_back(stage_of(r));
    }
    const bool has_several = std::any_of(stages.begin(), stages.end(), [&](int s) { return s != stages.front(); });
    // Every thread takes part, and each finds the same: whether any of the new groups has several stages.
    std::shared_ptr<Group> threads;
    if (stages_ && (may_differ || has_several)) {
      threads = stages_->split(may_differ ? color : 0, stages_->rank(), made.name);
    }
    if (made.size() == 0) return nullptr;
    return std::make_unique<PaperGroup>(std::move(made), shape_, has_several ? threads : nullptr);
  }

  MeshShape shape_;
  std::shared_ptr<Group> stages_;
  std::vector<int> stage_ranks_;  // that have ranks here, ascending: by rank of `stages_`
};

}  // namespace

void run_on_paper(const MeshShape& shape, const std::function<void(Group& world)>& body) {
  run_ranks(shape.pp, [&](Group& threads) {
    GroupIdentity identity{.name = "world", .rank = 0, .world_ranks = {}};
    const int num_ranks = shape.pp * shape.dp * shape.cp * shape.tp;
    for (int r = 0; r < num_ranks; ++r) identity.world_ranks.push_back(r);
    identity.rank = mesh_world_rank(shape, {.pp = threads.rank()});
    // The threads' own group lives as long as the ranks do.
    PaperGroup world(std::move(identity), shape,
                     shape.pp > 1 ? std::shared_ptr<Group>(std::shared_ptr<void>(), &threads) : nullptr);
    body(world);
  });
}

}  // namespace triptych::parallel
