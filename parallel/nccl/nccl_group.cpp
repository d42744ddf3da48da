#include "parallel/nccl/nccl_group.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "parallel/nccl/nccl_calls.h"
#include "parallel/nccl/nccl_rank.h"

namespace triptych::parallel {
namespace {

GroupIdentity identity_of(const Group& group) {
  GroupIdentity identity{.name = group.name(), .rank = group.rank(), .world_ranks = {}};
  for (int r = 0; r < group.size(); ++r) identity.world_ranks.push_back(group.world_rank(r));
  return identity;
}

/// An operation on a communication stream; or one that moves nothing.
class NcclPending : public Pending {
 public:
  NcclPending(Device& device, std::shared_ptr<NcclFlight> flight) : device_(&device), flight_(std::move(flight)) {}

  bool test() override {
    NcclRank::of(*device_).poll(NcclRank::kHostGoesOn);
    return flight_ == nullptr || flight_->done.done();
  }

  void wait() override {
    NcclRank::of(*device_).poll(NcclRank::kHostGoesOn);
    if (flight_ != nullptr) flight_->done.block(device_->state().compute->get());
  }

 private:
  Device* device_;  // outlives its groups and what they have in flight
  std::shared_ptr<NcclFlight> flight_;
};

}  // namespace

NcclGroup::NcclGroup(std::unique_ptr<Group> host, Device& device)
    : Group(identity_of(*host)), host_(std::move(host)), device_(&device) {
  if (size() == 1) return;
  const ncclUniqueId id = agree_on_id();
  collectives_ = make_lane(std::make_unique<Communicator>(identity()->where(), id, size(), rank(), setup_wait()));
  // While the host waits for the device, peers may ask what this rank does.
  device.state().watches->add(this, [host_group = host_.get()] { host_group->progress(); });
}

NcclGroup::~NcclGroup() {
  if (size() > 1) device_->state().watches->remove(this);
}

// From rank 0, which tells the others if it has none, so that they do not wait for it.
ncclUniqueId NcclGroup::agree_on_id() {
  ncclUniqueId id{};
  std::string text;
  if (rank() == 0) {
    const ncclResult_t code = ncclGetUniqueId(&id);
    text = code == ncclSuccess ? std::string(id.internal, sizeof id.internal) : nccl_text(code, nullptr);
  }
  text = host_->all_gather_string(text).front();
  if (text.size() != sizeof id.internal) {
    throw WorldError(identity()->where(),
                     fmt::format("ncclGetUniqueId must succeed: {}. Look at the network interfaces "
                                 "(NCCL_SOCKET_IFNAME, NCCL_DEBUG=INFO)",
                                 text));
  }
  std::memcpy(id.internal, text.data(), sizeof id.internal);
  return id;
}

SetupWait NcclGroup::setup_wait() {
  return {.timeout = timeout(), .poll = [host = host_.get(), rank = &NcclRank::of(*device_)] {
            host->progress();
            rank->poll(NcclRank::kHostGoesOn);
          }};
}

std::unique_ptr<Lane> NcclGroup::make_lane(std::unique_ptr<Communicator> communicator) {
  return std::make_unique<Lane>(*device_, identity(), std::move(communicator), timeout());
}

// Splitting costs no further exchange of ids, and a split makes a communicator of two ranks for each of a set of links
// that have no rank in common: the links of a pipeline need two rounds a tag, whatever the number of stages.
void NcclGroup::open_links(std::span<const Link> links) {
  if (size() == 1) return;
  std::vector<Link> left;
  for (const Link& link : links) {
    TRIPTYCH_CHECK(link.from != link.to && std::min(link.from, link.to) >= 0 && std::max(link.from, link.to) < size(),
                   "a link from rank {} to rank {} of {}", link.from, link.to, name());
    if (links_.count(link) == 0 && std::find(left.begin(), left.end(), link) == left.end()) left.push_back(link);
  }
  collectives_->drain();  // a communicator is split while nothing is in flight on it
  while (!left.empty()) {
    std::vector<bool> taken(static_cast<std::size_t>(size()));
    std::vector<Link> later;
    int color = NCCL_SPLIT_NOCOLOR, num_links = 0;
    Link own;
    for (const Link& link : left) {
      const auto from = static_cast<std::size_t>(link.from), to = static_cast<std::size_t>(link.to);
      if (taken[from] || taken[to]) {
        later.push_back(link);
        continue;
      }
      taken[from] = taken[to] = true;
      links_[link] = nullptr;
      if (link.from == rank() || link.to == rank()) {
        color = num_links;
        own = link;
      }
      ++num_links;
    }
    auto communicator = std::make_unique<Communicator>(
        fmt::format("{}, tag {} from rank {} to {}", identity()->where(), own.tag, own.from, own.to),
        collectives_->communicator(), color, setup_wait());
    if (color != NCCL_SPLIT_NOCOLOR) {
      links_[own] = make_lane(std::move(communicator));
      connect(own);
    }
    left = std::move(later);
  }
}

// The first message of a communicator connects its ranks, and blocks the host until both come. Done here, where both
// do; later a rank would have to come to one link while its peer waits for it at another.
void NcclGroup::connect(const Link& link) {
  const bool sends = link.from == rank();
  const Buffer byte = device_->allocate(1);
  device_->zero(byte.data(), 1);
  const Operation first{.kind = sends ? Operation::Kind::kSend : Operation::Kind::kRecv,
                        .dtype = DType::kUInt8,
                        .peer = sends ? link.to : link.from,
                        .tag = link.tag,
                        .count = 1,
                        .send = sends ? byte.data() : nullptr,
                        .recv = sends ? nullptr : byte.data()};
  start(first)->wait();
}

Lane& NcclGroup::lane_of(const Operation& operation) {
  if (operation.is_collective()) return *collectives_;
  const bool sends = operation.kind == Operation::Kind::kSend;
  const auto found = links_.find(
      {.from = sends ? rank() : operation.peer, .to = sends ? operation.peer : rank(), .tag = operation.tag});
  if (found == links_.end()) {
    throw InternalError(identity()->where(),
                        fmt::format("{} needs its link. Name it to open_links() first, on every rank of the group",
                                    operation.to_string()));
  }
  return *found->second;
}

std::shared_ptr<Pending> NcclGroup::start(const Operation& operation) {
  Lane& lane = lane_of(operation);
  return std::make_shared<NcclPending>(*device_, operation.count == 0 ? nullptr : lane.start(operation));
}

std::vector<std::string> NcclGroup::all_gather_string(const std::string& text) {
  return host_->all_gather_string(text);
}

std::unique_ptr<Group> NcclGroup::split(int color, int key, std::string name) {
  std::unique_ptr<Group> part = host_->split(color, key, std::move(name));
  if (part == nullptr) return nullptr;
  return std::make_unique<NcclGroup>(std::move(part), *device_);
}

void NcclGroup::abort(int exit_code) {
  host_->abort(exit_code);
  __builtin_unreachable();  // of a virtual function the compiler does not believe [[noreturn]]
}

void NcclGroup::progress() {
  host_->progress();
  NcclRank::of(*device_).poll(NcclRank::kHostGoesOn);
}

}  // namespace triptych::parallel
