#pragma once

#include "config/config_reader.h"
#include "models/multimodal.h"
#include "parallel/mesh.h"

namespace triptych::tasks {

/// model.dropout, model.image, model.text, model.connector and model.fusion: an image encoder without a class token and
/// a bidirectional text encoder, and how they become one.
void read_multimodal(ConfigReader& reader, MultimodalConfig& config, const MeshShape& mesh);

}  // namespace triptych::tasks
