#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/rooms.h"

namespace triptych::evaluation {

/// Results of something else on the evaluation's sets, to stand beside the model's: what launcher/pixel_baseline.py
/// writes, for instance.
class Baseline {
 public:
  /// A JSON file {"about": "what it is", "<name of the set's folder>": {"<metric>": number, ...}, ...} with the metrics
  /// named as the evaluation names them ("image to text recall@1"); "about" may be left out. Throws UserError if it is
  /// none.
  static Baseline read(const std::filesystem::path& path);

  /// The file's name without its extension, '_' as a space: "raw pixels".
  const std::string& name() const { return name_; }
  /// What it is, in a sentence, as the file's "about" says; empty where it does not.
  const std::string& about() const { return about_; }
  /// Nothing where the file does not say.
  std::optional<double> value(const std::string& set, const std::string& metric) const;

 private:
  std::string name_, about_;
  std::map<std::string, std::map<std::string, double>> sets_;
};

}  // namespace triptych::evaluation
