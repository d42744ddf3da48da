#include "tasks/task.h"

#include "tasks/explain.h"

namespace triptych::tasks {

Explanation Task::explain(Inference&, const ExplainInputs&) const {
  throw InternalError("task", "where a model of this task looks cannot be shown");
}

}  // namespace triptych::tasks
