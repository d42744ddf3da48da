#include "emulator/nccl/comm.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <type_traits>

#include <fmt/format.h>
#include <unistd.h>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kLookInterval = 20ms;

std::size_t segment_bytes(int size) {
  const auto n = static_cast<std::size_t>(size);
  return sizeof(SharedHeader) + n * sizeof(RankState) + n * n * sizeof(PairState);
}

// Also true of one that has ended and that its parent has not asked for yet.
bool has_died(int process) {
  std::ifstream stat(fmt::format("/proc/{}/stat", process));
  std::string text;
  if (!std::getline(stat, text)) return true;
  const std::size_t name_end = text.rfind(')');  // the name may hold anything
  const char state = name_end + 2 < text.size() ? text[name_end + 2] : 'X';
  return state == 'Z' || state == 'X';
}

}  // namespace

std::chrono::duration<double> nccl_timeout() {
  const char* const text = std::getenv("TRIPTYCH_EMULATOR_NCCL_TIMEOUT_S");
  if (text == nullptr) return 60s;
  const double seconds = std::atof(text);
  if (seconds <= 0) {
    report("bad-argument",
           fmt::format("TRIPTYCH_EMULATOR_NCCL_TIMEOUT_S must be seconds above 0, found \"{}\".", text));
  }
  return std::chrono::duration<double>(seconds);
}

Comm::Comm(const Identity& identity)
    : identity_(identity),
      joined_at_(Clock::now()),
      num_sent_(static_cast<std::size_t>(identity.size)),
      num_received_(static_cast<std::size_t>(identity.size)) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);
  if (size() > kMaxRanks) {
    report("unsupported", fmt::format("{}: {} ranks; the emulator has at most {}.", where(), size(), kMaxRanks));
  }
  segment_ = std::make_unique<Segment>(identity_.segment, segment_bytes(size()));
  header_ = reinterpret_cast<SharedHeader*>(segment_->data());
  ranks_ = reinterpret_cast<RankState*>(header_ + 1);
  pairs_ = reinterpret_cast<PairState*>(ranks_ + size());

  uint32_t num_ranks = 0;
  if (!header_->num_ranks.compare_exchange_strong(num_ranks, static_cast<uint32_t>(size())) &&
      num_ranks != static_cast<uint32_t>(size())) {
    segment_->unlink();
    report("nccl-mismatch", fmt::format("{}: rank {} says that there are {} ranks, another that there are {}. All must "
                                        "say the same.",
                                        where(), rank(), size(), num_ranks));
  }
  own().process.store(getpid());
  own().device.store(identity_.machine_device);
  if (own().joined.exchange(1) != 0) {
    segment_->unlink();
    report("nccl-mismatch", fmt::format("{}: two processes say that they are rank {}.", where(), rank()));
  }
  if (header_->num_joined.fetch_add(1) + 1 == static_cast<uint32_t>(size())) segment_->unlink();
}

Comm::~Comm() {
  if (header_->num_joined.load() < static_cast<uint32_t>(size())) segment_->unlink();
}

bool Comm::all_joined() {
  if (header_->num_joined.load() == static_cast<uint32_t>(size())) return true;
  if (Clock::now() - joined_at_ < nccl_timeout()) return false;
  segment_->unlink();
  std::string missing;
  for (int r = 0; r < size(); ++r) {
    if (state(r).joined.load() == 0) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", r);
  }
  report("nccl-timeout", fmt::format("{}: rank {} of {} waits for ranks that do not make it within {} s: {}.", where(),
                                     rank(), size(), nccl_timeout().count(), missing));
}

std::string Comm::duplicate_gpu() const {
  for (int r = 0; r < size(); ++r) {
    for (int other = r + 1; other < size(); ++other) {
      const int device = state(r).device.load();
      if (device != state(other).device.load()) continue;
      return fmt::format("Duplicate GPU detected: {} and {} both on CUDA device {}", rank_text(r), rank_text(other),
                         device);
    }
  }
  return {};
}

std::string Comm::rank_text(int of) const {
  return fmt::format("rank {} (process {})", of, state(of).process.load());
}

std::string Comm::lost_peer() {
  const std::lock_guard lock(lost_mutex_);
  const Clock::time_point now = Clock::now();
  if (!lost_.empty() || now < next_look_) return lost_;
  next_look_ = now + kLookInterval;
  for (int r = 0; r < size(); ++r) {
    if (r == rank() || state(r).joined.load() == 0 || state(r).left.load() != 0) continue;
    if (state(r).aborted.load() != 0) {
      lost_ = rank_text(r) + " has aborted";
    } else if (has_died(state(r).process.load())) {
      lost_ = rank_text(r) + " has died";
    }
  }
  return lost_;
}

bool Comm::peer_is_gone() {
  for (int r = 0; r < size(); ++r) {
    if (r != rank() && state(r).left.load() != 0) return true;
  }
  return !lost_peer().empty();
}

void Comm::abort() {
  own().aborted.store(1);
  if (header_->num_joined.load() < static_cast<uint32_t>(size())) segment_->unlink();
}

// Written by one thread at a time; a reader that sees a change while it reads tries again.
void Comm::set_doing(const std::string& text) {
  RankState& state = own();
  state.doing_version.fetch_add(1);
  const std::size_t length = std::min(text.size(), state.doing.size() - 1);
  std::memcpy(state.doing.data(), text.data(), length);
  state.doing[length] = '\0';
  state.doing_version.fetch_add(1);
}

std::string Comm::doing(int of) const {
  const RankState& state = this->state(of);
  for (int attempt = 0; attempt < 100; ++attempt) {
    const uint32_t before = state.doing_version.load();
    const std::string text(state.doing.data(), strnlen(state.doing.data(), state.doing.size()));
    if (before % 2 == 0 && state.doing_version.load() == before) return text;
  }
  return {};
}

std::string Comm::describe_ranks(uint64_t mask) const {
  std::string text;
  for (int r = 0; r < size(); ++r) {
    if ((mask >> r & 1) == 0) continue;
    const std::string call = doing(r);
    const bool died = r != rank() && state(r).left.load() == 0 && has_died(state(r).process.load());
    text += fmt::format("{}{}, which {}", text.empty() ? "" : "; ", rank_text(r),
                        died                           ? "has died"
                        : state(r).aborted.load() != 0 ? "has aborted"
                        : call.empty()                 ? "has run nothing yet"
                                                       : call);
  }
  return text;
}

}  // namespace triptych::emulator
