#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#define OMPI_SKIP_MPICXX 1  // the retired C++ classes, which do not compile without warnings
#include <mpi.h>

#include "parallel/group.h"
#include "parallel/hierarchical_collectives.h"
#include "parallel/progress.h"
#include "parallel/rank_status.h"
#include "parallel/shared_collectives.h"
#include "parallel/shared_messages.h"
#include "parallel/shared_segment.h"

namespace triptych::parallel {

/// Throws WorldError with MPI's own text unless the call succeeded.
void check_mpi(int code, std::string_view where, std::string_view call);

class MpiFlight;

/// Every MPI request of this rank; MPI moves nothing unless these are polled.
class MpiRequests : public Progress::Source {
 public:
  void add(std::shared_ptr<MpiFlight> flight) { flights_.push_back(std::move(flight)); }
  bool advance() override;
  bool idle() const override { return flights_.empty(); }
  bool rings() const override { return false; }

 private:
  std::vector<std::shared_ptr<MpiFlight>> flights_;
};

/// What a rank lets the others of its machine see.
struct Seat {
  Doorbell doorbell;
  RankStatus status;
};

/// What all groups of this rank share.
struct MpiContext {
  std::shared_ptr<Progress> progress;
  MpiRequests requests;
  std::vector<int> nodes;              ///< by world rank: a number that ranks of one machine have in common
  std::vector<int> node_ranks;         ///< by world rank
  std::optional<SharedSegment> seats;  ///< one of each rank of this machine; none if memory is not shared
  bool share_memory = true;            ///< that memory may be shared
  int max_count = 0;

  /// Of a rank on the same machine as this one; else nullptr.
  Seat* seat_of(int of_world_rank, int this_world_rank) const;
  Doorbell* doorbell_of(int of_world_rank, int this_world_rank) const;
};

/// Creates a segment on rank 0 of `comm`, all of one machine, and maps it on all; nothing if any of them cannot.
std::optional<SharedSegment> share_segment(MPI_Comm comm, std::size_t bytes);

/// A group over an MPI communicator, which it owns. Ranks that may share memory use it: their messages, see
/// SharedMessages, and their collectives, see SharedCollectives. Between machines messages are MPI's, of which
/// HierarchicalCollectives makes collectives, with memory within each machine. Where the system lets ranks of a machine
/// share no memory, all is MPI's own.
class MpiGroup : public Group {
 public:
  MpiGroup(GroupIdentity identity, MPI_Comm comm, std::shared_ptr<MpiContext> context);
  ~MpiGroup() override;

  std::unique_ptr<Group> split(int color, int key, std::string name) override;
  void progress() override { context_->progress->poll(); }
  std::string_view transport() const override;
  std::chrono::milliseconds timeout() const override { return context_->progress->timeout(); }
  [[noreturn]] void abort(int exit_code) override;

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override;

 private:
  void share_with(const std::vector<int>& machines);
  std::shared_ptr<MpiFlight> start_message(MPI_Comm comm, const Operation& operation);
  void start_collective(MpiFlight& flight, const Operation& operation);
  MPI_Comm comm_;
  MPI_Comm between_machines_ = MPI_COMM_NULL;  // for messages of `hierarchical_`
  std::shared_ptr<MpiContext> context_;
  std::unique_ptr<SharedCollectives> shared_;
  std::unique_ptr<HierarchicalCollectives> hierarchical_;
  std::unique_ptr<SharedMessages> messages_;  // of this machine's ranks
  bool has_neighbours_ = false;               // of several machines, one at least has several ranks
};

/// Flushes what was printed and ends all ranks.
[[noreturn]] void abort_mpi(int exit_code);

}  // namespace triptych::parallel
