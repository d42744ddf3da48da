#include "parallel/mpi_group.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/checked.h"
#include "base/console.h"
#include "parallel/exit_code.h"
#include "parallel/time_limit.h"

namespace triptych::parallel {
namespace {

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return MPI_FLOAT;
    case DType::kFloat64:
      return MPI_DOUBLE;
    case DType::kInt32:
      return MPI_INT32_T;
    case DType::kInt64:
      return MPI_INT64_T;
    case DType::kBFloat16:
    case DType::kFloat16:
      return MPI_UINT16_T;  // moved, never summed
    case DType::kUInt8:
      return MPI_UINT8_T;
  }
  return MPI_DATATYPE_NULL;
}

MPI_Op mpi_op(ReduceOp reduce) {
  return reduce == ReduceOp::kSum ? MPI_SUM : MPI_MAX;
}

}  // namespace

void check_mpi(int code, std::string_view where, std::string_view call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw WorldError(where, fmt::format("{} must succeed: {}. Look at what the other ranks printed", call,
                                      std::string_view(text.data(), static_cast<std::size_t>(length))));
}

void abort_mpi(int exit_code) {
  std::fflush(nullptr);
  leave_exit_code(exit_code);
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

/// One operation of a group, as one MPI request or, above `max_count` elements, several.
class MpiFlight : public Flight {
 public:
  using Flight::Flight;
  ~MpiFlight() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized != 0) return;
    for (MPI_Datatype& type : types_) MPI_Type_free(&type);
  }

  /// A message wakes its peer when it has started and when it is done. MPI would let a sleeper sleep until its next
  /// poll.
  void ring_when_moved(Doorbell* peers_bell) {
    peers_bell_ = peers_bell;
    if (peers_bell_ != nullptr) peers_bell_->ring();
  }

  /// Of a receive: its message may have fewer elements.
  void accept_shorter() { may_be_shorter_ = true; }

  MPI_Request* new_request() { return &requests_.emplace_back(MPI_REQUEST_NULL); }

  /// `count` elements as MPI counts them: a type, and how many of it.
  std::pair<MPI_Datatype, int> counted(DType dtype, int64_t count, int max_count) {
    const MPI_Datatype base = mpi_type(dtype);
    if (count <= max_count) return {base, static_cast<int>(count)};
    const auto repeat = [this](int64_t times, MPI_Datatype of) {
      MPI_Datatype type;
      check_mpi(MPI_Type_contiguous(narrow<int>(times), of, &type), identity().where(), "MPI_Type_contiguous");
      types_.push_back(type);
      return type;
    };
    const int64_t num_full = count / max_count;
    const std::array<int, 2> lengths{1, 1};
    const std::array<MPI_Aint, 2> places{
        0, static_cast<MPI_Aint>(num_full * max_count) * static_cast<MPI_Aint>(dtype_bytes(dtype))};
    const std::array<MPI_Datatype, 2> parts{repeat(num_full, repeat(max_count, base)), repeat(count % max_count, base)};
    MPI_Datatype whole;
    check_mpi(MPI_Type_create_struct(2, lengths.data(), places.data(), parts.data(), &whole), identity().where(),
              "MPI_Type_create_struct");
    types_.push_back(whole);
    check_mpi(MPI_Type_commit(&whole), identity().where(), "MPI_Type_commit");
    return {whole, 1};
  }

  /// True if something was finished. MPI never runs here while another of its calls does.
  bool advance() {
    const std::size_t before = num_done_;
    try {
      while (num_done_ < requests_.size() && test_next()) ++num_done_;
    } catch (const Error&) {
      fail(std::current_exception());
      return true;
    }
    if (num_done_ == requests_.size()) {
      complete();
      if (peers_bell_ != nullptr) peers_bell_->ring();
    }
    return finished() || num_done_ != before;
  }

 private:
  bool test_next() {
    int done = 0;
    MPI_Status status;
    check_mpi(MPI_Test(&requests_[num_done_], &done, &status), identity().where(), operation().to_string());
    if (done == 0) return false;
    if (operation().kind == Operation::Kind::kRecv && types_.empty() && !may_be_shorter_) {
      int received = 0;
      MPI_Get_count(&status, mpi_type(operation().dtype), &received);
      if (received != operation().count) {
        throw InternalError(identity().where(), fmt::format("number {}, {}, got {} elements. Both ranks must state the "
                                                            "same count and type",
                                                            operation().sequence, operation().to_string(), received));
      }
    }
    return true;
  }

  std::vector<MPI_Request> requests_;
  std::vector<MPI_Datatype> types_;  // kept until MPI is done with them
  std::size_t num_done_ = 0;
  Doorbell* peers_bell_ = nullptr;
  bool may_be_shorter_ = false;
};

Seat* MpiContext::seat_of(int of_world_rank, int this_world_rank) const {
  const std::size_t other = static_cast<std::size_t>(of_world_rank), mine = static_cast<std::size_t>(this_world_rank);
  if (!seats || nodes[other] != nodes[mine]) return nullptr;
  return reinterpret_cast<Seat*>(seats->data()) + node_ranks[other];
}

