#pragma once

#include "tasks/task.h"

namespace triptych::tasks {

/// The tasks of the `triptych` program; the first is that of a config that names none.
TaskTable standard_tasks();

// One file each.
std::unique_ptr<Task> read_contrastive_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_classify_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_caption_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_coca_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_masked_image_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_masked_text_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_answer_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_align_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_detect_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_ground_task(ConfigReader& reader, const MeshShape& mesh);
std::unique_ptr<Task> read_language_task(ConfigReader& reader, const MeshShape& mesh);

}  // namespace triptych::tasks
