// A program that goes wrong in the way it is asked to; check_faults.py looks at how its ranks end.

#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "parallel/exit_code.h"
#include "parallel/world.h"

namespace {

using namespace triptych::test;
using namespace std::chrono_literals;

void run(std::string_view fault, World& world) {
  Group& group = world.group();
  std::vector<float> data(100'000), gathered(100'000 * static_cast<std::size_t>(group.size()));
  const auto reduce = [&](int64_t count) {
    group.all_reduce(data.data(), count, DType::kFloat32, ReduceOp::kSum)->wait();
  };
  const bool culprit = group.rank() == 1;
  world.doing("the first sums");
  for (int i = 0; i < 20; ++i) reduce(1000);
  if (fault == "none") return;
  if (fault == "killed") {
    if (culprit) std::raise(SIGKILL);
    for (;;) reduce(1000);
  }
  if (fault == "missing") {
    world.doing("what is left");
    if (culprit) std::this_thread::sleep_for(60s);
    reduce(7);
  }
  if (fault == "stopped") {
    if (culprit) std::raise(SIGSTOP);
    reduce(7);
  }
  if (fault == "deadlock") {  // rank 2 works on, and answers
    while (group.rank() == 2) {
      group.progress();
      std::this_thread::sleep_for(1ms);
    }
    group.recv(data.data(), 7, DType::kFloat32, 1 - group.rank(), 3)->wait();
  }
  if (fault == "silent_peer") {  // of a message
    if (!culprit) group.recv(data.data(), 7, DType::kFloat32, 1, 3)->wait();
    std::this_thread::sleep_for(60s);
  }
  if (fault == "too_long") {
    if (culprit) group.send(data.data(), 9, DType::kFloat32, 0, 3)->wait();
    if (group.rank() == 0) group.recv(data.data(), 7, DType::kFloat32, 1, 3)->wait();
    group.barrier();
  }
  if (fault == "too_short") {
    if (culprit) group.send(data.data(), 5, DType::kFloat32, 0, 3)->wait();
    if (group.rank() == 0) group.recv(data.data(), 7, DType::kFloat32, 1, 3)->wait();
    group.barrier();
  }
  if (fault == "disagreement") {
    if (culprit) {
      group.all_gather(data.data(), gathered.data(), 7, DType::kFloat32)->wait();
    } else {
      reduce(7);
    }
  }
  if (fault == "unwinds") {
    if (culprit) throw std::runtime_error("nobody catches this inside the world");
    reduce(7);
  }
  if (fault == "user_error") {
    if (culprit) throw UserError("test", "a mistake of the user");
    reduce(7);
  }
}

}  // namespace

// usage: faulty_ranks shared|mpi|machines FAULT
//   machines   ranks 0 and 2 are taken to be on one machine, rank 1 on another
int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string_view fault = argv[2];
  try {
    const std::string_view transport = argv[1];
    WorldOptions options{.timeout = 1500ms, .mpi_timeout = 40s, .share_memory = transport != "mpi"};
    if (transport == "machines") options.machines = {0, 1, 0};
    const auto world = make_world(options);
    try {
      run(fault, *world);
    } catch (const PeerError& error) {  // as the program does
      const std::string found = world->ask_all(error);
      std::fprintf(stderr, "%s. %s (rank %d)\n", error.what(), found.c_str(), world->group().rank());
      world->abort(error.exit_code());
    } catch (const Error& error) {
      std::fprintf(stderr, "%s (rank %d)\n", error.what(), world->group().rank());
      world->abort(error.exit_code());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    leave_exit_code(1);
    return 1;
  }
  std::printf("ended well\n");
  leave_exit_code(0);
  return 0;
}
