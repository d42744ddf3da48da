#include "parallel/time_limit.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/console.h"
#include "parallel/exit_code.h"

namespace triptych::parallel {
namespace {

using namespace std::chrono_literals;

// As what started the ranks numbers them, before MPI does.
int started_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* const value = std::getenv(name)) return std::max(0, std::atoi(value));
  }
  return 0;
}

}  // namespace

TimeLimit::TimeLimit(std::chrono::milliseconds limit, std::string where, std::string what)
    : thread_([this, limit, where = std::move(where), what = std::move(what)] {
        std::unique_lock lock(mutex_);
        // The first to speak ends the others: by rank, so that one speaks.
        if (ended_.wait_for(lock, limit + 200ms * std::min(started_rank(), 10), [this] { return has_ended_; })) return;
        print_error(
            fmt::format("[{}] all ranks must {} within run.timeout_s = {:g} s, and one did not: it stands still, "
                        "was never started or cannot be reached. Look for it with `ps` on every machine, and "
                        "start again",
                        where, what, std::chrono::duration<double>(limit).count()));
        leave_exit_code(1);
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
