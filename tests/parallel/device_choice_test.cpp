#include "parallel/device_choice.h"

#include <set>
#include <utility>

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych::test {
namespace {

using Ids = std::vector<std::string>;

// Ranks of one machine, by what each sees.
std::vector<VisibleDevices> machine(const std::string& host, const std::vector<Ids>& seen) {
  std::vector<VisibleDevices> ranks;
  for (const Ids& ids : seen) ranks.push_back({.host = host, .node_rank = static_cast<int>(ranks.size()), .ids = ids});
  return ranks;
}

std::string refusal(const std::vector<VisibleDevices>& ranks) {
  try {
    choose_devices(ranks);
  } catch (const UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "was taken";
  return {};
}

TEST(DeviceChoice, TakesTheDeviceOfItsPlaceWhereARankSeesTheMachine) {
  const Ids all{"a", "b", "c", "d"};
  EXPECT_EQ(choose_devices(machine("n", {all, all, all, all})), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(choose_devices(machine("n", {all, all})), (std::vector<int>{0, 1}));
  std::vector<VisibleDevices> two = machine("n0", {all, all});
  const std::vector<VisibleDevices> other = machine("n1", {{"e", "f"}, {"e", "f"}});
  two.insert(two.end(), other.begin(), other.end());
  EXPECT_EQ(choose_devices(two), (std::vector<int>{0, 1, 0, 1}));
}

// As Slurm shows them with a GPU a task: each is number 0 of its rank.
TEST(DeviceChoice, TakesTheOnlyDeviceThatARankSees) {
  EXPECT_EQ(choose_devices(machine("n", {{"a"}, {"b"}, {"c"}})), (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(choose_devices(machine("n", {{"MIG-a"}, {"MIG-b"}})), (std::vector<int>{0, 0}));
}

// Whatever each sees: if all can have one they do. The third sees one that the first would have taken, the second can
// only have the first's other one.
TEST(DeviceChoice, MovesRanksWhereTheyCompete) {
  const std::vector<std::vector<Ids>> cases{
      {{"a", "b"}, {"c", "b"}, {"a"}},
      {{"a", "b", "c"}, {"b"}, {"c"}},
      {{"a", "b"}, {"a", "b"}, {"c", "d"}, {"c", "d"}},
      {{"b", "a"}, {"a", "b"}, {"d", "c"}, {"c"}},
      {{"a", "b"}, {"b", "c"}, {"c", "d"}, {"d", "a"}},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::vector<VisibleDevices> ranks = machine("n", cases[i]);
    const std::vector<int> choice = choose_devices(ranks);
    std::set<std::string> taken;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      taken.insert(ranks[rank].ids.at(static_cast<std::size_t>(choice[rank])));
    }
    EXPECT_EQ(taken.size(), ranks.size()) << "case " << i;
    EXPECT_EQ(choose_devices(ranks), choice);
  }
}

TEST(DeviceChoice, NamesTheRanksThatWouldShareADevice) {
  EXPECT_EQ(
      refusal(machine("n7", {{"GPU-1"}, {"GPU-2"}, {"GPU-1"}})),
      "[device] each rank needs a GPU of its own: ranks 0 on n7, 2 on n7 see 1 GPU between them (GPU-1). Start at "
      "most 1 rank there, or let each see another: CUDA_VISIBLE_DEVICES, Slurm's --gpus-per-task");
  const Ids two{"x", "y"};
  EXPECT_NE(refusal(machine("n", {{"z"}, two, two, two})).find("ranks 1 on n, 2 on n, 3 on n see 2 GPUs between them"),
            std::string::npos);
  // Containers of one machine may call it differently: the device is the same.
  std::vector<VisibleDevices> ranks = machine("here", {{"a"}});
  ranks.push_back({.host = "there", .node_rank = 0, .ids = {"a"}});
  EXPECT_NE(refusal(ranks).find("ranks 0 on here, 1 on there see 1 GPU"), std::string::npos);
}

TEST(DeviceChoice, IsNoneWhereThereAreNoDevicesToChooseFrom) {
  const std::unique_ptr<World> world = make_world();
  EXPECT_EQ(agree_on_device(*world, [] { return Ids(); }), 0);
  EXPECT_EQ(agree_on_device(*world, [] { return Ids{"a", "b"}; }), 0);
}

}  // namespace
}  // namespace triptych::test
