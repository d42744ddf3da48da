#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include <cxxabi.h>
#include <nlohmann/json.hpp>

#include "emulator/ptx/engine.h"
#include "emulator/runtime/counters.h"

namespace triptych::emulator {
namespace {

using Json = nlohmann::ordered_json;

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                         &std::free);
  return status == 0 ? text.get() : name;
}

Json to_json(const std::map<std::string, Counts::Calls>& calls) {
  Json result = Json::object();
  for (const auto& [name, is] : calls) result[name] = {{"calls", is.calls}, {"bytes", is.bytes}};
  return result;
}

Json to_json(const Counts& counts) {
  Json kernels = Json::array();
  for (const auto& [name, is] : counts.kernels) {
    kernels.push_back({{"name", name},
                       {"signature", demangled(name)},
                       {"launches", is.launches},
                       {"bytes_read", is.bytes_read},
                       {"bytes_written", is.bytes_written},
                       {"bytes_loaded", is.bytes_loaded},
                       {"bytes_stored", is.bytes_stored},
                       {"instructions", is.instructions}});
  }
  Json nccl_order = Json::array();
  for (const auto& [communicator, call] : counts.nccl_order) nccl_order.push_back(Json::array({communicator, call}));
  return {{"kernels", kernels},
          {"matmuls",
           {{"calls", counts.matmuls.calls},
            {"flops", counts.matmuls.flops},
            {"bytes_read", counts.matmuls.bytes_read},
            {"bytes_written", counts.matmuls.bytes_written}}},
          {"copies", to_json(counts.copies)},
          {"nccl", to_json(counts.nccl)},
          {"nccl_order", nccl_order},
          {"allocations", to_json(counts.allocations)},
          {"host_synchronisations",
           {{"drains", counts.drains}, {"event_waits", counts.event_waits}, {"staged_copies", counts.staged_copies}}}};
}

std::string file_name(std::string pattern) {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const std::size_t at = pattern.find("%r");
  if (at != std::string::npos) pattern.replace(at, 2, rank ? rank : "0");
  return pattern;
}

}  // namespace

void write_counters() {
  const char* pattern = std::getenv("TRIPTYCH_EMULATOR_COUNTERS");
  if (!pattern || !*pattern) return;
  Json opcodes = Json::object();
  for (const auto& [opcode, executions] : opcode_coverage()) opcodes[opcode] = executions;
  Json registered = Json::object();
  for (const auto& [name, executions] : kernel_executions()) registered[name] = executions;
  const Json all = {
      {"counted", to_json(counters())}, {"kernel_executions", registered}, {"opcode_executions", opcodes}};
  const std::string name = file_name(pattern);
  std::ofstream file(name);
  file << all.dump(1) << '\n';
  file.close();
  if (!file) std::fprintf(stderr, "emulator: could not write the counters to %s\n", name.c_str());
}

}  // namespace triptych::emulator
