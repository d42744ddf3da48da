#include "parallel/time_limit.h"

#include <cstdlib>
#include <utility>

#include "base/console.h"

namespace triptych::parallel {

TimeLimit::TimeLimit(std::chrono::milliseconds limit, std::string where, std::string what)
    : thread_([this, limit, where = std::move(where), what = std::move(what)] {
        std::unique_lock lock(mutex_);
        if (ended_.wait_for(lock, limit, [this] { return has_ended_; })) return;
        print_error(
            fmt::format("[{}] all ranks must {} within run.timeout_s = {:g} s, and one did not: it stands still, "
                        "was never started or cannot be reached. Look for it with `ps` on every machine, and "
                        "start again",
                        where, what, std::chrono::duration<double>(limit).count()));
        std::_Exit(1);
      }) {}

TimeLimit::~TimeLimit() {
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

}  // namespace triptych::parallel
