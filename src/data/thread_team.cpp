#include "data/thread_team.h"

#include <system_error>

#include "base/error.h"

namespace triptych::data {

ThreadTeam::ThreadTeam(int num_threads) : context_(num_threads), guard_(boost::asio::make_work_guard(context_)) {
  try {
    threads_.reserve(static_cast<std::size_t>(num_threads));
    for (int i = 0; i < num_threads; ++i) {
      threads_.emplace_back([this] { context_.run(); });
    }
  } catch (const std::system_error& error) {
    const std::size_t num_started = threads_.size();
    end();
    throw WorldError("data.threads", fmt::format("the system must start {} threads, it started {}: {}. Use fewer, or "
                                                 "raise the limits on processes and on memory (`ulimit -u`, `ulimit "
                                                 "-v`)",
                                                 num_threads, num_started, error.what()));
  }
}

void ThreadTeam::end() {
  context_.stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace triptych::data
