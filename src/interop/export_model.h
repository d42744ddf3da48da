#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_reader.h"
#include "interop/families.h"
#include "training/run_config.h"

namespace triptych::interop {

struct ExportRequest {
  Library library = Library::kHuggingFace;
  std::filesystem::path out;                   ///< a new or an empty folder
  SavedWeights weights = SavedWeights::kLast;  ///< of the checkpoint
  uint64_t max_file_bytes = 5'000'000'000;     ///< of a file of tensors; open_clip reads one file alone
};

struct ExportResult {
  std::string family;
  std::vector<std::string> files;  ///< of `out`, by name
  int64_t num_parameters = 0;
  std::vector<std::string> notes;
};

/// Writes a checkpoint of any mesh as the other library saves its models: tensors in safetensors files of float32, with
/// an index where there are several, and the JSON that says what the model is, so that the library loads the folder.
/// The folder is seen when it is whole. Memory: that of the largest file.
///
/// Throws UserError if the folder is not empty, or no family of the library is such a model, with what stands against
/// the nearest; or the checkpoint has other tensors than the config's model (adapters have to be merged first).
ExportResult export_model(const ExportRequest& request, const RunConfig& config, CheckpointReader& checkpoint);

}  // namespace triptych::interop
