// Run by several ranks at once (launcher/run-ranks): every rank runs the same tests in the same order.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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
  EXPECT_EQ(operation->details, std::to_string(2 * (world.size() - 1) * 4 / world.size()) + " bytes, number 0");
}

// Of element i on a rank: sums of them depend on their order.
float summand(int rank, int64_t i) {
  return static_cast<float>((rank * 7919 + i * 104729) % 1000003) * (rank % 2 == 0 ? 1e-3f : -1e3f);
}

// Over the ranks of a machine, then over the machines; `machines` in the order of their first ranks.
float sum_over_machines(const std::vector<int>& machines, int64_t i) {
  std::vector<int> seen;
  float total = 0;
  for (const int machine : machines) {
    if (std::find(seen.begin(), seen.end(), machine) != seen.end()) continue;
    float sum = 0;
    for (std::size_t r = 0; r < machines.size(); ++r) {
      if (machines[r] == machine) sum += summand(static_cast<int>(r), i);
    }
    total = seen.empty() ? sum : total + sum;
    seen.push_back(machine);
  }
  return total;
}

// From one element to several rounds through all slots.
void check_machines(Group& group, Device& device, const std::vector<int>& machines) {
  const int n = group.size(), rank = group.rank();
  for (const int64_t count : {1, 515, 4099, 300'007, 1'300'003}) {
    std::vector<float> data(static_cast<std::size_t>(count)), expected(data.size());
    for (int64_t i = 0; i < count; ++i) {
      data[static_cast<std::size_t>(i)] = summand(rank, i);
      expected[static_cast<std::size_t>(i)] = sum_over_machines(machines, i);
    }
    group.all_reduce(data.data(), count, DType::kFloat32, ReduceOp::kSum)->wait();
    EXPECT_EQ(contract::first_difference(data, expected), -1) << "all_reduce of " << count << " on rank " << rank;

    const int64_t rows = count / n + 1;
    std::vector<float> send(static_cast<std::size_t>(n * rows)), mine(static_cast<std::size_t>(rows));
    for (int64_t i = 0; i < n * rows; ++i) send[static_cast<std::size_t>(i)] = summand(rank, i);
    expected.resize(mine.size());
    for (int64_t i = 0; i < rows; ++i) {
      expected[static_cast<std::size_t>(i)] = sum_over_machines(machines, rank * rows + i);
    }
    group.reduce_scatter(send.data(), mine.data(), rows, DType::kFloat32, ReduceOp::kSum)->wait();
    EXPECT_EQ(contract::first_difference(mine, expected), -1) << "reduce_scatter of " << rows << " on rank " << rank;
  }
  contract::check_reductions<int64_t>(group, device, 300'007);
  contract::check_moves<uint8_t>(group, device, 1'300'003);
  contract::check_moves<float>(group, device, 150'001);
}

// The operations of all kinds, one behind the other, under way at the same time.
void check_mixture(Group& group, Device&) {
  const int n = group.size(), rank = group.rank();
  constexpr int64_t kCount = 70'001;
  constexpr int kRounds = 3;
  std::vector<std::vector<int64_t>> sums(kRounds), rows(kRounds), gathered(kRounds), sent(kRounds);
  std::vector<std::shared_ptr<Pending>> pending;
  for (std::size_t k = 0; k < kRounds; ++k) {
    const int salt = static_cast<int>(k), root = salt % n;
    sums[k] = contract::buffer<int64_t>(rank, kCount, salt);
    rows[k].resize(kCount);
    gathered[k].resize(static_cast<std::size_t>(n * kCount));
    sent[k] = contract::buffer<int64_t>(rank, kCount, salt + 1);
    pending.push_back(group.all_gather(sent[k].data(), gathered[k].data(), kCount, DType::kInt64));
    pending.push_back(group.all_reduce(sums[k].data(), kCount, DType::kInt64, ReduceOp::kSum));
    if (rank == root) rows[k] = contract::buffer<int64_t>(rank, kCount, salt + 2);
    pending.push_back(group.broadcast(rows[k].data(), kCount, DType::kInt64, root));
  }
  for (auto it = pending.rbegin(); it != pending.rend(); ++it) (*it)->wait();
  for (std::size_t k = 0; k < kRounds; ++k) {
    const int salt = static_cast<int>(k);
    EXPECT_EQ(contract::first_difference(rows[k], contract::buffer<int64_t>(salt % n, kCount, salt + 2)), -1);
    for (int64_t i = 0; i < kCount; ++i) {
      int64_t expected = 0;
      for (int r = 0; r < n; ++r) expected += contract::number(r, i, salt);
      ASSERT_EQ(sums[k][static_cast<std::size_t>(i)], expected);
      const int64_t from = i % n;
      ASSERT_EQ(gathered[k][static_cast<std::size_t>(from * kCount + i)],
                contract::number(static_cast<int>(from), i, salt + 1));
    }
  }
}

}  // namespace
}  // namespace triptych::test

// usage: test_parallel_mpi shared|mpi|pieces|MACHINES NUM_RANKS
//   MACHINES   a digit for each rank, the same for those that are to be taken for ranks of one machine
int main(int argc, char** argv) {
  using namespace triptych::test;
  ::testing::InitGoogleTest(&argc, argv);
  if (argc != 3) return 2;
  const std::string_view transport = argv[1];
  WorldOptions options{.timeout = std::chrono::seconds(120),
                       .share_memory = transport[0] != 'm' && transport[0] != 'p'};
  if (options.share_memory && transport != "shared") {
    for (const char digit : transport) options.machines.push_back(digit - '0');
  }
  if (transport == "pieces") options.max_mpi_count = 97;  // every larger count takes the way of counts above 2^31
  const std::unique_ptr<World> world = make_world(options);
  Group& group = world->group();

  RankTests tests("MpiGroup", group);
  add_contract(tests, std::atoi(argv[2]));
  const std::vector<int>& machines = options.machines;
  std::string_view carrier = transport == "shared" ? "shared memory" : "MPI";
  if (!machines.empty()) {
    std::vector<int> sorted = machines;
    std::sort(sorted.begin(), sorted.end());
    const bool has_neighbours = std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
    carrier = has_neighbours ? "shared memory and MPI" : "MPI in pieces";
    tests.add("GoesOverMachines", [&machines](Group& g, Device& d) { check_machines(g, d, machines); });
  }
  tests.add("MixesOperations", check_mixture);
  tests.add("GoesTheRightWay", [carrier](Group& g, Device&) { check_transport(g, carrier); });
  tests.add("MakesAMesh", check_mesh);
  tests.add("ATraceHasTheEndOfAnOperation", check_traced_end);

  const int failed = tests.run();
  if (failed != 0) world->abort(failed);
  return 0;
}
