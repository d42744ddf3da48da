#pragma once

#include <string>

#include "config/config_reader.h"
#include "training/run_config.h"

namespace triptych::training {

/// Binds the keys of [parallel]; `recompute` is the word that the file has for the option.
void read_parallel(ConfigReader& reader, ParallelOptions& p, std::string& recompute);

/// Checks what they say together and with the rest of the config; what is wrong is told to the reader.
void check_parallel(ConfigReader& reader, const RunConfig& c, MeshUse mesh_use, int num_ranks);

/// Turns the mesh into one of as many ranks as were started where its use allows another. A schedule out of a file,
/// which is made for a mesh, gives way with it.
void use_mesh(ParallelOptions& p, MeshUse mesh_use, int num_ranks);

}  // namespace triptych::training
