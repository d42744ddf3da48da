// Run by several ranks at once (launcher/run-ranks): every rank runs the same tests in the same order.

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include <gtest/gtest.h>

#include "parallel/mesh.h"
#include "parallel/world.h"
#include "tests/parallel/group_contract.h"
#include "tests/parallel/rank_tests.h"

namespace triptych::test {
namespace {

void check_transport(Group& group, std::string_view expected) {
  EXPECT_EQ(group.transport(), group.size() == 1 ? "none" : expected);
  EXPECT_EQ(group.split(0, 0, "all")->transport(), group.size() == 1 ? "none" : expected);
}

void check_mesh(Group& world, Device& device) {
  const int n = world.size();
  const MeshShape shape{.pp = n % 2 == 0 ? 2 : 1, .dp = 1, .cp = 1, .tp = n % 2 == 0 ? n / 2 : n};
  const Mesh mesh(world, shape, device);
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

// A rank that asks late learns when the operation was done, not when it asked.
void check_traced_end(Group& world, Device& device) {
  if (world.size() == 1) return;
  Mesh mesh(world, {.dp = world.size()}, device);
  Trace trace;
  mesh.set_trace(&trace);
  trace.start();
  const int64_t begin = Trace::now_ns();
  float early = 1, other = 1;
  Group& group = mesh.group(Axis::kDp);
  const std::shared_ptr<Pending> pending = group.all_reduce(&early, 1, DType::kFloat32, ReduceOp::kSum);
  for (int i = 0; i < 20; ++i) group.all_reduce(&other, 1, DType::kFloat32, ReduceOp::kMax)->wait();
  const int64_t done_by = Trace::now_ns();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  pending->wait();
  trace.stop();
  const Trace::Span* operation = nullptr;
  for (const Trace::Span& span : trace.spans()) {
    if (span.track == Trace::Track::kInFlight && span.name.find("sum") != std::string::npos) operation = &span;
  }
  ASSERT_NE(operation, nullptr);
  EXPECT_GE(operation->begin_ns, begin);
  EXPECT_GE(operation->end_ns, operation->begin_ns);
  EXPECT_LE(operation->end_ns, done_by);
  // 2 (n - 1) / n of 4 bytes.
  EXPECT_EQ(operation->details, world.size() == 2 ? "4 bytes, number 0" : "6 bytes, number 0");
}

}  // namespace
}  // namespace triptych::test

// usage: test_parallel_mpi shared|mpi|pieces NUM_RANKS
int main(int argc, char** argv) {
  using namespace triptych::test;
  ::testing::InitGoogleTest(&argc, argv);
  if (argc != 3) return 2;
  const std::string_view transport = argv[1];
  WorldOptions options{.timeout = std::chrono::seconds(120), .share_memory = transport == "shared"};
  if (transport == "pieces") options.max_mpi_count = 97;  // every larger count takes the way of counts above 2^31
  const std::unique_ptr<World> world = make_world(options);
  Group& group = world->group();

  RankTests tests("MpiGroup", group);
  add_contract(tests, std::atoi(argv[2]));
  const std::string_view carrier = transport == "shared" ? "shared memory" : "MPI";
  tests.add("GoesTheRightWay", [carrier](Group& g, Device&) { check_transport(g, carrier); });
  tests.add("MakesAMesh", check_mesh);
  tests.add("ATraceHasTheEndOfAnOperation", check_traced_end);

  const int failed = tests.run();
  if (failed != 0) world->abort(failed);
  return 0;
}
