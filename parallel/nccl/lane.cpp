#include "parallel/nccl/lane.h"

#include <exception>
#include <utility>

#include "base/error.h"
#include "parallel/nccl/nccl_calls.h"
#include "parallel/nccl/nccl_rank.h"

namespace triptych::parallel {

Lane::Lane(Device& device, std::shared_ptr<const GroupIdentity> identity, std::unique_ptr<Communicator> communicator,
           std::chrono::milliseconds timeout)
    : device_(&device),
      rank_(&NcclRank::of(device)),
      identity_(std::move(identity)),
      stream_(CudaStream::Priority::kHigh),  // so that a collective does not queue behind the blocks of long kernels
      communicator_(std::move(communicator)),
      timeout_(timeout) {
  rank_->add(*this, *device.state().watches);
}

Lane::~Lane() {
  try {
    if (std::uncaught_exceptions() > 0) {
      rank_->fail(std::make_exception_ptr(WorldError(identity_->where(), "was left while an error unwound")));
    }
    drain();
  } catch (const Error&) {  // every communicator of the rank is aborted by now
  }
  rank_->remove(*this, *device_->state().watches);
}

NcclFlight* Lane::oldest() {
  while (!flights_.empty() && flights_.front()->done.done()) flights_.pop_front();
  return flights_.empty() ? nullptr : flights_.front().get();
}

void Lane::drain() {
  for (Naps naps; oldest() != nullptr; naps.next()) rank_->poll(NcclRank::kHostWaits);
}

std::shared_ptr<NcclFlight> Lane::start(const Operation& operation) {
  rank_->rethrow_failure();
  oldest();
  DeviceState& device = device_->state();
  auto flight = std::make_shared<NcclFlight>();
  flight->operation = operation;
  flight->identity = identity_;
  flight->ready = CudaEvent(device.events, device.compute->get());
  flight->ready.block(stream_.get());
  try {
    issue(operation);
  } catch (const Error&) {
    rank_->fail(std::current_exception());
    rank_->rethrow_failure();
  }
  flight->done = CudaEvent(device.events, stream_.get());
  flights_.push_back(flight);
  return flight;
}

void Lane::check(ncclResult_t code, const Operation& op) {
  if (code == ncclSuccess) return;
  communicator_->check(code, fmt::format("number {}, {}", op.sequence, op.to_string()));
}

void Lane::issue(const Operation& op) {
  const ncclComm_t comm = communicator_->get();
  const cudaStream_t stream = stream_.get();
  const auto count = static_cast<std::size_t>(op.count);
  const ncclDataType_t type = nccl_type(op.dtype);
  switch (op.kind) {
    case Operation::Kind::kAllReduce:
      return check(ncclAllReduce(op.recv, op.recv, count, type, nccl_op(op.reduce), comm, stream), op);
    case Operation::Kind::kAllGather:
      return check(ncclAllGather(op.send, op.recv, count, type, comm, stream), op);
    case Operation::Kind::kReduceScatter:
      return check(ncclReduceScatter(op.send, op.recv, count, type, nccl_op(op.reduce), comm, stream), op);
    case Operation::Kind::kAllToAll:
      return issue_all_to_all(op);
    case Operation::Kind::kBroadcast:
      return check(ncclBroadcast(op.recv, op.recv, count, type, op.peer, comm, stream), op);
    case Operation::Kind::kSend:
      return check(ncclSend(op.send, count, type, other_end(op), comm, stream), op);
    case Operation::Kind::kRecv:
      return check(ncclRecv(op.recv, count, type, other_end(op), comm, stream), op);
  }
}

// A link's communicator has its two ranks alone, in the order that they have in the group.
int Lane::other_end(const Operation& op) const {
  return identity_->rank < op.peer ? 1 : 0;
}

// One group, so that no message waits for another: each is a rendezvous.
void Lane::issue_all_to_all(const Operation& op) {
  const ncclDataType_t type = nccl_type(op.dtype);
  const auto count = static_cast<std::size_t>(op.count);
  const auto* const send = static_cast<const std::byte*>(op.send);
  auto* const recv = static_cast<std::byte*>(op.recv);
  ncclResult_t failure = ncclSuccess;
  const auto keep_failure = [&failure](ncclResult_t code) {
    if (code != ncclSuccess && code != ncclInProgress && failure == ncclSuccess) failure = code;
  };
  keep_failure(ncclGroupStart());
  for (int peer = 0; peer < identity_->size(); ++peer) {
    const std::size_t offset = static_cast<std::size_t>(peer) * op.bytes();
    keep_failure(ncclSend(send + offset, count, type, peer, communicator_->get(), stream_.get()));
    keep_failure(ncclRecv(recv + offset, count, type, peer, communicator_->get(), stream_.get()));
  }
  // Also after a failure: a group that stays open would swallow the next calls.
  const ncclResult_t end = ncclGroupEnd();
  check(failure == ncclSuccess ? end : failure, op);
}

}  // namespace triptych::parallel
