#include "interop/config_links.h"

#include <algorithm>
#include <limits>

#include <fmt/ranges.h>

#include "base/error.h"
#include "config/config_difference.h"
#include "config/config_reader.h"

namespace triptych::interop {
namespace {

using nlohmann::json;

constexpr std::size_t kShownKeys = 40;

json::json_pointer pointer_of(const std::string& path) {
  std::string text = "/" + path;
  std::replace(text.begin(), text.end(), '.', '/');
  return json::json_pointer(text);
}

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

// Paths of all values that are no objects; an empty object is one of them.
void list_leaves(const json& value, const std::string& path, std::vector<std::pair<std::string, const json*>>& leaves) {
  if (!value.is_object() || value.empty()) {
    leaves.emplace_back(path, &value);
    return;
  }
  for (const auto& [key, below] : value.items()) list_leaves(below, path.empty() ? key : path + "." + key, leaves);
}

}  // namespace

ConfigLinks::ConfigLinks(json theirs, std::string file)
    : imports_(true), where_(std::move(file)), theirs_(std::move(theirs)) {}

ConfigLinks::ConfigLinks(const RunConfig& ours)
    : imports_(false), where_("export"), effective_(ours.effective_toml), defaults_(ours.default_toml) {}

const json* ConfigLinks::find(const std::string& path) {
  seen_.insert(path);
  const json::json_pointer pointer = pointer_of(path);
  // A key whose own name has a point in it is none of a path's.
  if (!theirs_.contains(pointer)) return nullptr;
  const json& value = theirs_.at(pointer);
  return value.is_null() ? nullptr : &value;
}

std::optional<json> ConfigLinks::read(const std::string& path) {
  const json* value = find(path);
  return value != nullptr ? std::optional(*value) : std::nullopt;
}

int64_t ConfigLinks::read_integer(const std::string& path, std::optional<int64_t> absent) {
  const json* value = find(path);
  if (value == nullptr) {
    if (!absent) problem(fmt::format("{} is missing", path));
    return absent.value_or(1);
  }
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const bool is_small = value->is_number_unsigned() ? value->get<uint64_t>() <= uint64_t{kMost}
                                                    : value->is_number_integer() && value->get<int64_t>() >= 0;
  if (is_small && value->get<int64_t>() <= kMost) return value->get<int64_t>();
  problem(fmt::format("{} must be a whole number below 2^31, found {}", path, shown(*value)));
  return 1;
}

double ConfigLinks::read_number(const std::string& path, std::optional<double> absent) {
  const json* value = find(path);
  if (value == nullptr) {
    if (!absent) problem(fmt::format("{} is missing", path));
    return absent.value_or(1);
  }
  if (value->is_number()) return value->get<double>();
  problem(fmt::format("{} must be a number, found {}", path, shown(*value)));
  return 1;
}

void ConfigLinks::write(const std::string& path, json value) {
  theirs_[pointer_of(path)] = std::move(value);
}

template <typename T>
T ConfigLinks::our(const std::string& key, T value) {
  seen_.insert(key);
  ConfigReader reader = ConfigReader::from_text(effective_, "the config");
  reader.read(key, value, "");
  ours_.set(key, value);
  return value;
}

int64_t ConfigLinks::our_integer(const std::string& key) {
  return our<int64_t>(key, 0);
}

double ConfigLinks::our_number(const std::string& key) {
  return our<double>(key, 0);
}

bool ConfigLinks::our_boolean(const std::string& key) {
  return our<bool>(key, false);
}

std::string ConfigLinks::our_word(const std::string& key) {
  return our<std::string>(key, "");
}

std::vector<double> ConfigLinks::our_numbers(const std::string& key) {
  return our<std::vector<double>>(key, {});
}

int64_t ConfigLinks::integer(const std::string& ours, const std::string& theirs, std::optional<int64_t> absent) {
  const int64_t value = imports_ ? read_integer(theirs, absent) : our_integer(ours);
  imports_ ? set(ours, value) : write(theirs, value);
  return value;
}

double ConfigLinks::number(const std::string& ours, const std::string& theirs, std::optional<double> absent) {
  const double value = imports_ ? read_number(theirs, absent) : our_number(ours);
  imports_ ? set(ours, value) : write(theirs, value);
  return value;
}

bool ConfigLinks::boolean(const std::string& ours, const std::string& theirs, bool absent) {
  if (!imports_) {
    const bool value = our_boolean(ours);
    write(theirs, value);
    return value;
  }
  const json* found = find(theirs);
  bool value = absent;
  if (found != nullptr && found->is_boolean()) {
    value = found->get<bool>();
  } else if (found != nullptr) {
    problem(fmt::format("{} must be true or false, found {}", theirs, shown(*found)));
  }
  set(ours, value);
  return value;
}

std::string ConfigLinks::word(const std::string& ours, const std::string& theirs, std::initializer_list<WordPair> words,
                              std::string_view absent) {
  std::vector<std::string_view> known;
  if (imports_) {
    const json* found = find(theirs);
    const std::string value = found != nullptr && found->is_string() ? found->get<std::string>() : "";
    for (const auto& [mine, other] : words) {
      if (found == nullptr ? other == absent : value == other) {
        set(ours, std::string(mine));
        return std::string(mine);
      }
      known.push_back(other);
    }
    problem(fmt::format("{} must be one of {}, found {}", theirs, fmt::join(known, ", "),
                        found != nullptr ? shown(*found) : "none"));
    const std::string first(words.begin()->first);
    set(ours, first);
    return first;
  }
  const std::string value = our_word(ours);
  for (const auto& [mine, other] : words) {
    if (value == mine) {
      write(theirs, std::string(other));
      return value;
    }
    known.push_back(mine);
  }
  problem(fmt::format("{} must be one of {}, found {}", ours, fmt::join(known, ", "), value));
  return value;
}

void ConfigLinks::numbers(const std::string& ours, const std::string& theirs, const std::vector<double>& absent) {
  if (!imports_) return write(theirs, our_numbers(ours));
  const json* found = find(theirs);
  std::vector<double> values = absent;
  if (found != nullptr) {
    const bool is_list = found->is_array() && found->size() <= 16 &&
                         std::all_of(found->begin(), found->end(), [](const json& x) { return x.is_number(); });
    if (is_list)
      values = found->get<std::vector<double>>();
    else
      problem(fmt::format("{} must be a list of a few numbers, found {}", theirs, shown(*found)));
  }
  set(ours, values);
}

void ConfigLinks::ours_is(const std::string& key, const KeyValue& value) {
  if (imports_) return set(key, value);
  const auto found =
      std::visit([&](const auto& wanted) -> KeyValue { return our(key, std::decay_t<decltype(wanted)>{}); }, value);
  if (found != value) problem(fmt::format("{} must be {}, found {}", key, to_toml(value), to_toml(found)));
}

void ConfigLinks::ours_free(std::initializer_list<std::string_view> keys) {
  if (!imports_) seen_.insert(keys.begin(), keys.end());
}

void ConfigLinks::theirs_is(const std::string& path, const json& value, const json& absent) {
  if (!imports_) return write(path, value);
  const json* found = find(path);
  const json& actual = found != nullptr ? *found : absent.is_null() ? value : absent;
  if (actual != value) {
    problem(fmt::format("{} must be {}, found {}: there is nothing like it here", path, shown(value), shown(actual)));
  }
}

void ConfigLinks::theirs_free(std::initializer_list<std::string_view> paths) {
  if (imports_) seen_.insert(paths.begin(), paths.end());
}

void ConfigLinks::look_for_rest() {
  if (has_looked_) return;
  has_looked_ = true;
  if (!imports_) {
    for (const ConfigDifference& one : compare_configs(defaults_, effective_, defaults_)) {
      if (one.key.starts_with("model.") && !seen_.contains(one.key)) {
        problem(fmt::format("{} = {} has no counterpart there, only the default {} has", one.key, one.now, one.then));
      }
    }
    return;
  }
  std::vector<std::pair<std::string, const json*>> leaves;
  list_leaves(theirs_, "", leaves);
  std::vector<std::string> rest;
  for (const auto& [path, value] : leaves) {
    const bool is_seen = std::any_of(seen_.begin(), seen_.end(), [&, &leaf = path](const std::string& seen) {
      return seen.ends_with(".*") ? leaf.starts_with(std::string_view(seen).substr(0, seen.size() - 1))
                                  : leaf == seen || leaf.starts_with(seen + ".");
    });
    if (!is_seen && !value->is_null()) rest.push_back(fmt::format("{} = {}", path.substr(0, 100), shown(*value)));
  }
  if (rest.empty()) return;
  const std::size_t left = rest.size() > kShownKeys ? rest.size() - kShownKeys : 0;
  rest.resize(rest.size() - left);
  note(fmt::format("{}: no counterpart: {}{}", where_, fmt::join(rest, ", "),
                   left > 0 ? fmt::format(", and {} more", left) : ""));
}

void ConfigLinks::finish() {
  look_for_rest();
  if (problems_.empty()) return;
  throw UserError(
      where_, fmt::format("the model must be one that {} can say; it is not:\n  {}\n{}",
                          imports_ ? "Triptych's config" : "the other library's config", fmt::join(problems_, "\n  "),
                          imports_ ? "What is not supported is in docs/interop.md"
                                   : "docs/interop.md lists what each family has"));
}

}  // namespace triptych::interop
