#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::config::internal {

/// A value as it was written, apart from the TOML library's types.
struct ConfigValue {
  enum class Kind { kInteger, kNumber, kBoolean, kString, kList, kOther };
  Kind kind = Kind::kOther;
  int64_t integer = 0;
  double number = 0;
  bool boolean = false;
  std::string string;  ///< for kOther what it is: "a date", "a table"
  std::vector<ConfigValue> list;

  /// As TOML would write it, cut to a length that fits a message.
  std::string describe() const;
};

/// Where something was given. `order` sorts problems as a reader meets them: file by file, line by line, overrides
/// last.
struct ConfigPlace {
  std::string where;  ///< "configs/a.toml:12" or "--set a.b=v"
  uint64_t order = 0;
};

struct ConfigEntry {
  ConfigValue value;
  ConfigPlace place;
  bool is_override = false;
  std::string override_text;  ///< of an override, the text after '='
};

struct ConfigProblem {
  ConfigPlace place;
  std::string message;
};

/// All files and overrides of a configuration, flattened: "section.name" to what won. An array of tables is a section
/// for each: "section.0.name".
struct ConfigSource {
  std::string name;  ///< of the outermost file
  std::map<std::string, ConfigEntry> entries;
  std::map<std::string, ConfigPlace> empty_sections;
  std::vector<ConfigProblem> problems;
  uint64_t num_files = 0;
};

ConfigSource load_config_file(const std::filesystem::path& path);
ConfigSource load_config_text(std::string_view text, std::string_view name);
/// Applies "a.b=v"; what is wrong with it becomes a problem.
void apply_override(ConfigSource& source, const std::string& text, uint64_t index);

/// True if `text` is a TOML bare key.
bool is_bare_key(std::string_view text);

/// The text cut to a length that fits a message, "..." in place of the rest; no UTF-8 character is cut in two.
std::string shorten(std::string_view text);

/// A TOML basic string with its quotes.
std::string quote_toml(std::string_view text);
/// A TOML float that reads back to the same double.
std::string format_toml_number(double value);

}  // namespace triptych::config::internal
