#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "device/device.h"
#include "parallel/group.h"
#include "tests/parallel/group_contract.h"

namespace triptych::test {

/// Tests that every rank of a program runs, the same ones in the same order, each with a device of its own.
class RankTests {
 public:
  using Check = std::function<void(Group& group, Device& device)>;
  /// What a test gets instead of the group itself, made with the test's device.
  using MakeGroup = std::function<std::unique_ptr<Group>(Group& group, Device& device)>;

  /// local_rank   of this rank: which GPU it takes
  RankTests(std::string suite, Group& group, int local_rank = 0, MakeGroup make_group = nullptr)
      : suite_(std::move(suite)), group_(group), local_rank_(local_rank), make_group_(std::move(make_group)) {}

  void add(const char* name, Check check) {
    ::testing::RegisterTest(suite_.c_str(), name, nullptr, nullptr, __FILE__, __LINE__,
                            [this, check]() -> ::testing::Test* { return new OneTest(*this, check); });
  }

  /// One rank tells what ran, all tell what failed. The exit code.
  int run() {
    if (group_.rank() != 0) {
      auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
      delete listeners.Release(listeners.default_result_printer());
      listeners.Append(new OnlyFailures);
    }
    return RUN_ALL_TESTS();
  }

 private:
  class OneTest : public ::testing::Test {
   public:
    OneTest(RankTests& tests, Check check) : tests_(tests), check_(std::move(check)) {}
    void TestBody() override {
      Device device(1, tests_.local_rank_);
      if (tests_.make_group_ == nullptr) return check_(tests_.group_, device);
      const std::unique_ptr<Group> made = tests_.make_group_(tests_.group_, device);
      check_(*made, device);
    }

   private:
    RankTests& tests_;
    Check check_;
  };
  class OnlyFailures : public ::testing::EmptyTestEventListener {
    void OnTestPartResult(const ::testing::TestPartResult& part) override {
      if (part.failed()) std::fprintf(stderr, "%s:%d: %s\n", part.file_name(), part.line_number(), part.message());
    }
  };

  std::string suite_;
  Group& group_;
  int local_rank_;
  MakeGroup make_group_;
};

/// What every group of ranks that are processes does.
inline void add_contract(RankTests& tests, int num_ranks) {
  tests.add("HasTheRanksThatWereStarted", [num_ranks](Group& g, Device&) { EXPECT_EQ(g.size(), num_ranks); });
  tests.add("Reduces", contract::check_reductions_of_all_types);
  tests.add("Moves", contract::check_moves_of_all_types);
  tests.add("SendsMessages", contract::check_messages_of_all_types);
  tests.add("HasManyInFlight", contract::check_many_in_flight);
  tests.add("TestMakesProgress", contract::check_test_makes_progress);
  tests.add("GathersTexts", contract::check_texts);
  tests.add("Splits", contract::check_split);
  tests.add("RefusesWrongArguments", contract::check_refusals);
}

}  // namespace triptych::test
