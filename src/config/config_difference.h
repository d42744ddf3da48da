#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::config {

/// A key whose value is not the same in two configurations. Values are as TOML writes them, cut to a length that fits a
/// message.
struct ConfigDifference {
  std::string key;
  std::string then;       ///< empty: the earlier configuration has no such key, and neither have the defaults
  std::string now;        ///< empty: there is no such key any more
  bool was_given = true;  ///< false: the earlier configuration lacks the key, `then` is its default

  /// "optimizer.learning_rate: 0.001 -> 0.01".
  std::string describe() const;
};

/// How `now` differs from `then`, by key. Numbers are compared by value, comments and order do not count. What `then`
/// lacks, since it was written before there was such a key, is taken to have been the default.
///   defaults  of the keys of `now`: ConfigReader::default_toml
/// Throws UserError if one of the texts is no TOML.
std::vector<ConfigDifference> compare_configs(std::string_view then, std::string_view now, std::string_view defaults);

}  // namespace triptych::config
