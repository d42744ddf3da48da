#include "emulator/ptx/memory_access.h"

#include <cstring>

#include <fmt/format.h>
#include <sys/mman.h>

#include "emulator/ptx/block.h"

namespace triptych::emulator::ptx {
namespace {

// Whether the host has memory there.
bool is_host_memory(uint64_t address) {
  constexpr uint64_t kPage = 4096;
  unsigned char resident = 0;
  return mincore(reinterpret_cast<void*>(address / kPage * kPage), kPage, &resident) == 0;
}

// Reports, or for a read of undefined memory notes, what is wrong with an access to global memory.
void fault_global(Warp& warp, int lane, uint64_t address, unsigned size, bool reads) {
  const DeviceMemory& memory = warp.block().state().memory;
  const char* verb = reads ? "reads" : "writes";
  if (memory.contains(address)) {
    const DeviceMemory::Fault fault = memory.fault(address, size, reads);
    if (fault.name == "uninitialised-read") {
      std::string& waiting = warp.block().state().undefined_read;
      if (waiting.empty()) waiting = warp.describe_problem(lane, fmt::format("{} {}", verb, fault.message));
      return;
    }
    warp.fail(fault.name, lane, fmt::format("{} {}", verb, fault.message));
  }
  if (is_host_memory(address)) {
    warp.fail(
        "host-pointer-in-kernel", lane,
        fmt::format("{} {} bytes at {:#x}, which is the host's memory. Copy it to the device.", verb, size, address));
  }
  warp.fail("out-of-bounds", lane,
            fmt::format("{} {} bytes at {:#x}, which is no address of the device. Pass memory of the device.", verb,
                        size, address));
}

// Lanes that read or write one run of bytes, all of them: the usual case, checked at once.
bool is_contiguous(uint32_t mask, const Addresses& addresses, unsigned size) {
  if (mask != kAllLanes || addresses[0] % size != 0) return false;
  uint64_t difference = 0;
  for (unsigned lane = 1; lane < kLanes; ++lane) difference |= addresses[lane] ^ (addresses[0] + lane * uint64_t{size});
  return difference == 0;
}

const std::byte* read_bank(Warp& warp, int lane, const std::vector<std::byte>& bank, uint64_t address, unsigned size,
                           const char* what) {
  if (address <= bank.size() && size <= bank.size() - address) return bank.data() + address;
  warp.fail("out-of-bounds", lane,
            fmt::format("reads {} bytes at {:#x} of {}, which have {} bytes. Stay inside.", size, address, what,
                        bank.size()));
}

const std::byte* read_lane(Warp& warp, Location at, int lane, unsigned size, bool strong) {
  Block& block = warp.block();
  LaunchState& state = block.state();
  switch (at.space) {
    case Space::Shared:
      return block.shared().read(warp, lane, at.address, size);
    case Space::Local: {
      const std::byte* bytes = warp.local().bytes(lane, at.address, size);
      if (bytes == nullptr) {
        warp.fail("out-of-bounds", lane,
                  fmt::format("reads {} bytes at {:#x} of its local memory, outside of any variable. "
                              "Stay inside of the array.",
                              size, at.address));
      }
      if (!warp.local().is_defined(lane, at.address, size)) {
        warp.fail("uninitialised-read", lane,
                  fmt::format("reads {} bytes at {:#x} of its local memory that it has never "
                              "written. Write them first.",
                              size, at.address));
      }
      return bytes;
    }
    case Space::Param: {
      const auto& parameters = state.launch.parameters;
      if (at.address <= parameters.size() && size <= parameters.size() - at.address)
        return parameters.data() + at.address;
      warp.fail("out-of-bounds", lane,
                fmt::format("reads {} bytes at {} of the kernel's parameters, which have {} bytes. "
                            "Stay inside.",
                            size, at.address, parameters.size()));
    }
    case Space::Const:
      return read_bank(warp, lane, state.program.constant_bank, at.address, size, "the module's constants");
    default:
      break;
  }
  if (at.address >= kModuleWindow && at.address < kModuleWindow + kWindowBytes) {
    return read_bank(warp, lane, state.program.global_bank, at.address - kModuleWindow, size, "the module's variables");
  }
  if (!state.memory.readable(at.address, size)) fault_global(warp, lane, at.address, size, true);
  if (strong) {
    block.fences().strong_read(warp.index(), at.address);
    block.threads().touch(warp, lane, at.address, size, Access::StrongRead);
    block.accesses().strong_read(at.address, size, warp.pc());
  } else {
    block.threads().touch(warp, lane, at.address, size, Access::Read);
    block.accesses().read(at.address, size, warp.pc());
  }
  state.bytes_loaded += size;
  return state.memory.bytes(at.address);
}

void write_lane(Warp& warp, Location at, int lane, unsigned size, bool strong, const std::byte* value) {
  Block& block = warp.block();
  LaunchState& state = block.state();
  if (at.space == Space::Shared) return block.shared().write(warp, lane, at.address, size, value);
  if (at.space == Space::Local) {
    std::byte* bytes = warp.local().bytes(lane, at.address, size);
    if (bytes == nullptr) {
      warp.fail("out-of-bounds", lane,
                fmt::format("writes {} bytes at {:#x} of its local memory, outside of any variable. "
                            "Stay inside of the array.",
                            size, at.address));
    }
    std::memcpy(bytes, value, size);
    return warp.local().mark_defined(lane, at.address, size);
  }
  if (at.space != Space::Global || (at.address >= kModuleWindow && at.address < kModuleWindow + kWindowBytes)) {
    warp.fail("unsupported", lane, "writes a variable of the module, or a parameter. Write to device memory.");
  }
  if (!state.memory.writable(at.address, size)) fault_global(warp, lane, at.address, size, false);
  if (strong) {
    block.fences().atomic(warp.index(), at.address);
    block.threads().touch(warp, lane, at.address, size, Access::Atomic);
    block.accesses().atomic(at.address, size, warp.pc());
  } else {
    block.threads().touch(warp, lane, at.address, size, Access::Write, value);
    block.accesses().write(at.address, size, warp.pc());
  }
  state.bytes_stored += size;
  std::memcpy(state.memory.bytes(at.address), value, size);
  state.memory.mark_initialised(at.address, size);
}

}  // namespace

void require_aligned(Warp& warp, int lane, uint64_t address, unsigned size) {
  if (address % size == 0) return;
  warp.fail("misaligned-access", lane,
            fmt::format("accesses {} bytes at {:#x}: the address must be a multiple of {}. Align it, or use narrower "
                        "accesses.",
                        size, address, size));
}

Location locate(Space space, uint64_t address) {
  if (space != Space::Generic) return {space, address};
  const uint64_t offset = address % kWindowBytes;
  switch (address - offset) {
    case kSharedWindow:
      return {Space::Shared, offset};
    case kLocalWindow:
      return {Space::Local, offset};
    case kParamWindow:
      return {Space::Param, offset};
    case kConstWindow:
      return {Space::Const, offset};
    default:
      return {Space::Global, address};
  }
}

Addresses lane_addresses(Warp& warp, const Op& op) {
  Addresses addresses;
  const Operand& base = op.source(0);
  const auto offset = static_cast<uint64_t>(op.offset);
  if (base.bytes == 8) {
    const uint64_t* values = warp.lanes<uint64_t>(base);
    for (unsigned lane = 0; lane < kLanes; ++lane) addresses[lane] = values[lane] + offset;
  } else {
    const uint32_t* values = warp.lanes<uint32_t>(base);
    for (unsigned lane = 0; lane < kLanes; ++lane) addresses[lane] = uint32_t(values[lane] + op.offset);
  }
  return addresses;
}

void load(Warp& warp, Space space, const Addresses& addresses, unsigned size, bool strong, LaneValues& values) {
  LaunchState& state = warp.block().state();
  if (space == Space::Generic || space == Space::Global) {
    const uint64_t begin = addresses[0];
    if (!strong && is_contiguous(warp.mask(), addresses, size) && state.memory.readable(begin, kLanes * size)) {
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        warp.block().threads().touch(warp, static_cast<int>(lane), addresses[lane], size, Access::Read);
      }
      warp.block().accesses().read(begin, kLanes * size, warp.pc());
      state.bytes_loaded += kLanes * size;
      values.bytes = state.memory.bytes(begin);
      return;
    }
  }
  values.bytes = values.buffer.data();
  for_lanes(warp.mask(), [&](int lane) {
    const Location at = locate(space, addresses[static_cast<unsigned>(lane)]);
    require_aligned(warp, lane, at.address, size);
    std::memcpy(values.buffer.data() + static_cast<unsigned>(lane) * size, read_lane(warp, at, lane, size, strong),
                size);
  });
}

