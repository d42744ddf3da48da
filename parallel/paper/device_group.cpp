// Collectives on memory that is not there.

#include "parallel/device_group.h"

#include <utility>

namespace triptych::parallel {
namespace {

class Logged : public Pending {
 public:
  Logged(WorkLog& log, std::size_t operation, bool is_send) : log_(&log), operation_(operation), is_send_(is_send) {}
  // A message has left by the time that its sender asks; what others give is there when it is waited for.
  bool test() override { return is_send_; }
  void wait() override {
    if (!std::exchange(is_done_, true)) log_->wait(operation_);
  }

 private:
  WorkLog* log_;
  std::size_t operation_;
  bool is_send_;
  bool is_done_ = false;
};

std::string kind_name(Operation::Kind kind) {
  constexpr const char* kNames[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast",
                                    "send",       "recv"};
  return kNames[static_cast<std::size_t>(kind)];
}

class PaperDeviceGroup : public Group {
 public:
  PaperDeviceGroup(GroupIdentity identity, std::unique_ptr<Group> host, Device& device)
      : Group(std::move(identity)), host_(std::move(host)), device_(&device) {}

  std::string_view transport() const override { return "paper"; }
  std::chrono::milliseconds timeout() const override { return host_->timeout(); }
  void barrier() override { host_->barrier(); }
  std::vector<std::string> all_gather_string(const std::string& text) override {
    return host_->all_gather_string(text);
  }
  std::unique_ptr<Group> split(int color, int key, std::string name) override {
    return on_paper(host_->split(color, key, std::move(name)), *device_);
  }
  std::unique_ptr<Group> split_by(const std::function<int(int)>& color_of, std::string name) override {
    return on_paper(host_->split_by(color_of, std::move(name)), *device_);
  }
  void progress() override {}
  [[noreturn]] void abort(int exit_code) override {
    host_->abort(exit_code);
    __builtin_unreachable();  // of a virtual function the compiler does not believe [[noreturn]]
  }

  static std::unique_ptr<Group> on_paper(std::unique_ptr<Group> host, Device& device) {
    if (!host) return nullptr;
    GroupIdentity identity{.name = host->name(), .rank = host->rank(), .world_ranks = {}};
    for (int r = 0; r < host->size(); ++r) identity.world_ranks.push_back(host->world_rank(r));
    return std::make_unique<PaperDeviceGroup>(std::move(identity), std::move(host), device);
  }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override {
    // The count is a row's where there is one a rank.
    const bool has_rows = operation.kind == Operation::Kind::kAllGather ||
                          operation.kind == Operation::Kind::kReduceScatter ||
                          operation.kind == Operation::Kind::kAllToAll;
    const double rows = has_rows ? size() : 1;
    WorkLog::Operation logged{.group = name().substr(0, name().find('[')),
                              .kind = kind_name(operation.kind),
                              .bytes = rows * static_cast<double>(operation.bytes()),
                              .world_ranks = {}};
    if (operation.is_collective()) {
      logged.world_ranks = identity()->world_ranks;
    } else {
      logged.world_ranks = {world_rank(rank()), world_rank(operation.peer)};
    }
    WorkLog& log = *device_->work_log();
    return std::make_shared<Logged>(log, log.start(std::move(logged)), operation.kind == Operation::Kind::kSend);
  }
  void copy(void* to, const void* from, std::size_t bytes) override { device_->copy(to, from, bytes); }

 private:
  std::unique_ptr<Group> host_;
  Device* device_;
};

}  // namespace

std::unique_ptr<Group> make_device_group(std::unique_ptr<Group> host, Device& device) {
  return PaperDeviceGroup::on_paper(std::move(host), device);
}

std::string device_transport_text() {
  return {};
}

}  // namespace triptych::parallel
