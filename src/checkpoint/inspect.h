#pragma once

#include <filesystem>
#include <string>

#include "base/rooms.h"

namespace triptych::checkpoint {

/// A readable summary of a checkpoint: step, model, mesh, files, tensors, parameters, bytes.
///
///   path    a step's folder, its manifest.json, a `checkpoints` folder or the `latest` file in one
///   verify  also reads every byte: each file's hash, each file's header against the manifest, and that the pieces
///           of every tensor cover it exactly
///   tensors also lists every tensor's name, type and shape
///
/// Throws UserError if `path` is no checkpoint of a version that is read here, WorldError if it is damaged.
std::string describe_checkpoint(const std::filesystem::path& path, bool verify, bool tensors = false);

}  // namespace triptych::checkpoint
