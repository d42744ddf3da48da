#include "emulator/nccl/call.h"

#include <fmt/format.h>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

const char* type_name(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
      return "int8";
    case ncclUint8:
      return "uint8";
    case ncclInt32:
      return "int32";
    case ncclUint32:
      return "uint32";
    case ncclInt64:
      return "int64";
    case ncclUint64:
      return "uint64";
    case ncclFloat16:
      return "float16";
    case ncclFloat32:
      return "float32";
    case ncclFloat64:
      return "float64";
    case ncclBfloat16:
      return "bfloat16";
    default:
      return "an unknown type";
  }
}

const char* op_name(ncclRedOp_t op) {
  switch (op) {
    case ncclSum:
      return "sum";
    case ncclProd:
      return "product";
    case ncclMax:
      return "max";
    case ncclMin:
      return "min";
    case ncclAvg:
      return "average";
    default:
      return "an unknown operation";
  }
}

}  // namespace

bool CallRecord::agrees_with(const CallRecord& other) const {
  const bool has_root = kind == CallKind::kReduce || kind == CallKind::kBroadcast;
  return kind == other.kind && type == other.type && count == other.count && (!reduces() || op == other.op) &&
         (!has_root || peer == other.peer);
}

const char* CallRecord::name() const {
  switch (kind) {
    case CallKind::kAllReduce:
      return "ncclAllReduce";
    case CallKind::kReduce:
      return "ncclReduce";
    case CallKind::kBroadcast:
      return "ncclBroadcast";
    case CallKind::kAllGather:
      return "ncclAllGather";
    case CallKind::kReduceScatter:
      return "ncclReduceScatter";
    case CallKind::kSend:
      return "ncclSend";
    case CallKind::kRecv:
      return "ncclRecv";
  }
  return "?";
}

std::string CallRecord::text() const {
  const std::string elements = fmt::format("{} x {}", type_name(type), count);
  switch (kind) {
    case CallKind::kAllReduce:
    case CallKind::kReduceScatter:
      return fmt::format("{}({}, {})", name(), op_name(op), elements);
    case CallKind::kReduce:
      return fmt::format("{}({}, {}, to rank {})", name(), op_name(op), elements, peer);
    case CallKind::kBroadcast:
    case CallKind::kRecv:
      return fmt::format("{}({}, from rank {})", name(), elements, peer);
    case CallKind::kSend:
      return fmt::format("{}({}, to rank {})", name(), elements, peer);
    case CallKind::kAllGather:
      break;
  }
  return fmt::format("{}({})", name(), elements);
}

uint64_t CallRecord::bytes() const {
  return count * element_bytes(type);
}

uint64_t Call::send_count(int size, int rank) const {
  switch (record.kind) {
    case CallKind::kReduceScatter:
      return record.count * static_cast<uint64_t>(size);
    case CallKind::kBroadcast:
      return rank == record.peer ? record.count : 0;
    case CallKind::kRecv:
      return 0;
    default:
      return record.count;
  }
}

uint64_t Call::recv_count(int size, int rank) const {
  switch (record.kind) {
    case CallKind::kAllGather:
      return record.count * static_cast<uint64_t>(size);
    case CallKind::kReduce:
      return rank == record.peer ? record.count : 0;
    case CallKind::kSend:
      return 0;
    default:
      return record.count;
  }
}

std::vector<Access> Call::accesses(int size, int rank) const {
  const std::size_t element = element_bytes(record.type);
  std::vector<Access> result;
  const uint64_t sent = send_count(size, rank) * element, received = recv_count(size, rank) * element;
  if (sent > 0) result.push_back({send, send + sent, false});
  if (received > 0) result.push_back({recv, recv + received, true});
  return result;
}

std::size_t element_bytes(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
      return 8;
    default:
      report("unsupported", fmt::format("NCCL data type {}.", static_cast<int>(type)));
  }
}

}  // namespace triptych::emulator
