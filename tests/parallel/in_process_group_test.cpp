#include "parallel/in_process_group.h"

#include <atomic>
#include <stdexcept>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/parallel/group_contract.h"

namespace triptych::test {
namespace {

using namespace std::chrono_literals;

class InProcessGroupTest : public ::testing::TestWithParam<int> {
 protected:
  void on_ranks(void (*check)(Group&, Device&)) {
    run_ranks(GetParam(), [check](Group& group) {
      Device device(1);
      check(group, device);
    });
  }
};

TEST_P(InProcessGroupTest, Reduces) {
  on_ranks(contract::check_reductions_of_all_types);
}
TEST_P(InProcessGroupTest, Moves) {
  on_ranks(contract::check_moves_of_all_types);
}
TEST_P(InProcessGroupTest, SendsMessages) {
  on_ranks(contract::check_messages_of_all_types);
}
TEST_P(InProcessGroupTest, HasManyInFlight) {
  on_ranks(contract::check_many_in_flight);
}
TEST_P(InProcessGroupTest, TestMakesProgress) {
  on_ranks(contract::check_test_makes_progress);
}
TEST_P(InProcessGroupTest, GathersTexts) {
  on_ranks(contract::check_texts);
}
TEST_P(InProcessGroupTest, Splits) {
  on_ranks(contract::check_split);
}
TEST_P(InProcessGroupTest, RefusesWrongArguments) {
  on_ranks(contract::check_refusals);
}

INSTANTIATE_TEST_SUITE_P(Sizes, InProcessGroupTest, ::testing::Values(1, 2, 3, 4, 5));

// What run_ranks throws, as text.
template <typename Expected>
std::string error_of(int size, const std::function<void(Group&)>& body, std::chrono::milliseconds timeout = 60s) {
  try {
    run_ranks(size, body, {.timeout = timeout});
  } catch (const Expected& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another kind of error: " << error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(InProcessGroup, AddsInTheOrderOfTheRanks) {
  // ((1 + 1e8) - 1e8) + 1 = 1 in float32; any other order of the four gives 0 or 2.
  const std::vector<float> summands{1.0f, 1e8f, -1e8f, 1.0f};
  run_ranks(4, [&](Group& world) {
    float value = summands[static_cast<std::size_t>(world.rank())];
    world.all_reduce(&value, 1, DType::kFloat32, ReduceOp::kSum)->wait();
    EXPECT_EQ(value, 1.0f);
  });
}

TEST(InProcessGroup, NamesWhatEachRankCalled) {
  float data[8] = {};
  const std::string count = error_of<InternalError>(2, [&](Group& world) {
    world.barrier();
    float mine[8] = {};
    world.all_reduce(mine, 3 + world.rank(), DType::kFloat32, ReduceOp::kSum)->wait();
  });
  EXPECT_NE(count.find("[group world]"), std::string::npos) << count;
  EXPECT_NE(count.find("number 1"), std::string::npos) << count;
  EXPECT_NE(count.find("rank 0 (world rank 0): all_reduce(sum, float32 x 3)"), std::string::npos) << count;
  EXPECT_NE(count.find("rank 1 (world rank 1): all_reduce(sum, float32 x 4)"), std::string::npos) << count;

  const std::string order = error_of<InternalError>(2, [&](Group& world) {
    float mine[8] = {};
    if (world.rank() == 0) {
      world.all_gather(data, mine, 4, DType::kFloat32)->wait();
    } else {
      world.broadcast(mine, 4, DType::kFloat32, 1)->wait();
    }
  });
  EXPECT_NE(order.find("all_gather(float32 x 4)"), std::string::npos) << order;
  EXPECT_NE(order.find("broadcast(float32 x 4, from rank 1)"), std::string::npos) << order;

  const std::string type = error_of<InternalError>(3, [&](Group& world) {
    double mine[8] = {};
    if (world.rank() == 1) world.send(mine, 2, DType::kFloat64, 2, 5)->wait();
    if (world.rank() == 2) world.recv(mine, 2, DType::kInt64, 1, 5)->wait();
    if (world.rank() == 0) world.barrier();
  });
  EXPECT_NE(type.find("send(float64 x 2, to rank 2, tag 5)"), std::string::npos) << type;
  EXPECT_NE(type.find("recv(int64 x 2, from rank 1, tag 5)"), std::string::npos) << type;
}

TEST(InProcessGroup, ARankThatThrowsEndsTheOthersWaits) {
  std::atomic<int> num_told = 0;
  const std::string error = error_of<std::out_of_range>(4, [&](Group& world) {
    if (world.rank() == 2) throw std::out_of_range("rank 2 stumbled");
    try {
      world.barrier();
    } catch (const WorldError& told) {
      EXPECT_NE(std::string(told.what()).find("rank 2 stumbled"), std::string::npos) << told.what();
      ++num_told;
      throw;
    }
  });
  EXPECT_EQ(error, "rank 2 stumbled");
  EXPECT_EQ(num_told, 3);
}

TEST(InProcessGroup, AMissingRankIsNamedAfterTheTimeout) {
  const std::string error = error_of<WorldError>(
      3,
      [](Group& world) {
        const auto part = world.split(0, -world.rank(), "part");
        if (world.rank() != 1) {
          part->barrier();
        } else {
          float data = 0;
          world.recv(&data, 1, DType::kFloat32, 0, 0)->wait();  // never sent
        }
      },
      100ms);
  // Either wait may end first; each names the rank that it misses.
  const bool names_it = error.find("rank 1 (world rank 1) has not called it") != std::string::npos ||
                        error.find("rank 0 (world rank 0) has not called it") != std::string::npos;
  EXPECT_TRUE(names_it) << error;
}

TEST(InProcessGroup, ARankThatReturnedIsFoundAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string error = error_of<WorldError>(3, [](Group& world) {
    if (world.rank() != 1) world.barrier();
  });
  EXPECT_NE(error.find("waits for rank 1 (world rank 1), which has returned"), std::string::npos) << error;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
}

TEST(InProcessGroup, AbortEndsEveryRank) {
  const std::string error = error_of<WorldError>(3, [](Group& world) {
    if (world.rank() == 2) world.abort(9);
    world.barrier();
  });
  EXPECT_NE(error.find("rank 2 (world rank 2) aborted the world with exit code 9"), std::string::npos) << error;
}

TEST(InProcessGroup, StartReturnsBeforeThePeerComes) {
  run_ranks(2, [](Group& world) {
    float data = 1;
    if (world.rank() == 0) {
      const auto sum = world.all_reduce(&data, 1, DType::kFloat32, ReduceOp::kSum);
      EXPECT_FALSE(sum->test());  // rank 1 waits for the message below before it comes
      const int32_t go = 1;
      world.send(&go, 1, DType::kInt32, 1, 0)->wait();
      sum->wait();
    } else {
      int32_t go = 0;
      world.recv(&go, 1, DType::kInt32, 0, 0)->wait();
      world.all_reduce(&data, 1, DType::kFloat32, ReduceOp::kSum)->wait();
    }
    EXPECT_EQ(data, 2.0f);
  });
}

}  // namespace
}  // namespace triptych::test
