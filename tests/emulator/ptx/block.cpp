#include "emulator/ptx/block.h"

#include <algorithm>

#include <fmt/format.h>

#include "emulator/violation.h"

namespace triptych::emulator::ptx {
namespace {

// A turn's length varies between a few instructions, so that warps meet in the middle of things, and thousands.
constexpr uint32_t kShortTurn = 16, kLongTurn = 4096;

std::string line_of(std::string_view text, int number) {
  for (; number > 1; --number) text.remove_prefix(std::min(text.find('\n') + 1, text.size()));
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

void LaunchState::report_undefined() const {
  if (!undefined_read.empty()) report("uninitialised-read", undefined_read);
}

// splitmix64
uint64_t LaunchState::random() {
  uint64_t z = random_state += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

std::string LaunchState::describe_line(uint32_t pc) const {
  const Statement& statement = *program.origins[pc].statement;
  const Text& text = *program.text;
  std::string where;
  if (auto file = text.files.find(statement.source.file); file != text.files.end()) {
    where = fmt::format("{}:{}, ", file->second.substr(file->second.rfind('/') + 1), statement.source.line);
  }
  std::string line = line_of(text.source, statement.line);
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin != std::string::npos) line = line.substr(begin);
  std::replace(line.begin(), line.end(), '\t', ' ');
  return fmt::format("{}PTX line {} `{}`", where, statement.line, line);
}

Block::Block(LaunchState& state, uint32_t linear_index, SharedMemory& shared, ThreadAccesses& threads)
    : state_(state),
      num_threads_(static_cast<int>(state.launch.block[0] * state.launch.block[1] * state.launch.block[2])),
      shared_(shared),
      accesses_(state.accesses, linear_index),
      threads_(threads),
      fences_((num_threads_ + kLanes - 1) / kLanes) {
  shared_.begin_block();
  const auto& grid = state.launch.grid;
  index_ = {linear_index % grid[0], linear_index / grid[0] % grid[1], linear_index / grid[0] / grid[1]};
  for (int first = 0; first < num_threads_; first += kLanes) {
    warps_.push_back(std::make_unique<Warp>(*this, first / kLanes, std::min(kLanes, num_threads_ - first)));
  }
}

std::array<uint32_t, 3> Block::thread_index(int thread) const {
  const auto t = static_cast<uint32_t>(thread);
  const auto& size = state_.launch.block;
  return {t % size[0], t / size[0] % size[1], t / size[0] / size[1]};
}

void Block::report_undefined() const {
  shared_.report_undefined();
  state_.report_undefined();
}

void Block::fence(Warp& warp) {
  accesses_.fence();
  fences_.fence(warp.index(), warp.order().advance());
}

void Block::order_all() {
  shared_.barrier();
  threads_.barrier();
  fences_.barrier();
}

bool Block::turn() {
  std::size_t num_ready = 0, num_waiting = 0;
  for (const auto& warp : warps_) {
    num_ready += warp->state() == Warp::State::Ready;
    num_waiting += warp->state() == Warp::State::AtBarrier;
  }
  if (num_ready == 0) {
    if (num_waiting == 0) {
      order_all();
      accesses_.finish();
      for (const auto& warp : warps_) state_.num_instructions += warp->num_instructions();
      return false;
    }
    open_barrier();
    return true;
  }
  const uint64_t random = state_.random();
  std::size_t choice = random % num_ready;
  const uint32_t longest = (random >> 32) % 4 == 0 ? kLongTurn : kShortTurn;
  const auto budget = static_cast<uint32_t>(1 + (random >> 34) % longest);
  for (const auto& warp : warps_) {
    if (warp->state() != Warp::State::Ready) continue;
    if (choice-- == 0) {
      warp->run(budget);
      break;
    }
  }
  return true;
}

// All threads that have not exited have arrived; they must have done so at the same barrier of the program.
void Block::open_barrier() {
  const Warp* first = nullptr;
  for (const auto& warp : warps_) {
    if (warp->state() != Warp::State::AtBarrier) continue;
    if (first == nullptr) first = warp.get();
    if (warp->pc() == first->pc()) continue;
    warp->fail(
        "divergent-barrier", first_lane(warp->live()),
        fmt::format("waits at a barrier, while thread {} waits at another, {}. All threads must pass the same one.",
                    first->thread(first_lane(first->live())), state_.describe_line(first->pc())));
  }
  last_reduction_ = reduction_;
  reduction_ = {};
  order_all();
  accesses_.barrier();
  for (const auto& warp : warps_) {
    if (warp->state() == Warp::State::AtBarrier) warp->pass_barrier();
  }
}

}  // namespace triptych::emulator::ptx
