#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "optim/adamw.h"
#include "training/session.h"

namespace triptych::training {

/// The name of a parameter of this rank, or of one of its moments, that holds an infinity or a NaN; "" if all numbers
/// are finite. Reads them once on the device and waits for it: for saving and loading, never in a step. Local.
std::string first_not_finite(Device& device, std::span<const AdamW::State> states);
/// The same of the parameters alone.
std::string first_not_finite(Session& session);

/// Throws UserError if the model that was read from a checkpoint computes nothing but NaN.
///   not_finite   as the functions above say it
void require_finite_model(const std::string& not_finite, const std::filesystem::path& checkpoint);

}  // namespace triptych::training
