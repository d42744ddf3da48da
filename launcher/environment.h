#pragma once

namespace triptych::launcher {

/// What libraries read from the environment when they are loaded or start: OpenMP's, and those of the backend
/// (`backend_environment`). Sets what the user has not, all in this one place, and then starts the program anew, once,
/// with the same arguments: OpenMP reads its settings before main, and MPI_Init may start CUDA. To be called first in
/// main. If the program cannot be started anew it goes on with what was set.
///
///   argv   of main
void prepare_environment(char** argv);

}  // namespace triptych::launcher
