#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/trace.h"

namespace triptych::parallel {

enum class ReduceOp : uint8_t { kSum, kMax };

/// One operation in flight. Its buffers belong to it until test() or wait() says that it is done; dropping the handle
/// earlier does not cancel it.
class Pending {
 public:
  virtual ~Pending() = default;
  /// Makes progress; true when done. Throws like wait(), but never because of time.
  virtual bool test() = 0;
  /// Returns when done, making progress on every operation of this rank meanwhile. Throws PeerError that names the
  /// group, the operation, its sequence number, the time waited and, where known, the missing rank, if a peer failed or
  /// did not come in time; InternalError if the ranks called different operations.
  virtual void wait() = 0;
};

/// What a rank asked of its group; the buffers are borrowed until the operation is done.
struct Operation {
  enum class Kind : uint8_t { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kBroadcast, kSend, kRecv };
  Kind kind = Kind::kAllReduce;
  DType dtype = DType::kFloat32;
  ReduceOp reduce = ReduceOp::kSum;
  int peer = 0;  ///< the root of a broadcast, the other rank of a send or recv
  int tag = 0;   ///< of a send or recv
  int64_t count = 0;
  const void* send = nullptr;
  void* recv = nullptr;  ///< an all-reduce and a broadcast have only this one
  /// Numbers the group's collectives, or the messages from one rank to another with this tag; from 0.
  int64_t sequence = 0;

  bool is_collective() const { return kind != Kind::kSend && kind != Kind::kRecv; }
  std::size_t bytes() const { return static_cast<std::size_t>(count) * dtype_bytes(dtype); }
  /// True if two ranks may take part in one collective with these.
  bool agrees_with(const Operation& other) const;
  /// "all_reduce(sum, float32 x 12)", "send(bfloat16 x 7, to rank 2, tag 5)".
  std::string to_string() const;
};

/// The direction in which one rank sends messages with one tag to another.
struct Link {
  int from = 0, to = 0, tag = 0;
  auto operator<=>(const Link&) const = default;
};

/// Which ranks a group has, and which of them this one is; kept by operations in flight for their messages.
struct GroupIdentity {
  std::string name;
  int rank = 0;
  std::vector<int> world_ranks;  ///< by rank in the group

  int size() const { return static_cast<int>(world_ranks.size()); }
  /// "rank 1 (world rank 3)".
  std::string rank_text(int of_rank) const;
  /// "group tp[pp=0,dp=1]", the place of an error.
  std::string where() const { return "group " + name; }
};

/// The ranks of one collective, seen from one of them. Every operation returns at once; whoever needs the result waits.
/// The ranks of a group start the same collectives in the same order; messages between two ranks with the same tag
/// arrive in the order they were sent. One thread at a time uses the groups of a rank.
///
/// The buffers are the host's in a group that came from a World, and device memory in one that make_device_group made:
/// there an operation starts after what is queued on the device's compute stream, and wait() makes that stream wait,
/// not the host.
///
/// Reductions take float32, float64, int32 and int64, in an order that does not depend on timing (16-bit floats are
/// refused: sums are taken in float32); the maximum with a NaN is not defined. Everything else moves any type. Buffers
/// of one operation do not overlap. A count of 0 is legal, and so are counts above 2^31.
class Group {
 public:
  virtual ~Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return identity_->rank; }
  int size() const { return identity_->size(); }
  const std::string& name() const { return identity_->name; }
  /// The world's number of one of this group's ranks.
  int world_rank(int of_rank) const { return identity_->world_ranks[static_cast<std::size_t>(of_rank)]; }

  /// data[count]: every rank's is replaced by the sum (or maximum) over the ranks.
  std::shared_ptr<Pending> all_reduce(void* data, int64_t count, DType dtype, ReduceOp reduce);
  /// send[count] of every rank to recv[size][count] of all.
  std::shared_ptr<Pending> all_gather(const void* send, void* recv, int64_t count, DType dtype);
  /// recv[count] is the sum (or maximum) over the ranks of send[rank()], a row of send[size][count].
  std::shared_ptr<Pending> reduce_scatter(const void* send, void* recv, int64_t count, DType dtype, ReduceOp reduce);
  /// Row j of rank i's send[size][count] becomes row i of rank j's recv[size][count].
  std::shared_ptr<Pending> all_to_all(const void* send, void* recv, int64_t count, DType dtype);
  /// data[count] of `root` to all.
  std::shared_ptr<Pending> broadcast(void* data, int64_t count, DType dtype, int root);
  /// data[count] to or from another rank of the group; the two state the same count and type.
  std::shared_ptr<Pending> send(const void* data, int64_t count, DType dtype, int peer, int tag);
  std::shared_ptr<Pending> recv(void* data, int64_t count, DType dtype, int peer, int tag);

  /// Collective, every rank with the same list, before the first message of a link: makes it ready. Needed only where
  /// messages in different directions must not wait for each other (NCCL); costs nothing elsewhere. Blocks.
  virtual void open_links(std::span<const Link>) {}

  /// What carries the collectives: "shared memory", "MPI", "threads", "NCCL"; "none" in a group of one rank.
  virtual std::string_view transport() const = 0;
  /// How long a wait lasts before a missing peer is an error.
  virtual std::chrono::milliseconds timeout() const = 0;

  /// Returns when every rank of the group has called it.
  virtual void barrier();
  /// Every rank's text, by rank; for agreement on errors and other small things. Blocks.
  virtual std::vector<std::string> all_gather_string(const std::string& text);

  /// Collective: the ranks that name one color become a group, ordered by `key`, then by their rank here. A negative
  /// color joins none and gets nullptr. Blocks. The new group may outlive this one, but not its world.
  virtual std::unique_ptr<Group> split(int color, int key, std::string name) = 0;
  /// The same, ordered by the ranks here, where every rank knows all ranks' colors, by their rank here.
  virtual std::unique_ptr<Group> split_by(const std::function<int(int rank)>& color_of, std::string name);
  /// Moves along what is in flight, in every group of this rank; called between kernels, since MPI moves nothing by
  /// itself. Cheap if nothing is.
  virtual void progress() = 0;
  /// Operations that start from now on are seen by `trace`, which outlives them; null: by none.
  void set_trace(Trace* trace) { trace_ = trace; }
  /// Ends all ranks of the world. Processes exit with `exit_code`; ranks that are threads get WorldError from their
  /// next operation or wait, and so does the caller.
  [[noreturn]] virtual void abort(int exit_code) = 0;

 protected:
  explicit Group(GroupIdentity identity);
  const std::shared_ptr<const GroupIdentity>& identity() const { return identity_; }
  /// Starts an operation that has been checked; a collective only if the group has several ranks.
  virtual std::shared_ptr<Pending> start(const Operation& operation) = 0;
  /// What a collective of a group of one rank comes to, where its two buffers differ.
  virtual void copy(void* to, const void* from, std::size_t bytes);
  /// The identity of this rank's group after a split; no ranks if its color is negative. Collective, blocks.
  GroupIdentity split_identity(int color, int key, std::string name);

 private:
  std::shared_ptr<Pending> start_checked(Operation operation);
  std::shared_ptr<Pending> start_traced(const Operation& operation);
  std::shared_ptr<const GroupIdentity> identity_;
  Trace* trace_ = nullptr;
  int64_t num_collectives_ = 0;
  std::map<std::pair<int, int>, int64_t> num_sent_, num_received_;  // by (peer, tag)
};

/// A group of this rank alone: every operation is done when it returns.
std::unique_ptr<Group> make_self_group(std::string name, int world_rank = 0);

}  // namespace triptych::parallel
