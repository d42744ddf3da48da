#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/rooms.h"

namespace triptych::interop {

using KeyValue = std::variant<bool, int64_t, double, std::string, std::vector<double>>;

/// Keys of a Triptych config with their values: those that say what a model is.
class ModelKeys {
 public:
  void set(const std::string& key, KeyValue value) { values_[key] = std::move(value); }
  bool has(const std::string& key) const { return values_.contains(key); }
  /// Throws InternalError if the key is not set, or is of another type.
  int64_t integer(const std::string& key) const;
  bool boolean(const std::string& key) const;
  const std::string& word(const std::string& key) const;

  /// "task" first, then a section after another.
  std::string to_toml() const;

 private:
  template <typename T>
  const T& get(const std::string& key) const;

  std::map<std::string, KeyValue> values_;
};

/// As TOML writes it.
std::string to_toml(const KeyValue& value);

}  // namespace triptych::interop
