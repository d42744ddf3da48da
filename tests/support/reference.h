#pragma once

#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace triptych::test {

/// What tests/interop/make_metric_references.py keeps in the room's folder `reference`: inputs, and what another
/// library says of them.
inline nlohmann::json read_reference(const std::string& name) {
  const std::string path = std::string(TRIPTYCH_REFERENCE_FOLDER) + "/" + name;
  std::ifstream file(path);
  if (!file) throw WorldError("reference", path + " cannot be read");
  return nlohmann::json::parse(file);
}

}  // namespace triptych::test
