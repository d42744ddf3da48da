#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "parallel/group.h"
#include "parallel/progress.h"
#include "tests/parallel/group_contract.h"

namespace triptych::test {

/// What ranks that are threads of this process have in common, as processes of a machine or of several would.
struct ThreadSite {
  explicit ThreadSite(int num_ranks) : bells(static_cast<std::size_t>(num_ranks)) {}
  int num_ranks() const { return static_cast<int>(bells.size()); }
  Doorbell& bell(int rank) { return bells[static_cast<std::size_t>(rank)]; }
  std::vector<Doorbell> bells;
};

/// The group of such a rank; how an operation starts is said by a derived class.
class ThreadGroup : public Group {
 public:
  ThreadGroup(GroupIdentity of_rank, ThreadSite& site, std::chrono::milliseconds timeout)
      : Group(std::move(of_rank)),
        progress_(std::make_shared<Progress>(Progress::Options{.timeout = timeout, .doorbell = &site.bell(rank())})) {}
  std::unique_ptr<Group> split(int, int, std::string) override { throw std::logic_error("not of this group"); }
  void progress() override { progress_->poll(); }
  std::string_view transport() const override { return "threads"; }
  std::chrono::milliseconds timeout() const override { return progress_->timeout(); }
  [[noreturn]] void abort(int) override { throw std::logic_error("not of this group"); }

 protected:
  std::shared_ptr<Progress> progress_;
};

/// Calls `body` on every rank of a site, each with its RankGroup(GroupIdentity, Site&, timeout). World ranks are those
/// of the group plus 10.
template <typename RankGroup, typename Site>
void on_ranks(Site& site, const std::function<void(Group&)>& body,
              std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < site.num_ranks(); ++rank) {
    threads.emplace_back([&, rank] {
      GroupIdentity identity{.name = "dp", .rank = rank, .world_ranks = {}};
      for (int r = 0; r < site.num_ranks(); ++r) identity.world_ranks.push_back(r + 10);
      RankGroup group(std::move(identity), site, timeout);
      body(group);
    });
  }
}

/// Each of the checks on ranks of a site of its own.
template <typename RankGroup, typename MakeSite>
void check_contract(std::span<const contract::Check> checks, const MakeSite& make_site) {
  for (const contract::Check& check : checks) {
    SCOPED_TRACE(check.name);
    auto site = make_site();
    on_ranks<RankGroup>(site, [&check](Group& group) {
      Device device(1);
      check.run(group, device);
    });
  }
}

inline std::string error_text(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace triptych::test
