#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "interop/families.h"
#include "training/run_config.h"

namespace triptych::interop {

struct ImportRequest {
  Library library = Library::kHuggingFace;
  std::filesystem::path from;          ///< a folder, a safetensors file or its index
  std::filesystem::path out;           ///< a new or an empty folder
  std::filesystem::path model_config;  ///< the other library's JSON; empty: it lies beside the tensors
  std::filesystem::path tokenizer;     ///< its file; empty: one that lies beside the tensors, if there is one
};

struct ImportResult {
  std::string family;  ///< "CLIP"
  std::filesystem::path checkpoint, config;
  int64_t num_parameters = 0;
  std::vector<std::string> notes;  ///< what has no counterpart and changes no output, a sentence each
};

/// Writes the other library's model as a checkpoint of Triptych's, of step 0 and without moments, and the config whose
/// model it is: `out`/step_00000000, `out`/latest, `out`/config.toml; the tokenizer beside them and in the checkpoint.
///
/// The numbers are theirs bit by bit, as float32. Every tensor of theirs is read, or told in a note. Memory: four bytes
/// a parameter. On one rank; what is written is read on any mesh.
///
/// Throws UserError if the folder is not empty, no family is that of the config, or the config says what no model here
/// has, all of it at once; WorldError if a file is damaged, or a tensor is missing, of another shape, or known to
/// nobody, with their names.
ImportResult import_model(const ImportRequest& request, TaskTable tasks);

}  // namespace triptych::interop
