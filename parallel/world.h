#pragma once

#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/group.h"
#include "parallel/machines.h"
#include "parallel/peer_error.h"

namespace triptych::parallel {

struct WorldOptions {
  /// How long a wait lasts before a missing peer is an error.
  std::chrono::milliseconds timeout{600'000};
  /// How long MPI's own start and end may take; 0: as long as a wait. Given only in tests, whose waits are to end
  /// sooner than a busy machine starts MPI.
  std::chrono::milliseconds mpi_timeout{0};
  /// What ranks of one machine tell each other goes through shared memory where the system lets it; else through MPI.
  bool share_memory = true;
  /// MPI counts are ints: what has more elements goes in pieces of this many. Smaller only in tests.
  int max_mpi_count = std::numeric_limits<int>::max();
  /// By world rank: a number that the ranks of one machine have in common. Empty: as it is. Given only in tests, which
  /// have one machine.
  std::vector<int> machines{};
};

/// All ranks of this run, and where this one is. Destroyed after every group that came from it; when an exception
/// unwinds through it, it ends all ranks with exit code 1.
class World {
 public:
  virtual ~World() = default;
  virtual Group& group() = 0;
  /// This rank among those of its machine.
  virtual int node_rank() const = 0;
  virtual int node_size() const = 0;
  /// The machine's name.
  virtual const std::string& host() const = 0;
  /// Cores of this machine that its ranks may run on, all of them together; at least 1.
  virtual int node_cores() const = 0;
  /// Where all ranks are.
  virtual const Machines& machines() const = 0;
  /// The network cards that carry TCP from this rank to other machines at this moment, "eth1 (10.1.0.7)"; empty if none
  /// does.
  virtual std::string interfaces() const { return {}; }
  /// Says what this rank does from now on ("step 12"), for the message of those who miss it. Cheap, not collective.
  virtual void doing(std::string_view what) = 0;
  /// Seconds for which this rank's host has waited for other ranks so far; NaN where that is not measured.
  virtual double waited_s() const { return std::numeric_limits<double>::quiet_NaN(); }
  /// After a PeerError: asks all ranks what they do, and returns the sentence that tells it: who does not answer, what
  /// that rank did last, and who waits where. Takes up to 1.5 s, and 3 s where the error is an echo. Where several ask,
  /// all but one are to be ended by it, and return only after 4.5 s: one that knows the cause tells.
  virtual std::string ask_all(const PeerError& error) = 0;
  /// Ends all ranks with this exit code, now: nothing is unwound, what was printed is flushed.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

/// True if this process was started as one of several, by mpirun or by Slurm with PMI.
bool started_by_mpi();

/// The ranks that were started together, over MPI (thread level SERIALIZED: one thread at a time uses the groups); or
/// one rank that never touches MPI, if started alone. Throws UserError if Slurm started several tasks without PMI.
std::unique_ptr<World> make_world(const WorldOptions& options = {});

}  // namespace triptych::parallel
