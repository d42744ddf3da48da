#include "emulator/nccl/group_calls.h"

#include <algorithm>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include "emulator/nccl/batch_work.h"
#include "emulator/nccl/connect.h"
#include "emulator/runtime/counters.h"
#include "emulator/runtime/runtime.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

/// The calls of a group on one communicator.
struct Batch {
  std::shared_ptr<HostComm> host;
  cudaStream_t stream = nullptr;
  std::vector<Call> calls;
};

struct Group {
  int depth = 0;
  std::vector<Batch> batches;  // in the order in which their communicators were first named
};

Group& group() {
  static thread_local Group instance;
  return instance;
}

void check_buffer(const Comm& comm, const CallRecord& record, const DeviceMemory& memory, uint64_t address,
                  uint64_t bytes) {
  if (bytes == 0) return;
  const auto complain = [&](const char* name, const std::string& what) {
    report(name, fmt::format("{} on {}: {}.", record.text(), comm.where(), what));
  };
  if (!memory.contains(address)) {
    complain("host-pointer-in-kernel",
             fmt::format("{:#x} is not in the memory of the stream's device. Pass device memory", address));
  }
  if (address % element_bytes(record.type) != 0) {
    complain("misaligned-access", fmt::format("{:#x} is not a multiple of the element's size", address));
  }
}

// Buffers may be the same where NCCL says so, else they are apart.
void check_overlap(const Comm& comm, const Call& call) {
  const std::vector<Access> accesses = call.accesses(comm.size(), comm.rank());
  if (accesses.size() < 2) return;
  const Access &sent = accesses[0], &received = accesses[1];
  const uint64_t own = static_cast<uint64_t>(comm.rank()) * call.record.bytes();
  const bool in_place = call.record.kind == CallKind::kAllGather       ? sent.begin == received.begin + own
                        : call.record.kind == CallKind::kReduceScatter ? received.begin == sent.begin + own
                                                                       : sent.begin == received.begin;
  if (in_place || sent.end <= received.begin || received.end <= sent.begin) return;
  report("bad-argument", fmt::format("{} on {}: the buffers overlap, and not in the way that is in place.",
                                     call.record.text(), comm.where()));
}

ncclResult_t check_call(const Call& call, HostComm& host, cudaStream_t stream) {
  const Comm& comm = *host.comm();
  const CallRecord& record = call.record;
  const ncclResult_t ready = host.ensure_ready(record.name());
  if (ready != ncclSuccess) return ready;
  element_bytes(record.type);  // reports what is none
  if (record.peer < 0 || record.peer >= comm.size()) {
    return refuse(ncclInvalidArgument, fmt::format("{} on {} of {} ranks", record.text(), comm.where(), comm.size()));
  }
  if (record.op < ncclSum || record.op >= ncclNumOps) {
    report("unsupported", "a reduction that ncclRedOpCreatePreMulSum has made.");
  }
  const std::optional<StreamInfo> info = runtime().stream(stream);
  if (!info) report("bad-argument", fmt::format("{} on what is no stream, or one that was destroyed.", record.text()));
  if (info->device != comm.identity().device) {
    report("bad-argument", fmt::format("{} on {} of device {}, with a stream of device {}.", record.text(),
                                       comm.where(), comm.identity().device, info->device));
  }
  const DeviceMemory& memory = memory_of(stream);
  for (const Access& access : call.accesses(comm.size(), comm.rank())) {
    check_buffer(comm, record, memory, access.begin, access.end - access.begin);
  }
  check_overlap(comm, call);
  return ncclSuccess;
}

ncclResult_t launch(const Batch& batch) {
  const std::shared_ptr<Comm>& comm = batch.host->comm();
  for (const Call& call : batch.calls) {
    count_nccl(comm->identity().name, call.record.name(),
               call.send_count(comm->size(), comm->rank()) * element_bytes(call.record.type));
  }
  const auto put_on_stream = [comm, stream = batch.stream, calls = batch.calls] {
    enqueue(stream, std::make_unique<BatchWork>(comm, memory_of(stream), calls));
  };
  const auto connect = std::make_shared<Connect>(comm, batch.calls);
  if (!connect->needed()) {
    put_on_stream();
    return ncclSuccess;
  }
  return batch.host->begin([connect, put_on_stream] {
    if (!connect->advance()) return false;
    put_on_stream();
    return true;
  });
}

}  // namespace

ncclResult_t make_call(const Call& call, ncclComm_t comm, cudaStream_t stream) {
  const std::shared_ptr<HostComm> host = find_comm(comm, call.record.name());
  const ncclResult_t code = check_call(call, *host, stream);
  if (code != ncclSuccess) return code;
  if (group().depth == 0) return launch({host, stream, {call}});
  std::vector<Batch>& batches = group().batches;
  const auto found = std::find_if(batches.begin(), batches.end(), [&](const Batch& b) { return b.host == host; });
  if (found == batches.end()) {
    batches.push_back({host, stream, {call}});
    return ncclSuccess;
  }
  if (found->stream != stream) report("unsupported", "calls on one communicator and several streams in a group.");
  found->calls.push_back(call);
  return ncclSuccess;
}

void open_group() {
  ++group().depth;
}

ncclResult_t close_group() {
  if (group().depth == 0) return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
  if (--group().depth > 0) return ncclSuccess;
  ncclResult_t result = ncclSuccess;
  for (const Batch& batch : std::exchange(group().batches, {})) {
    const ncclResult_t code = launch(batch);
    if (code != ncclSuccess && (result == ncclSuccess || result == ncclInProgress)) result = code;
  }
  return result;
}

}  // namespace triptych::emulator