void store(Warp& warp, Space space, const Addresses& addresses, unsigned size, bool strong, const LaneValues& values) {
  LaunchState& state = warp.block().state();
  if (space == Space::Generic || space == Space::Global) {
    const uint64_t begin = addresses[0];
    if (!strong && is_contiguous(warp.mask(), addresses, size) && state.memory.writable(begin, kLanes * size)) {
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        warp.block().threads().touch(warp, static_cast<int>(lane), addresses[lane], size, Access::Write,
                                     values.buffer.data() + lane * size);
      }
      warp.block().accesses().write(begin, kLanes * size, warp.pc());
      state.bytes_stored += kLanes * size;
      std::memcpy(state.memory.bytes(begin), values.buffer.data(), kLanes * size);
      state.memory.mark_initialised(begin, kLanes * size);
      return;
    }
  }
  for_lanes(warp.mask(), [&](int lane) {
    const Location at = locate(space, addresses[static_cast<unsigned>(lane)]);
    require_aligned(warp, lane, at.address, size);
    write_lane(warp, at, lane, size, strong, values.buffer.data() + static_cast<unsigned>(lane) * size);
  });
}

const std::byte* load_unaligned(Warp& warp, int lane, uint64_t address, unsigned size) {
  return read_lane(warp, {Space::Global, address}, lane, size, false);
}

std::byte* atomic_location(Warp& warp, Space space, int lane, uint64_t address, unsigned size) {
  const Location at = locate(space, address);
  require_aligned(warp, lane, at.address, size);
  Block& block = warp.block();
  LaunchState& state = block.state();
  if (at.space == Space::Shared) return block.shared().atomic(warp, lane, at.address, size);
  if (at.space != Space::Global) warp.fail("unsupported", lane, "updates memory that is neither global nor shared.");
  if (!state.memory.readable(at.address, size)) fault_global(warp, lane, at.address, size, true);
  block.fences().atomic(warp.index(), at.address);
  block.threads().touch(warp, lane, at.address, size, Access::Atomic);
  block.accesses().atomic(at.address, size, warp.pc());
  state.bytes_loaded += size;
  state.bytes_stored += size;
  return state.memory.bytes(at.address);
}

}  // namespace triptych::emulator::ptx
