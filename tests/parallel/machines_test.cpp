#include "parallel/machines.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

// Ranks by the machine that each is on: "aabb".
Machines placed(const std::string& text) {
  std::vector<int> numbers;
  std::vector<std::string> hosts;
  for (const char machine : text) {
    numbers.push_back(7 * machine);
    hosts.emplace_back(1, machine);
  }
  return Machines(numbers, hosts);
}

TEST(Machines, AreNumberedInTheOrderOfTheirFirstRanks) {
  const Machines machines = placed("zaazq");
  EXPECT_EQ(machines.count(), 3);
  EXPECT_EQ(machines.of_ranks(), (std::vector<int>{0, 1, 1, 0, 2}));
  EXPECT_EQ(machines.ranks(0), (std::vector<int>{0, 3}));
  EXPECT_EQ(machines.host(2), "q");
  EXPECT_EQ(machines.to_string(), "ranks 0, 3 on z, ranks 1-2 on a, rank 4 on q");
  EXPECT_TRUE(placed("abcdefghij").to_string().ends_with(", rank 7 on h and so on, 10 machines in all"));
}

TEST(Machines, OneNameMayBeOfSeveral) {
  const Machines machines(std::vector<int>{0, 0, 2, 2}, {"node", "node", "node", "node"});
  EXPECT_EQ(machines.count(), 2);
}

TEST(Placement, MachineByMachineIsGood) {
  EXPECT_EQ(placement_warning({.dp = 2, .tp = 2}, placed("aabb")), "");
  EXPECT_EQ(placement_warning({.dp = 4}, placed("abab")), "");  // a dp group spans both in any order
  EXPECT_EQ(placement_warning({.pp = 2, .dp = 2}, placed("abab")), "");
  EXPECT_EQ(placement_warning({.tp = 4}, placed("aaaa")), "");
}

TEST(Placement, GroupsThatFitNowhereAreNotWarnedOf) {
  EXPECT_EQ(placement_warning({.tp = 4}, placed("abab")), "");
  EXPECT_EQ(placement_warning({.dp = 2, .tp = 3}, placed("aabbcc")), "");  // one of two at least, as it is
}

TEST(Placement, WarnsOfRanksInTurn) {
  const std::string warning = placement_warning({.dp = 2, .tp = 2}, placed("abab"));
  EXPECT_NE(warning.find("[placement] the ranks of a tp group should share a machine: 2 of 2 groups are on several"),
            std::string::npos)
      << warning;
  EXPECT_NE(warning.find("would leave 0; found ranks 0, 2 on a, ranks 1, 3 on b."), std::string::npos) << warning;
  // tp 2 is within the machines, cp is not and could be.
  const std::string context = placement_warning({.dp = 2, .cp = 2, .tp = 2}, placed("aabbaabb"));
  EXPECT_NE(context.find("the ranks of a cp group should share a machine: 4 of 4 groups"), std::string::npos)
      << context;
  EXPECT_EQ(placement_warning({.dp = 2, .cp = 2, .tp = 2}, placed("aaaabbbb")), "");
}

}  // namespace
}  // namespace triptych::test
