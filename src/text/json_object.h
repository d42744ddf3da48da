#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/rooms.h"

namespace triptych::text {

/// An object of a JSON file, read key by key, that refuses what nobody asked for: whatever a file says is either done
/// or named in an error. Every refusal is a UserError. The JSON and `where` must outlive it.
class JsonObject {
 public:
  /// `path` names the object in errors, as in "model.vocab".
  JsonObject(const nlohmann::json& value, std::string path, std::string_view where);

  const std::string& path() const { return path_; }
  std::string_view where() const { return where_; }

  /// The value; null if there is none, or it is null.
  const nlohmann::json* find(const std::string& key);
  const nlohmann::json& need(const std::string& key);
  bool flag(const std::string& key, bool otherwise);
  std::optional<std::string> optional_text(const std::string& key);
  std::string text(const std::string& key);
  std::string text(const std::string& key, const std::string& otherwise);
  int64_t integer(const std::string& key, int64_t least, int64_t most, std::optional<int64_t> otherwise = std::nullopt);
  JsonObject object(const std::string& key) { return {need(key), path_ + "." + key, where_}; }
  /// For keys that change no id and no text, such as those about offsets.
  void pass_over(std::initializer_list<const char*> keys);

  /// Refuses keys that nobody asked for.
  void done() const;
  [[noreturn]] void refuse(std::string_view rule) const;
  [[noreturn]] void refuse(const std::string& key, std::string_view rule) const;

 private:
  const nlohmann::json& value_;
  std::string path_;
  std::string_view where_;
  std::set<std::string> known_;
};

}  // namespace triptych::text