Doorbell* MpiContext::doorbell_of(int of_world_rank, int this_world_rank) const {
  Seat* const seat = seat_of(of_world_rank, this_world_rank);
  return seat == nullptr ? nullptr : &seat->doorbell;
}

bool MpiRequests::advance() {
  const std::size_t num_finished = std::erase_if(flights_, [](const std::shared_ptr<MpiFlight>& flight) {
    flight->advance();
    return flight->finished();
  });
  return num_finished > 0;
}

std::optional<SharedSegment> share_segment(MPI_Comm comm, std::size_t bytes) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  SharedSegment segment;
  SharedSegment::Ticket ticket;
  if (rank == 0) {
    try {
      segment = SharedSegment::create(bytes);
      ticket = segment.ticket();
    } catch (const WorldError& error) {
      print_warning(
          fmt::format("{}. What this machine's ranks tell each other goes through MPI, which is slower", error.what()));
      segment = SharedSegment();
    }
  }
  check_mpi(MPI_Bcast(&ticket, sizeof ticket, MPI_BYTE, 0, comm), "shared memory", "MPI_Bcast");
  if (rank != 0 && ticket.process != 0) segment = SharedSegment::open(ticket);
  int mapped = segment.data() != nullptr ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &mapped, 1, MPI_INT, MPI_MIN, comm), "shared memory", "MPI_Allreduce");
  segment.close_descriptor();
  if (mapped == 0) return std::nullopt;
  return segment;
}

MpiGroup::MpiGroup(GroupIdentity identity_of_rank, MPI_Comm comm, std::shared_ptr<MpiContext> context)
    : Group(std::move(identity_of_rank)), comm_(comm), context_(std::move(context)) {
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  std::vector<int> machines;
  for (const int member : identity()->world_ranks) {
    machines.push_back(context_->nodes[static_cast<std::size_t>(member)]);
  }
  if (size() > 1) share_with(machines);
}

// Collective. `machines` by rank: a number that ranks of a machine have in common.
void MpiGroup::share_with(const std::vector<int>& machines) {
  GroupMachines all = GroupMachines::of(machines, rank());
  const std::vector<int>& here = all.ranks[static_cast<std::size_t>(all.own)];
  const bool is_one_machine = all.count() == 1;
  const SharedCollectives::Options shared_options;
  const HierarchicalCollectives::Options options = HierarchicalCollectives::options_for(all);
  const int num_here = static_cast<int>(here.size());
  const MessageLane::Sizes lanes = SharedMessages::sizes_for(num_here);
  const std::size_t collectives = is_one_machine ? SharedCollectives::segment_bytes(size(), shared_options)
                                                 : HierarchicalCollectives::segment_bytes(all, options);
  const auto messages_begin =
      static_cast<std::size_t>(round_up(static_cast<int64_t>(collectives), MessageLane::kAlignment));
  const std::size_t bytes = messages_begin + (num_here == 1 ? 0 : SharedMessages::segment_bytes(num_here, lanes));
  const auto check = [this](int code, std::string_view call) { check_mpi(code, identity()->where(), call); };
  std::optional<SharedSegment> segment;
  // Who has no neighbour needs none of their doorbells.
  int may_share = context_->share_memory && (here.size() == 1 || context_->seats) ? 1 : 0;
  if (is_one_machine) {
    if (may_share == 1) segment = share_segment(comm_, bytes);
    if (!segment) return;
  } else {
    MPI_Comm machine = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, all.own, rank(), &machine), "MPI_Comm_split");
    MPI_Comm_set_errhandler(machine, MPI_ERRORS_RETURN);
    if (may_share == 1) segment = share_segment(machine, bytes);
    MPI_Comm_free(&machine);
    may_share = segment ? 1 : 0;  // all of them or none
    check(MPI_Allreduce(MPI_IN_PLACE, &may_share, 1, MPI_INT, MPI_MIN, comm_), "MPI_Allreduce");
    if (may_share == 0) return;
  }
  std::vector<Doorbell*> bells;
  for (const int member : here) bells.push_back(context_->doorbell_of(world_rank(member), world_rank(rank())));
  auto keep = std::make_shared<SharedSegment>(std::move(*segment));
  std::byte* const base = keep->data();
  if (num_here > 1) {
    std::vector<SlotRing::Member> members;
    for (std::size_t i = 0; i < here.size(); ++i) members.push_back({.rank = here[i], .bell = bells[i]});
    messages_ =
        std::make_unique<SharedMessages>(identity(), context_->progress, keep, base + messages_begin, members, lanes);
  }
  if (is_one_machine) {
    shared_ = std::make_unique<SharedCollectives>(identity(), context_->progress, std::move(keep), base, bells,
                                                  shared_options);
    return;
  }
  check(MPI_Comm_dup(comm_, &between_machines_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(between_machines_, MPI_ERRORS_RETURN);
  has_neighbours_ = all.count() < size();
  hierarchical_ = std::make_unique<HierarchicalCollectives>(
      identity(), context_->progress, std::move(keep), base, bells, std::move(all),
      [this](const Operation& message, bool may_be_shorter) {
        std::shared_ptr<MpiFlight> flight = start_message(between_machines_, message);
        if (may_be_shorter) flight->accept_shorter();
        return flight;
      },
      options);
}

MpiGroup::~MpiGroup() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0) return;
  if (between_machines_ != MPI_COMM_NULL) MPI_Comm_free(&between_machines_);
  MPI_Comm_free(&comm_);
}

