#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "parallel/world.h"

namespace triptych::test {

/// Ranks as threads, for train().
class ThreadWorld : public World {
 public:
  explicit ThreadWorld(Group& group) : group_(group) {}
  Group& group() override { return group_; }
  int node_rank() const override { return group_.rank(); }
  int node_size() const override { return group_.size(); }
  const std::string& host() const override { return host_; }
  int node_cores() const override { return 1; }
  const Machines& machines() const override { return machines_; }
  void doing(std::string_view) override {}
  std::string ask_all(const PeerError&) override { return {}; }
  [[noreturn]] void abort(int exit_code) override {
    group_.abort(exit_code);
    std::abort();  // not reached
  }

 private:
  Group& group_;
  std::string host_ = "here";
  Machines machines_{std::vector<int>(static_cast<std::size_t>(group_.size())),
                     std::vector<std::string>(static_cast<std::size_t>(group_.size()), host_)};
};

}  // namespace triptych::test
