#include "tasks/task.h"

namespace triptych::tasks {

std::vector<SearchHit> Task::search(Inference&, const SearchQuery&) const {
  throw InternalError("task", "a model of this task does not compare texts with pictures");
}

}  // namespace triptych::tasks