std::string_view MpiGroup::transport() const {
  if (hierarchical_) return has_neighbours_ ? "shared memory and MPI" : "MPI in pieces";
  return size() == 1 ? "none" : shared_ ? "shared memory" : "MPI";
}

void MpiGroup::abort(int exit_code) {
  abort_mpi(exit_code);
}

std::unique_ptr<Group> MpiGroup::split(int color, int key, std::string name) {
  GroupIdentity part = split_identity(color, key, std::move(name));
  MPI_Comm comm = MPI_COMM_NULL;
  const TimeLimit limit(timeout(), part.where(), "have joined this group");
  check_mpi(MPI_Comm_split(comm_, color < 0 ? MPI_UNDEFINED : color, key, &comm), identity()->where(),
            "MPI_Comm_split");
  if (comm == MPI_COMM_NULL) return nullptr;
  return std::make_unique<MpiGroup>(std::move(part), comm, context_);
}

std::shared_ptr<Pending> MpiGroup::start(const Operation& operation) {
  if (!operation.is_collective()) {
    if (messages_ && messages_->reaches(operation.peer)) return messages_->start(operation);
    return start_message(comm_, operation);
  }
  if (shared_) return shared_->start(operation);
  if (hierarchical_ && HierarchicalCollectives::takes(operation)) return hierarchical_->start(operation);
  auto flight = std::make_shared<MpiFlight>(context_->progress, identity(), operation);
  start_collective(*flight, operation);
  context_->requests.add(flight);
  return flight;
}

std::shared_ptr<MpiFlight> MpiGroup::start_message(MPI_Comm comm, const Operation& operation) {
  auto flight = std::make_shared<MpiFlight>(context_->progress, identity(), operation);
  const auto [type, count] = flight->counted(operation.dtype, operation.count, context_->max_count);
  const int code =
      operation.kind == Operation::Kind::kSend
          ? MPI_Isend(operation.send, count, type, operation.peer, operation.tag, comm, flight->new_request())
          : MPI_Irecv(operation.recv, count, type, operation.peer, operation.tag, comm, flight->new_request());
  check_mpi(code, identity()->where(), operation.to_string());
  flight->ring_when_moved(context_->doorbell_of(world_rank(operation.peer), world_rank(rank())));
  context_->requests.add(flight);
  return flight;
}

void MpiGroup::start_collective(MpiFlight& flight, const Operation& op) {
  const auto check = [&](int code) { check_mpi(code, identity()->where(), op.to_string()); };
  const std::size_t element_bytes = dtype_bytes(op.dtype);
  // Reductions take no composed types, so large ones go piece by piece.
  const auto for_pieces = [&](const auto& start_piece) {
    for (int64_t begin = 0; begin == 0 || begin < op.count; begin += context_->max_count) {
      start_piece(static_cast<std::size_t>(begin) * element_bytes,
                  static_cast<int>(std::min<int64_t>(context_->max_count, op.count - begin)));
    }
  };
  std::byte* const recv = static_cast<std::byte*>(op.recv);
  const std::byte* const send = static_cast<const std::byte*>(op.send);
  const MPI_Datatype base = mpi_type(op.dtype);
  if (op.kind == Operation::Kind::kAllReduce) {
    return for_pieces([&](std::size_t offset, int count) {
      check(MPI_Iallreduce(MPI_IN_PLACE, recv + offset, count, base, mpi_op(op.reduce), comm_, flight.new_request()));
    });
  }
  if (op.kind == Operation::Kind::kReduceScatter && op.count <= context_->max_count) {
    return check(MPI_Ireduce_scatter_block(send, recv, static_cast<int>(op.count), base, mpi_op(op.reduce), comm_,
                                           flight.new_request()));
  }
  if (op.kind == Operation::Kind::kReduceScatter) {
    for (int root = 0; root < size(); ++root) {
      const std::byte* const row = send + static_cast<std::size_t>(root) * op.bytes();
      for_pieces([&](std::size_t offset, int count) {
        check(MPI_Ireduce(row + offset, recv + offset, count, base, mpi_op(op.reduce), root, comm_,
                          flight.new_request()));
      });
    }
    return;
  }
  const auto [type, count] = flight.counted(op.dtype, op.count, context_->max_count);
  switch (op.kind) {
    case Operation::Kind::kAllGather:
      return check(MPI_Iallgather(send, count, type, recv, count, type, comm_, flight.new_request()));
    case Operation::Kind::kAllToAll:
      return check(MPI_Ialltoall(send, count, type, recv, count, type, comm_, flight.new_request()));
    case Operation::Kind::kBroadcast:
      return check(MPI_Ibcast(recv, count, type, op.peer, comm_, flight.new_request()));
    default:
      throw InternalError(identity()->where(), fmt::format("{} is no collective", op.to_string()));
  }
}

}  // namespace triptych::parallel
