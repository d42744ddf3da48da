#pragma once

#include <filesystem>
#include <string_view>

namespace triptych::launcher {

/// The backend to compute on that this program is not linked with: "cuda" of "cpu", and the reverse.
std::string_view other_backend_kind();

/// The program that is linked with the other backend that computes, beside this one: `triptych-cuda` of `triptych`, and
/// the reverse. Empty if it was not built.
std::filesystem::path other_backends_program();

/// The program that is linked with that backend, beside this one. Empty if it was not built.
std::filesystem::path program_of(std::string_view kind);

/// If `device` names another backend ("paper" is one, of triptych-paper), replaces this process by that program with
/// the same arguments; does not return then. Must be called before anything that a process cannot inherit (MPI).
/// Returns if `device` is this backend's own, or if there is no program for it: `require_backend` says so where all
/// ranks can agree on who tells it.
void hand_over_to(std::string_view device);

/// Throws UserError unless this program is linked with the backend that `device` names.
void require_backend(std::string_view device);

}  // namespace triptych::launcher
