#include "emulator/nccl/split.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "emulator/violation.h"

namespace triptych::emulator {

using Clock = std::chrono::steady_clock;

Split::Split(std::shared_ptr<Comm> parent, int color, int key, bool blocking, std::string name, ncclComm_t* target)
    : parent_(std::move(parent)),
      color_(color),
      key_(key),
      blocking_(blocking),
      name_(std::move(name)),
      target_(target),
      number_(parent_->next_split()),
      begin_(Clock::now()) {}

bool Split::advance() {
  if (!told_ && !(told_ = tell())) return check_time(), false;
  if (!joined_) {
    for (int r = 0; r < parent_->size(); ++r) {
      if (parent_->state(r).split_number.load() <= number_) return check_time(), false;
    }
    join();
    joined_ = true;
    parent_->own().splits_read.store(number_ + 1);
  }
  if (child_ == nullptr) return true;
  if (!child_->comm()->all_joined()) return false;
  __atomic_store_n(target_, add_comm(std::move(child_)), __ATOMIC_RELEASE);
  return true;
}

// Not before all have read what this rank told them at the last split.
bool Split::tell() {
  for (int r = 0; r < parent_->size(); ++r) {
    if (parent_->state(r).splits_read.load() < number_) return false;
  }
  RankState& own = parent_->own();
  own.split_color = color_;
  own.split_key = key_;
  own.split_number.store(number_ + 1);
  return true;
}

void Split::join() {
  if (color_ == NCCL_SPLIT_NOCOLOR) return;
  std::vector<int> members;
  for (int r = 0; r < parent_->size(); ++r) {
    if (parent_->state(r).split_color == color_) members.push_back(r);
  }
  std::stable_sort(members.begin(), members.end(),
                   [&](int a, int b) { return parent_->state(a).split_key < parent_->state(b).split_key; });
  const auto own = std::find(members.begin(), members.end(), parent_->rank());
  const std::string suffix = fmt::format("s{}c{}", number_, color_);
  child_ = std::make_shared<HostComm>(
      Comm::Identity{.segment = fmt::format("{}.{}", parent_->identity().segment, suffix),
                     .name = name_.empty() ? fmt::format("{}.{}", parent_->identity().name, suffix) : name_,
                     .size = static_cast<int>(members.size()),
                     .rank = static_cast<int>(own - members.begin()),
                     .device = parent_->identity().device,
                     .machine_device = parent_->identity().machine_device,
                     .blocking = blocking_});
}

void Split::check_time() const {
  if (Clock::now() - begin_ < nccl_timeout()) return;
  uint64_t missing = 0;
  for (int r = 0; r < parent_->size(); ++r) {
    if (parent_->state(r).split_number.load() <= number_) missing |= uint64_t{1} << r;
  }
  report("nccl-timeout",
         fmt::format("{}: {} has waited {} s in ncclCommSplit for {}.", parent_->where(),
                     parent_->rank_text(parent_->rank()), nccl_timeout().count(), parent_->describe_ranks(missing)));
}

}  // namespace triptych::emulator
