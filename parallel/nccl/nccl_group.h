#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nccl.h>

#include "parallel/group.h"
#include "parallel/nccl/lane.h"

namespace triptych::parallel {

/// The ranks of a host group, each with a GPU, over NCCL.
///
/// An operation runs on a communication stream after what is on the compute stream when it starts; wait() makes the
/// compute stream wait for it, and the host goes on. So an error shows later than at the call that caused it: in the
/// next start, wait or progress, or while the host waits for the device. It names the operation, and ends everything
/// that this rank has in flight.
///
/// Collectives run in one lane (a communicator with its stream). Each link, which is a pair of ranks, a direction and a
/// tag, has a lane of its own, for two reasons. NCCL has no tags: in one communicator messages are matched by their
/// order alone. And a send is a rendezvous: it keeps its stream until the receiver comes. In the 1F1B schedule a stage
/// sends the activation of microbatch m+1 and then receives the gradient of m, while the next stage sends the gradient
/// of m before it receives the activation of m+1; with one lane for both directions the two sends would wait for each
/// other for ever.
class NcclGroup : public Group {
 public:
  /// Collective.
  NcclGroup(std::unique_ptr<Group> host, Device& device);
  ~NcclGroup() override;

  void open_links(std::span<const Link> links) override;
  std::string_view transport() const override { return size() == 1 ? "none" : "NCCL"; }
  std::chrono::milliseconds timeout() const override { return host_->timeout(); }
  void barrier() override { host_->barrier(); }
  std::vector<std::string> all_gather_string(const std::string& text) override;
  std::unique_ptr<Group> split(int color, int key, std::string name) override;
  void progress() override;
  [[noreturn]] void abort(int exit_code) override;

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override;
  void copy(void* to, const void* from, std::size_t bytes) override { device_->copy(to, from, bytes); }

 private:
  ncclUniqueId agree_on_id();
  SetupWait setup_wait();
  std::unique_ptr<Lane> make_lane(std::unique_ptr<Communicator> communicator);
  void connect(const Link& link);
  Lane& lane_of(const Operation& operation);

  std::unique_ptr<Group> host_;
  Device* device_;
  std::unique_ptr<Lane> collectives_;            // none in a group of one rank
  std::map<Link, std::unique_ptr<Lane>> links_;  // all that are open; null where this rank is at neither end
};

}  // namespace triptych::parallel
