#include "config/config_difference.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "config/toml_source.h"

namespace triptych::config {
namespace {

using internal::ConfigEntry;
using internal::ConfigValue;
using Kind = ConfigValue::Kind;

bool is_number(const ConfigValue& value) {
  return value.kind == Kind::kInteger || value.kind == Kind::kNumber;
}
double number_of(const ConfigValue& value) {
  return value.kind == Kind::kInteger ? static_cast<double>(value.integer) : value.number;
}

bool is_same(const ConfigValue& a, const ConfigValue& b) {
  if (a.kind != b.kind) return is_number(a) && is_number(b) && number_of(a) == number_of(b);
  switch (a.kind) {
    case Kind::kInteger:
      return a.integer == b.integer;
    case Kind::kNumber:
      return a.number == b.number;
    case Kind::kBoolean:
      return a.boolean == b.boolean;
    case Kind::kString:
    case Kind::kOther:
      return a.string == b.string;
    case Kind::kList:
      return std::equal(a.list.begin(), a.list.end(), b.list.begin(), b.list.end(), is_same);
  }
  return false;
}

}  // namespace

std::string ConfigDifference::describe() const {
  const std::string before = then.empty() ? "not there" : then;
  return fmt::format("{}: {}{} -> {}", key, before, was_given ? "" : " (the default)", now.empty() ? "gone" : now);
}

std::vector<ConfigDifference> compare_configs(std::string_view then, std::string_view now, std::string_view defaults) {
  const std::map<std::string, ConfigEntry> old_keys = internal::load_config_text(then, "the earlier config").entries;
  const std::map<std::string, ConfigEntry> new_keys = internal::load_config_text(now, "the config").entries;
  const std::map<std::string, ConfigEntry> usual = internal::load_config_text(defaults, "defaults").entries;
  std::vector<ConfigDifference> differences;
  for (const auto& [key, entry] : new_keys) {
    const auto old_key = old_keys.find(key), default_key = usual.find(key);
    const bool was_given = old_key != old_keys.end();
    const bool is_known = was_given || default_key != usual.end();
    const ConfigValue before = was_given ? old_key->second.value : is_known ? default_key->second.value : ConfigValue();
    if (is_known && is_same(before, entry.value)) continue;
    differences.push_back({key, is_known ? before.describe() : "", entry.value.describe(), was_given || !is_known});
  }
  for (const auto& [key, entry] : old_keys) {
    if (!new_keys.contains(key)) differences.push_back({key, entry.value.describe(), "", true});
  }
  std::sort(differences.begin(), differences.end(),
            [](const ConfigDifference& a, const ConfigDifference& b) { return a.key < b.key; });
  return differences;
}

}  // namespace triptych::config
