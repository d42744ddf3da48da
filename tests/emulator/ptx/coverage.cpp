#include "emulator/ptx/coverage.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "emulator/ptx/engine.h"

namespace triptych::emulator {
namespace {

// Of the process by definition: what its tests have executed.
struct Table {
  std::mutex mutex;
  std::map<std::string, uint32_t> index;
  std::vector<uint64_t> counts;
};

Table& table() {
  static Table& instance = *std::make_unique<Table>().release();  // never destroyed: see immortal.h
  return instance;
}

}  // namespace

uint32_t ptx::coverage_index(const std::string& opcode) {
  std::lock_guard lock(table().mutex);
  auto [place, is_new] = table().index.try_emplace(opcode, static_cast<uint32_t>(table().counts.size()));
  if (is_new) table().counts.push_back(0);
  return place->second;
}

void ptx::add_coverage(const std::vector<uint64_t>& counts_by_index) {
  std::lock_guard lock(table().mutex);
  for (std::size_t i = 0; i < counts_by_index.size(); ++i) table().counts[i] += counts_by_index[i];
}

std::vector<std::pair<std::string, uint64_t>> opcode_coverage() {
  std::lock_guard lock(table().mutex);
  std::vector<std::pair<std::string, uint64_t>> result;
  for (const auto& [opcode, index] : table().index) {
    if (table().counts[index] > 0) result.emplace_back(opcode, table().counts[index]);
  }
  return result;
}

}  // namespace triptych::emulator
