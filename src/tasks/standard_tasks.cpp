#include "tasks/standard_tasks.h"

namespace triptych::tasks {

TaskTable standard_tasks() {
  static constexpr TaskKind kTasks[] = {
      {"contrastive", "two towers whose embeddings of a pair meet (CLIP, SigLIP)", read_contrastive_task},
      {"classify", "an image encoder with a head over classes (ViT)", read_classify_task},
      {"caption", "an image encoder and a text decoder that attends to it", read_caption_task},
      {"coca", "contrastive and captioning at once, with one text decoder (CoCa)", read_coca_task},
      {"masked_image", "an image encoder that learns to reconstruct masked patches (MAE)", read_masked_image_task},
      {"masked_text", "a text encoder that learns to guess masked tokens (BERT)", read_masked_text_task},
      {"answer", "a multimodal Transformer that chooses answers to questions about images (VQA)", read_answer_task},
      {"align", "contrastive, matching and masked tokens at once, with a fusion encoder (ALBEF)", read_align_task},
      {"detect", "an image encoder and learned queries that find objects (DETR)", read_detect_task},
      {"ground", "an image encoder and a text encoder that attends to it, and says where a phrase is",
       read_ground_task},
      {"language", "a causal decoder of texts (GPT, Llama), with pictures where they are connected (LLaVA, Flamingo)",
       read_language_task},
  };
  return kTasks;
}

}  // namespace triptych::tasks
