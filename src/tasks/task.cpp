#include "tasks/task.h"

#include "tasks/explain.h"

namespace triptych::tasks {

std::vector<SearchHit> Task::search(Inference&, const SearchQuery&) const {
  throw InternalError("task", "a model of this task does not compare texts with pictures");
}

Explanation Task::explain(Inference&, const ExplainInputs&) const {
  throw InternalError("task", "where a model of this task looks cannot be shown");
}

}  // namespace triptych::tasks
