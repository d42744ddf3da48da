#include "tasks/standard_tasks.h"

namespace triptych::tasks {

TaskTable standard_tasks() {
  static constexpr TaskKind kTasks[] = {
      {"contrastive", "two towers whose embeddings of a pair meet (CLIP, SigLIP)", read_contrastive_task},
      {"classify", "an image encoder with a head over classes (ViT)", read_classify_task},
      {"caption", "an image encoder and a text decoder that attends to it", read_caption_task},
      {"coca", "contrastive and captioning at once, with one text decoder (CoCa)", read_coca_task},
  };
  return kTasks;
}

}  // namespace triptych::tasks
