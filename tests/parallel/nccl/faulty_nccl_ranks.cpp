// A program that goes wrong on its GPUs in the way it is asked to; check_faults.py looks at how its ranks end.

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "parallel/device_group.h"
#include "parallel/world.h"

namespace {

using namespace triptych::test;
using namespace std::chrono_literals;

void run(std::string_view fault, World& world) {
  Device device(1, world.node_rank());
  const std::unique_ptr<Group> group = make_device_group(world.group().split(0, world.group().rank(), "all"), device);
  const Buffer data = device.allocate(4000), gathered = device.allocate(4000 * static_cast<std::size_t>(group->size()));
  device.zero(data.data(), data.size());
  const auto reduce = [&](int64_t count) {
    group->all_reduce(data.data(), count, DType::kFloat32, ReduceOp::kSum)->wait();
  };
  const bool culprit = group->rank() == 1;
  group->open_links(std::vector<Link>{{.from = 1, .to = 0, .tag = 3}});
  for (int i = 0; i < 20; ++i) reduce(1000);
  device.synchronize();
  if (fault == "none") return;
  if (fault == "killed") {
    if (culprit) std::raise(SIGKILL);
    for (;;) {
      reduce(1000);
      device.synchronize();
    }
  }
  if (fault == "missing") {
    if (culprit) std::this_thread::sleep_for(60s);
    reduce(7);
    device.synchronize();
  }
  if (fault == "seen_late") {  // rank 0 waits for rank 1 too, and sees rank 2 give up
    if (culprit) std::this_thread::sleep_for(60s);
    if (group->rank() == 0) std::this_thread::sleep_for(700ms);
    reduce(7);
    device.synchronize();
  }
  if (fault == "silent_peer") {
    if (group->rank() == 0) group->recv(data.data(), 7, DType::kFloat32, 1, 3)->wait();
    if (group->rank() != 0) std::this_thread::sleep_for(60s);
    wait_on_host(device.record(), nullptr);
  }
  if (fault == "gives_up") {  // and leaves its groups, while the others wait for it in a read
    if (culprit) throw UserError("test", "a mistake of the user");
    reduce(7);
    float value = 0;
    device.read(&value, data.data(), sizeof value);
  }
  if (fault == "out_of_memory") {
    if (culprit) device.allocate(std::size_t{1} << 40);
    reduce(7);
    device.synchronize();
  }
  if (fault == "disagreement") {  // NCCL itself would hang, or compute nonsense
    if (culprit) {
      group->all_gather(data.data(), gathered.data(), 7, DType::kFloat32)->wait();
    } else {
      reduce(7);
    }
    device.synchronize();
  }
}

}  // namespace

// usage: faulty_nccl_ranks FAULT
int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const auto world = make_world({.timeout = 1500ms, .mpi_timeout = 40s});
    try {
      run(argv[1], *world);
    } catch (const PeerError& error) {  // as the program does
      const std::string found = world->ask_all(error);
      std::fprintf(stderr, "%s. %s (rank %d)\n", error.what(), found.c_str(), world->group().rank());
      world->abort(error.exit_code());
    } catch (const Error& error) {
      std::fprintf(stderr, "%s (rank %d)\n", error.what(), world->group().rank());
      // Time for the others to find out by themselves, which is what is looked at.
      if (error.kind() == ErrorKind::kUser) std::this_thread::sleep_for(6s);
      world->abort(error.exit_code());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::printf("ended well\n");
  return 0;
}
