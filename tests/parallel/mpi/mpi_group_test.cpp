// Run by several ranks at once (launcher/run-ranks): every rank runs the same tests in the same order.

#include <functional>
#include <string_view>

#include <gtest/gtest.h>

#include "parallel/mesh.h"
#include "parallel/world.h"
#include "tests/parallel/group_contract.h"

namespace triptych {
namespace {

class OnGroup : public ::testing::Test {
 public:
  OnGroup(Group& group, std::function<void(Group&)> check) : group_(group), check_(std::move(check)) {}
  void TestBody() override { check_(group_); }

 private:
  Group& group_;
  std::function<void(Group&)> check_;
};

void check_transport(Group& group, std::string_view expected) {
  EXPECT_EQ(group.transport(), group.size() == 1 ? "none" : expected);
  EXPECT_EQ(group.split(0, 0, "all")->transport(), group.size() == 1 ? "none" : expected);
}

void check_mesh(Group& world) {
  const int n = world.size();
  const MeshShape shape{.pp = n % 2 == 0 ? 2 : 1, .dp = 1, .cp = 1, .tp = n % 2 == 0 ? n / 2 : n};
  const Mesh mesh(world, shape);
  int64_t sum = world.rank();
  mesh.group(Axis::kTp).all_reduce(&sum, 1, DType::kInt64, ReduceOp::kSum)->wait();
  int64_t expected = 0;
  for (int tp = 0; tp < shape.tp; ++tp) expected += mesh.coordinate().pp * shape.tp + tp;
  EXPECT_EQ(sum, expected);
  if (shape.pp == 1) return;
  // From the first stage to the last.
  const int64_t sent = 100 + world.rank();
  int64_t received = -1;
  if (mesh.coordinate().pp == 0) {
    mesh.pp().send(&sent, 1, DType::kInt64, 1, 4)->wait();
  } else {
    mesh.pp().recv(&received, 1, DType::kInt64, 0, 4)->wait();
    EXPECT_EQ(received, 100 + world.rank() - shape.tp);
  }
}

}  // namespace
}  // namespace triptych

// usage: test_parallel_mpi shared|mpi|pieces NUM_RANKS
int main(int argc, char** argv) {
  using namespace triptych;
  ::testing::InitGoogleTest(&argc, argv);
  if (argc != 3) return 2;
  const std::string_view transport = argv[1];
  WorldOptions options{.timeout = std::chrono::seconds(120), .share_memory = transport == "shared"};
  if (transport == "pieces") options.max_mpi_count = 97;  // every larger count takes the way of counts above 2^31
  const std::unique_ptr<World> world = make_world(options);
  Group& group = world->group();

  const auto add = [&group](const char* name, std::function<void(Group&)> check) {
    ::testing::RegisterTest("MpiGroup", name, nullptr, nullptr, __FILE__, __LINE__,
                            [&group, check]() -> ::testing::Test* { return new OnGroup(group, check); });
  };
  const int num_ranks = std::atoi(argv[2]);
  add("HasTheRanksThatWereStarted", [num_ranks](Group& g) { EXPECT_EQ(g.size(), num_ranks); });
  const std::string_view carrier = transport == "shared" ? "shared memory" : "MPI";
  add("GoesTheRightWay", [carrier](Group& g) { check_transport(g, carrier); });
  add("Reduces", contract::check_reductions_of_all_types);
  add("Moves", contract::check_moves_of_all_types);
  add("SendsMessages", contract::check_messages_of_all_types);
  add("HasManyInFlight", contract::check_many_in_flight);
  add("TestMakesProgress", contract::check_test_makes_progress);
  add("GathersTexts", contract::check_texts);
  add("Splits", contract::check_split);
  add("RefusesWrongArguments", contract::check_refusals);
  add("MakesAMesh", check_mesh);

  if (group.rank() != 0) {  // one rank tells what ran, all tell what failed
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    class OnlyFailures : public ::testing::EmptyTestEventListener {
      void OnTestPartResult(const ::testing::TestPartResult& part) override {
        if (part.failed()) std::fprintf(stderr, "%s:%d: %s\n", part.file_name(), part.line_number(), part.message());
      }
    };
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new OnlyFailures);
  }
  const int failed = RUN_ALL_TESTS();
  if (failed != 0) world->abort(failed);
  return 0;
}
