#include <array>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "emulator/nccl/host_comm.h"
#include "emulator/nccl/split.h"
#include "emulator/runtime/runtime.h"
#include "emulator/violation.h"

using namespace triptych::emulator;
using namespace std::chrono_literals;

namespace {

constexpr char kIdBegin[] = "/triptych-nccl-";

// The fields of a configuration that this emulator looks at.
struct Settings {
  bool blocking = true;
  std::string name;
};

ncclResult_t read_config(const ncclConfig_t* config, Settings& settings) {
  if (config == nullptr) return ncclSuccess;
  const ncclConfig_t expected = NCCL_CONFIG_INITIALIZER;
  if (config->magic != expected.magic || config->size != expected.size) {
    return refuse(ncclInvalidArgument, "a configuration must begin as NCCL_CONFIG_INITIALIZER");
  }
  if (config->blocking != NCCL_CONFIG_UNDEF_INT) settings.blocking = config->blocking != 0;
  if (config->commName != nullptr) settings.name = config->commName;
  if (config->splitShare == 1) {
    report("unsupported", "splitShare = 1, which makes communicators wait for each other.");
  }
  return ncclSuccess;
}

ncclResult_t join(ncclComm_t* comm, int num_ranks, const ncclUniqueId& id, int rank, const ncclConfig_t* config) {
  if (comm == nullptr || num_ranks < 1 || rank < 0 || rank >= num_ranks) {
    return refuse(ncclInvalidArgument, fmt::format("rank {} of {}", rank, num_ranks));
  }
  if (std::strncmp(id.internal, kIdBegin, std::strlen(kIdBegin)) != 0) {
    return refuse(ncclInvalidArgument, "an id that ncclGetUniqueId has not made");
  }
  Settings settings;
  const ncclResult_t code = read_config(config, settings);
  if (code != ncclSuccess) return code;
  const std::string segment(id.internal, strnlen(id.internal, sizeof id.internal));
  const auto host = std::make_shared<HostComm>(
      Comm::Identity{.segment = segment,
                     .name = settings.name.empty() ? segment.substr(std::strlen(kIdBegin)) : settings.name,
                     .size = num_ranks,
                     .rank = rank,
                     .device = current_device(),
                     .machine_device = runtime().options().machine_device(current_device()),
                     .blocking = settings.blocking});
  *comm = add_comm(host);
  return host->join();
}

// Runs what is queued until the communicator is idle; the communicator's own time-out ends it.
void finish_work(const Comm& comm) {
  while (!comm.idle() && !comm.aborted()) {
    runtime().queues().run_until([&] { return comm.idle(); });
    if (!comm.idle()) std::this_thread::sleep_for(100us);
  }
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};
  std::random_device random;
  const std::string name = fmt::format("{}{}-{:08x}{:08x}", kIdBegin, getpid(), random(), random());
  std::memcpy(id->internal, name.data(), name.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int nranks, ncclUniqueId id, int rank) {
  return join(comm, nranks, id, rank, nullptr);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  return join(comm, nranks, id, rank, config);
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config) {
  const std::shared_ptr<HostComm> host = find_comm(comm, "ncclCommSplit");
  ncclResult_t code = host->ensure_ready("ncclCommSplit");
  if (code != ncclSuccess) return code;
  if (newcomm == nullptr || (color < 0 && color != NCCL_SPLIT_NOCOLOR)) {
    return refuse(ncclInvalidArgument, fmt::format("ncclCommSplit with color {}", color));
  }
  Settings settings{.blocking = host->blocking(), .name = {}};
  code = read_config(config, settings);
  if (code != ncclSuccess) return code;
  if (!host->comm()->idle()) {
    report("bad-argument",
           fmt::format("ncclCommSplit of {} while it has an operation in flight: NCCL may hang. Wait for "
                       "it first.",
                       host->comm()->where()));
  }
  *newcomm = nullptr;
  const auto split = std::make_shared<Split>(host->comm(), color, key, settings.blocking, settings.name, newcomm);
  return host->begin([split] { return split->advance(); });
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  const std::shared_ptr<HostComm> host = find_comm(comm, "ncclCommFinalize");
  const ncclResult_t code = host->ensure_ready("ncclCommFinalize");
  if (code != ncclSuccess) return code;
  host->finalized = true;
  if (host->blocking()) finish_work(*host->comm());
  return host->begin([shared = host->comm()] { return shared->idle(); });
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const std::shared_ptr<HostComm> host = find_comm(comm, "ncclCommDestroy");
  finish_work(*host->comm());
  host->comm()->leave();
  remove_comm(comm);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  find_comm(comm, "ncclCommAbort")->abort();
  remove_comm(comm);
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  *error = find_comm(comm, "ncclCommGetAsyncError")->poll();
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  *count = find_comm(comm, "ncclCommCount")->comm()->size();
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  *rank = find_comm(comm, "ncclCommUserRank")->comm()->rank();
  return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  *device = find_comm(comm, "ncclCommCuDevice")->comm()->identity().device;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  constexpr std::array<const char*, ncclNumResults> kTexts{"no error",
                                                           "unhandled cuda error",
                                                           "unhandled system error",
                                                           "internal error",
                                                           "invalid argument",
                                                           "invalid usage",
                                                           "remote process exited or there was a network error",
                                                           "NCCL operation in progress"};
  return result >= 0 && result < ncclNumResults ? kTexts[static_cast<std::size_t>(result)] : "unknown result code";
}

const char* ncclGetLastError(ncclComm_t) {
  return last_nccl_error().c_str();
}

}  // extern "C"
