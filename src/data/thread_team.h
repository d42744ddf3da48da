#pragma once

#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "base/rooms.h"

namespace triptych::data {

/// Threads that run what is posted, any order. All of them start or none: where the system refuses one, those that run
/// are ended and joined before the error leaves the constructor. `post` may be called from any thread.
class ThreadTeam {
 public:
  /// Throws WorldError with how many threads were wanted and how many started.
  explicit ThreadTeam(int num_threads);
  ~ThreadTeam() { end(); }
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  template <typename Work>
  void post(Work&& work) {
    boost::asio::post(context_, std::forward<Work>(work));
  }
  /// What waits is dropped, what runs is waited for.
  void end();

 private:
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
  std::vector<std::thread> threads_;
};

}  // namespace triptych::data
