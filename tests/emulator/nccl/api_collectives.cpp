#include "emulator/nccl/group_calls.h"

using namespace triptych::emulator;

namespace {

CallRecord record_of(CallKind kind, std::size_t count, ncclDataType_t type, ncclRedOp_t op = ncclSum, int peer = 0) {
  return {.kind = kind, .type = type, .op = op, .peer = peer, .count = count};
}

uint64_t address(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

}  // namespace

extern "C" {

ncclResult_t ncclAllReduce(const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return make_call({record_of(CallKind::kAllReduce, count, datatype, op), address(sendbuff), address(recvbuff)}, comm,
                   stream);
}

ncclResult_t ncclReduce(const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op,
                        int root, ncclComm_t comm, cudaStream_t stream) {
  return make_call({record_of(CallKind::kReduce, count, datatype, op, root), address(sendbuff), address(recvbuff)},
                   comm, stream);
}

ncclResult_t ncclBroadcast(const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return make_call(
      {record_of(CallKind::kBroadcast, count, datatype, ncclSum, root), address(sendbuff), address(recvbuff)}, comm,
      stream);
}

ncclResult_t ncclAllGather(const void* sendbuff, void* recvbuff, size_t sendcount, ncclDataType_t datatype,
                           ncclComm_t comm, cudaStream_t stream) {
  return make_call({record_of(CallKind::kAllGather, sendcount, datatype), address(sendbuff), address(recvbuff)}, comm,
                   stream);
}

ncclResult_t ncclReduceScatter(const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return make_call({record_of(CallKind::kReduceScatter, recvcount, datatype, op), address(sendbuff), address(recvbuff)},
                   comm, stream);
}

ncclResult_t ncclSend(const void* sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return make_call({record_of(CallKind::kSend, count, datatype, ncclSum, peer), address(sendbuff), 0}, comm, stream);
}

ncclResult_t ncclRecv(void* recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return make_call({record_of(CallKind::kRecv, count, datatype, ncclSum, peer), 0, address(recvbuff)}, comm, stream);
}

ncclResult_t ncclGroupStart() {
  open_group();
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  return close_group();
}

}  // extern "C"
