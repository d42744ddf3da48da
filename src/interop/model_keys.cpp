#include "interop/model_keys.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace triptych::interop {

std::string to_toml(const KeyValue& value) {
  // What JSON writes of these TOML reads as the same, but for a number without a point, which would be an integer.
  const auto number = [](double x) {
    std::string text = nlohmann::json(x).dump();
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  };
  if (const auto* x = std::get_if<double>(&value)) return number(*x);
  if (const auto* all = std::get_if<std::vector<double>>(&value)) {
    std::string text;
    for (const double x : *all) text += (text.empty() ? "[" : ", ") + number(x);
    return text.empty() ? "[]" : text + "]";
  }
  if (const auto* x = std::get_if<bool>(&value)) return *x ? "true" : "false";
  if (const auto* x = std::get_if<int64_t>(&value)) return fmt::format("{}", *x);
  return nlohmann::json(std::get<std::string>(value)).dump();
}

template <typename T>
const T& ModelKeys::get(const std::string& key) const {
  const auto found = values_.find(key);
  TRIPTYCH_CHECK(found != values_.end() && std::holds_alternative<T>(found->second), "key {}", key);
  return std::get<T>(found->second);
}

int64_t ModelKeys::integer(const std::string& key) const {
  return get<int64_t>(key);
}

bool ModelKeys::boolean(const std::string& key) const {
  return get<bool>(key);
}

const std::string& ModelKeys::word(const std::string& key) const {
  return get<std::string>(key);
}

std::string ModelKeys::to_toml() const {
  std::string text;
  for (const auto& [key, value] : values_) {
    if (key.find('.') == std::string::npos) text += fmt::format("{} = {}\n", key, interop::to_toml(value));
  }
  for (const auto& [key, value] : values_) {
    if (key.find('.') != std::string::npos) text += fmt::format("{} = {}\n", key, interop::to_toml(value));
  }
  return text;
}

}  // namespace triptych::interop
