#include <string>

#include <gtest/gtest.h>

#include "autograd/all_reducer.h"
#include "autograd/whole_parameters.h"
#include "parallel/in_process_group.h"

// Steps that do not go as the first one did: what AllReducer refuses.

namespace triptych::test {
namespace {

TEST(ReducerBuckets, RefuseRanksThatCompleteThemInDifferentOrders) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 1);
    reducer.begin_step();
    for (int k = 0; k < kParameters; ++k) {
      const int i = world.rank() == 0 ? k : kParameters - 1 - k;
      use(*owned[static_cast<std::size_t>(i)], kOverDp, world.rank(), i, 0, [&] { reducer.poll(); });
    }
    EXPECT_THROW(reducer.finish(), InternalError);
  });
}

TEST(ReducerBuckets, RefuseAUseThatTheFirstStepDidNotHave) {
  Device device(1);
  const std::unique_ptr<Group> world = make_self_group("test");
  Mesh mesh(*world, {}, device);
  const Owned owned = make_parameters(device);
  AllReducer reducer(device, mesh, pointers(owned), 1);
  for (int step = 0; step < 2; ++step) {
    reducer.begin_step();
    const auto use_it = [&] { use(*owned[6], Layout(), 0, 6, 0, [&] { reducer.poll(); }); };
    use_it();
    if (step == 1) {
      try {
        use_it();
        FAIL() << "added to what is being reduced";
      } catch (const InternalError& error) {
        EXPECT_NE(std::string(error.what()).find("p6"), std::string::npos) << error.what();
      }
    }
    reducer.finish();
    EXPECT_EQ(first_of(*owned[6]), summand(0, 6, 0, 0));
  }
}

TEST(ReducerBuckets, RefuseAGradientThatComesOutOtherwiseThanInTheFirstStep) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 1 << 20);
    reducer.begin_step();
    use(*owned[3], kOverDp, world.rank(), 3, 0, {});
    reducer.finish();
    reducer.begin_step();
    use(*owned[3], Layout(), world.rank(), 3, 0, {});
    try {
      reducer.finish();
      FAIL() << "summed what is complete";
    } catch (const InternalError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("p3"), std::string::npos) << text;
      EXPECT_NE(text.find("dp: Partial"), std::string::npos) << text;
    }
  });
}

TEST(ReducerSteps, AreCompletedBeforeTheNextBegins) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 1);
    const auto step = [&] {
      reducer.begin_step();
      use(*owned[6], kOverDp, world.rank(), 6, 0, [&] { reducer.poll(); });
    };
    step();
    reducer.finish();
    step();
    EXPECT_THROW(reducer.begin_step(), InternalError);
    reducer.finish();
    reducer.begin_step();
    reducer.finish();
  });
}

}  // namespace
}  // namespace triptych::test
