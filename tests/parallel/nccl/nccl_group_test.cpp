// Run by several ranks at once (launcher/run-ranks), each with a GPU: every rank runs the same tests in the same order.

#include <algorithm>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "parallel/device_group.h"
#include "parallel/mesh.h"
#include "parallel/world.h"
#include "tests/parallel/group_contract.h"
#include "tests/parallel/rank_tests.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

float reduced(Group& group, Device& device, float value) {
  DeviceArray<float> sum(device, std::vector<float>{value});
  group.all_reduce(sum.data(), 1, DType::kFloat32, ReduceOp::kSum)->wait();
  return sum.host().front();
}

void check_transport(Group& group, Device&) {
  const std::string_view expected = group.size() == 1 ? "none" : "NCCL";
  EXPECT_EQ(group.transport(), expected);
  EXPECT_EQ(group.split(0, 0, "all")->transport(), expected);
}

void check_wait_does_not_block_the_host(Group& group, Device& device) {
  reduced(group, device, 1);  // the first connects the ranks, which does block
  DeviceArray<float> sum(device, std::vector<float>{static_cast<float>(group.rank())});
  if (group.rank() != 0) group.barrier();
  const auto pending = group.all_reduce(sum.data(), 1, DType::kFloat32, ReduceOp::kSum);
  pending->wait();
  if (group.rank() == 0) {
    EXPECT_EQ(pending->test(), group.size() == 1);  // the others have not come yet
    group.barrier();
  }
  EXPECT_EQ(sum.host().front(), static_cast<float>(group.size() * (group.size() - 1) / 2));
  EXPECT_TRUE(pending->test());
}

void check_links(Group& group, Device& device) {
  if (group.size() == 1) return;
  DeviceArray<float> data(device, std::vector<float>{1});
  try {
    if (group.rank() == 0) group.send(data.data(), 1, DType::kFloat32, 1, 5);
    if (group.rank() == 1) group.recv(data.data(), 1, DType::kFloat32, 0, 5);
    EXPECT_GT(group.rank(), 1) << "a message went without a link";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("needs its link. Name it to open_links() first"), std::string::npos)
        << error.what();
  }
}

// 1F1B: activations go up with one tag, gradients down with another; each stage is some forwards ahead of its
// backwards. Every send is a rendezvous, so this ends only if the directions do not wait for each other.
void check_pipeline(Group& group, Device& device) {
  constexpr int kActivation = 1, kGradient = 2, kNumMicrobatches = 7;
  const int stage = group.rank(), last = group.size() - 1;
  std::vector<Link> links;
  for (int s = 0; s < last; ++s) {
    links.push_back({.from = s, .to = s + 1, .tag = kActivation});
    links.push_back({.from = s + 1, .to = s, .tag = kGradient});
  }
  group.open_links(links);
  group.open_links(links);  // which are there already

  // Longer than what an implementation would buffer; every stage adds its number.
  constexpr int64_t kCount = 50'021;
  std::vector<DeviceArray<float>> activations, gradients;
  for (int m = 0; m < kNumMicrobatches; ++m) {
    activations.emplace_back(device, std::vector<float>(kCount, static_cast<float>(m)));
    gradients.emplace_back(device, std::vector<float>(kCount, static_cast<float>(-m)));
  }
  // Nobody waits for a send before the end: the compute stream would stand still until the peer comes.
  std::vector<std::shared_ptr<Pending>> sends;
  const auto forward = [&](int m) {
    float* const data = activations[static_cast<std::size_t>(m)].data();
    if (stage > 0) group.recv(data, kCount, DType::kFloat32, stage - 1, kActivation)->wait();
    if (stage < last) sends.push_back(group.send(data, kCount, DType::kFloat32, stage + 1, kActivation));
  };
  const auto backward = [&](int m) {
    float* const data = gradients[static_cast<std::size_t>(m)].data();
    if (stage < last) group.recv(data, kCount, DType::kFloat32, stage + 1, kGradient)->wait();
    if (stage > 0) sends.push_back(group.send(data, kCount, DType::kFloat32, stage - 1, kGradient));
  };
  const int ahead = last - stage;
  for (int m = 0; m < kNumMicrobatches + ahead; ++m) {
    if (m < kNumMicrobatches) forward(m);
    if (m >= ahead) backward(m - ahead);
  }
  for (const auto& send : sends) send->wait();
  for (int m = 0; m < kNumMicrobatches; ++m) {
    const auto index = static_cast<std::size_t>(m);
    EXPECT_EQ(activations[index].host(), std::vector<float>(kCount, static_cast<float>(m)));
    EXPECT_EQ(gradients[index].host(), std::vector<float>(kCount, static_cast<float>(-m)));
  }
}

void check_mesh(Group& world, Device& device) {
  const int n = world.size();
  const MeshShape shape{.pp = 1, .dp = n % 2 == 0 ? 2 : 1, .cp = 1, .tp = n % 2 == 0 ? n / 2 : n};
  const Mesh mesh(world, shape, device);
  DeviceArray<float> on_tp(device, std::vector<float>(1000, 1)), on_all(device, std::vector<float>(1000, 1));
  const auto first =
      mesh.group({Axis::kDp, Axis::kTp}).all_reduce(on_all.data(), 1000, DType::kFloat32, ReduceOp::kSum);
  const auto second = mesh.group(Axis::kTp).all_reduce(on_tp.data(), 1000, DType::kFloat32, ReduceOp::kSum);
  second->wait();
  EXPECT_EQ(on_tp.host(), std::vector<float>(1000, static_cast<float>(shape.tp)));
  first->wait();
  EXPECT_EQ(on_all.host(), std::vector<float>(1000, static_cast<float>(n)));
  mesh.progress();
}

}  // namespace
}  // namespace triptych::test

// usage: test_parallel_nccl NUM_RANKS
int main(int argc, char** argv) {
  using namespace triptych::test;
  ::testing::InitGoogleTest(&argc, argv);
  if (argc != 2) return 2;
  const std::unique_ptr<World> world = make_world({.timeout = std::chrono::seconds(120)});
  Group& group = world->group();

  RankTests tests("NcclGroup", group, world->node_rank(), [](Group& host, Device& device) {
    return make_device_group(host.split(0, host.rank(), "all"), device);
  });
  add_contract(tests, std::atoi(argv[1]));
  tests.add("GoesTheRightWay", check_transport);
  tests.add("WaitDoesNotBlockTheHost", check_wait_does_not_block_the_host);
  tests.add("RefusesAMessageWithoutItsLink", check_links);
  tests.add("MovesBothDirectionsOfAPipeline", check_pipeline);

  RankTests on_world("NcclMesh", group, world->node_rank());
  on_world.add("MakesGroupsOfItsAxes", check_mesh);

  const int failed = tests.run();
  if (failed != 0) world->abort(failed);
  return 0;
}
