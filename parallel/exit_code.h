#pragma once

namespace triptych::parallel {

/// For a rank that ends: leaves its exit code where `launcher/run-ranks` finds it if mpirun crashes before it has
/// passed it on. Does nothing in a process that something else started.
void leave_exit_code(int exit_code) noexcept;

}  // namespace triptych::parallel
