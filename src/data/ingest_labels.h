#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/ingest_source.h"

namespace triptych::data {

/// The classes of a data set that is being made, and which labels they let its samples have.
class IngestLabels {
 public:
  /// The names in `file`, one a line; where it is empty those of the source, which may have none: then every label from
  /// 0 on is allowed. Throws UserError if a name is none (data/class_names.h).
  IngestLabels(const IngestSource& source, const std::filesystem::path& file);

  const std::vector<std::string>& names() const { return names_; }
  /// Gives a sample whose class is named its number. Throws SampleFault if its label, or the class of one of its boxes,
  /// is none of the classes.
  void settle(IngestRecord& record) const;

 private:
  int64_t number_of(const std::string& name) const;

  std::vector<std::string> names_;
  std::unordered_map<std::string, int64_t> numbers_;  // by name; of two that are alike the first
  std::string where_;                                 // the names come from
};

}  // namespace triptych::data
