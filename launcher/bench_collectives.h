#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/rooms.h"

namespace CLI {
class App;
}

namespace triptych::parallel {
class World;
}

namespace triptych::launcher {

struct BenchCollectivesOptions {
  uint64_t min_bytes = 4 << 10, max_bytes = 16 << 20;  ///< of the larger buffer of a rank; sizes go by factors of four
  int rounds = 30;
  std::string transport = "shared";  ///< "shared": shared memory within a machine, pieces between machines; "mpi"
  bool json = false;                 ///< the numbers of the table as one JSON object
};

/// Measures every collective, and messages between pairs of ranks, over sizes. Rank 0 prints a table with time,
/// algorithm and bus bandwidth; on one machine beside how fast all ranks at once copy from memory that their neighbour
/// has just written, measured in the same rounds; on several with what rank 0's network cards sent. Returns the exit
/// code.
int bench_collectives(const BenchCollectivesOptions& options, World& world);

/// Adds `triptych bench collectives` to `bench`. When it is what the user asked for, parsing sets `run` to the work
/// that is left, which returns the exit code.
void register_bench_collectives(CLI::App& bench, std::function<int()>& run);

}  // namespace triptych::launcher
