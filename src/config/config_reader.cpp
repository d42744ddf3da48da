#include "config/config_reader.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "config/toml_source.h"

namespace triptych::config {
namespace {

using internal::ConfigEntry;
using internal::ConfigPlace;
using internal::ConfigProblem;
using internal::ConfigSource;
using internal::ConfigValue;

constexpr std::size_t kMaxProblemsShown = 50;
/// Beyond this no word is like it, and the edit distance gets slow.
constexpr std::size_t kMaxWordCompared = 100;
constexpr std::size_t kCommentWidth = 110;

std::string sentence(std::string_view text) {
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.remove_suffix(1);
  if (text.empty()) return "";
  return std::string(text) + (text.back() == '?' ? "" : ".");
}

std::string section_of(std::string_view key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? "" : std::string(key.substr(0, dot));
}

std::string name_of(std::string_view key) {
  return std::string(key.substr(key.rfind('.') + 1));
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// ---- The types: what each is called, how it is written, and how it is taken from a value.

template <typename T>
constexpr std::string_view type_name() {
  if constexpr (std::same_as<T, bool>) return "boolean";
  if constexpr (std::same_as<T, std::string>) return "string";
  if constexpr (std::floating_point<T>) return "number";
  if constexpr (std::same_as<T, std::vector<std::string>>) return "list of strings";
  if constexpr (std::same_as<T, std::vector<double>>) return "list of numbers";
  return "integer";
}

template <typename T>
std::string format_value(const T& value) {
  if constexpr (std::same_as<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::same_as<T, std::string>) {
    return internal::quote_toml(value);
  } else if constexpr (std::same_as<T, double>) {
    return internal::format_toml_number(value);
  } else if constexpr (std::same_as<T, float>) {
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".ein") == std::string::npos) text += ".0";
    // The digits are the shortest for a float, but are read by way of a double, which may round differently.
    if (static_cast<float>(std::strtod(text.c_str(), nullptr)) == value) return text;
    return internal::format_toml_number(static_cast<double>(value));
  } else if constexpr (std::integral<T>) {
    TRIPTYCH_CHECK(std::in_range<int64_t>(value), "{} is beyond TOML's integers", value);
    return fmt::format("{}", value);
  } else {
    std::string text;
    for (const auto& element : value) text += (text.empty() ? "" : ", ") + format_value(element);
    return fmt::format("[{}]", text);
  }
}

/// Takes `value` as a T. Returns "" or what it must be, with what to do about it in `remedy`.
template <typename T>
std::string take(const ConfigValue& value, T& out, std::string& remedy) {
  using Kind = ConfigValue::Kind;
  if constexpr (std::same_as<T, bool>) {
    remedy = "Write true or false";
    if (value.kind != Kind::kBoolean) return "a boolean";
    out = value.boolean;
  } else if constexpr (std::same_as<T, std::string>) {
    remedy = "Put it in quotes";
    if (value.kind != Kind::kString) return "a string";
    remedy = "Remove the byte";
    if (value.string.find('\0') != std::string::npos) return "a string without bytes of value 0";
    out = value.string;
  } else if constexpr (std::floating_point<T>) {
    remedy = "Write a number such as 0.5 or 1e-3";
    if (value.kind != Kind::kInteger && value.kind != Kind::kNumber) return "a number";
    const double number = value.kind == Kind::kInteger ? static_cast<double>(value.integer) : value.number;
    if (!std::isfinite(number)) return "a finite number";
    if (std::isinf(static_cast<T>(number))) return "a number that float32 can hold";
    out = static_cast<T>(number);
  } else if constexpr (std::integral<T>) {
    remedy = "Write it without a point or an exponent";
    if (value.kind == Kind::kNumber) return "an integer";
    remedy = "Write an integer";
    if (value.kind != Kind::kInteger) return "an integer";
    if (!std::in_range<T>(value.integer)) {
      const int64_t greatest =
          static_cast<int64_t>(std::min<uint64_t>(std::numeric_limits<T>::max(), std::numeric_limits<int64_t>::max()));
      return fmt::format("an integer from {} to {}", std::numeric_limits<T>::min(), greatest);
    }
    out = static_cast<T>(value.integer);
  } else {
    remedy = "Write a list such as [a, b]";
    if constexpr (std::same_as<T, std::vector<std::string>>) remedy = "Write a list such as [\"a\", \"b\"]";
    if (value.kind != Kind::kList) return fmt::format("a {}", type_name<T>());
    T list;
    for (const ConfigValue& element : value.list) {
      std::string unused;
      if (!take(element, list.emplace_back(), unused).empty()) return fmt::format("a {}", type_name<T>());
    }
    out = std::move(list);
  }
  return "";
}

std::string escape_markdown(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c == '\n' ? ' ' : c;
  }
  return escaped;
}

std::string comment(std::string_view text) {
  std::string lines, line = "#";
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    if (line.size() + 1 + word.size() > kCommentWidth && line.size() > 1) {
      lines += line + "\n";
      line = "#";
    }
    if (!word.empty()) line += fmt::format(" {}", word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines + line + "\n";
}

}  // namespace

struct ConfigReader::Impl {
  struct Key {
    std::string key, doc, default_text, value_text;
    std::string_view type;
    std::vector<std::string> rules, names_elsewhere;
    bool has_problem = false;
  };

  explicit Impl(ConfigSource loaded) : source(std::move(loaded)) {}

  const ConfigEntry* find(std::string_view key) const {
    const auto found = source.entries.find(std::string(key));
    return found == source.entries.end() ? nullptr : &found->second;
  }

  ConfigPlace place_of(std::string_view key) const {
    if (const ConfigEntry* entry = find(key)) return entry->place;
    return {source.name, 0};
  }

  void add_problem(const ConfigPlace& place, std::string message) {
    source.problems.push_back({place, std::move(message)});
  }

  std::vector<std::string> sections() const {
    std::vector<std::string> names{""};  // keys without a section must come first in TOML
    for (const Key& key : keys) {
      const std::string section = section_of(key.key);
      if (std::find(names.begin(), names.end(), section) == names.end()) names.push_back(section);
    }
    return names;
  }

  std::string nearest_key(const std::string& word) const {
    if (word.size() > kMaxWordCompared) return "";
    std::vector<std::string> known;
    for (const Key& key : keys) known.push_back(key.key);
    if (const std::string near = nearest_word(word, known); !near.empty()) return near;
    for (const Key& key : keys) {
      if (name_of(key.key) == name_of(word)) return key.key;  // the right name in another section
    }
    return "";
  }

  std::string describe_unknown(const std::string& key) const {
    if (arrays.contains(key)) {
      return fmt::format("`{}` must be an array of tables, found something else. Write [[{}]] and its keys below.", key,
                         key);
    }
    for (const Key& known : keys) {
      if (known.key.starts_with(key + ".")) {
        return fmt::format("`{}` must be a table of keys, found a value. Write [{}] and its keys below.", key, key);
      }
    }
    std::string remedy = describe_elsewhere(key);
    if (remedy.empty()) {
      const std::string near = nearest_key(key);
      remedy = near.empty() ? "Remove it." : fmt::format("Did you mean `{}`?", near);
    }
    return fmt::format("a key must be known, found `{}`. {}", internal::shorten(key), remedy);
  }

  // Of a name that other programs give some of the keys: which these are, and the first one's meaning.
  std::string describe_elsewhere(std::string_view word) const {
    std::string name = name_of(word), keys_here, meaning;
    for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (const Key& key : keys) {
      if (std::find(key.names_elsewhere.begin(), key.names_elsewhere.end(), name) == key.names_elsewhere.end())
        continue;
      if (keys_here.empty()) meaning = key.doc;
      keys_here += fmt::format("{}`{}`", keys_here.empty() ? "" : " or ", key.key);
    }
    return keys_here.empty() ? "" : fmt::format("Here it is {}: {}", keys_here, meaning);
  }

  // The array whose table a section is, or "" if it is none.
  std::string array_of(const std::string& section) const {
    const std::string above = section_of(section);
    return arrays.contains(above) && is_number(name_of(section)) ? above : "";
  }

  ConfigSource source;
  std::vector<Key> keys;
  std::map<std::string, std::size_t, std::less<>> index_of;
  std::set<std::string, std::less<>> arrays;  // keys of arrays of tables
};

ConfigReader::ConfigReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConfigReader::ConfigReader(ConfigReader&&) noexcept = default;
ConfigReader& ConfigReader::operator=(ConfigReader&&) noexcept = default;
ConfigReader::~ConfigReader() = default;

ConfigReader ConfigReader::from_file(const std::filesystem::path& path, std::span<const std::string> overrides) {
  auto impl = std::make_unique<Impl>(internal::load_config_file(path));
  for (std::size_t i = 0; i < overrides.size(); ++i) internal::apply_override(impl->source, overrides[i], i);
  return ConfigReader(std::move(impl));
}

ConfigReader ConfigReader::from_text(std::string_view text, std::string_view name,
                                     std::span<const std::string> overrides) {
  auto impl = std::make_unique<Impl>(internal::load_config_text(text, name));
  for (std::size_t i = 0; i < overrides.size(); ++i) internal::apply_override(impl->source, overrides[i], i);
  return ConfigReader(std::move(impl));
}

template <ConfigType T>
std::size_t ConfigReader::bind(std::string_view key, T& value, std::string_view doc) {
  for (std::size_t begin = 0; begin <= key.size();) {
    const std::size_t end = std::min(key.find('.', begin), key.size());
    TRIPTYCH_CHECK(internal::is_bare_key(key.substr(begin, end - begin)), "key `{}`", key);
    const std::string_view above = key.substr(0, begin == 0 ? 0 : begin - 1);
    TRIPTYCH_CHECK(!impl_->index_of.contains(above), "`{}` is a key and cannot hold `{}`", above, key);
    begin = end + 1;
  }
  const auto below = impl_->index_of.lower_bound(std::string(key) + ".");
  TRIPTYCH_CHECK(below == impl_->index_of.end() || !below->first.starts_with(std::string(key) + "."),
                 "`{}` is a section and no key", key);
  TRIPTYCH_CHECK(!impl_->index_of.contains(key) && key != "include", "`{}` is bound twice", key);

  const std::size_t index = impl_->keys.size();
  impl_->index_of.emplace(key, index);
  const std::string default_text = format_value(value);
  impl_->keys.push_back(
      {std::string(key), std::string(doc), default_text, default_text, type_name<T>(), {}, {}, false});
  if (const ConfigEntry* entry = impl_->find(key)) {
    ConfigValue found = entry->value;
    if (std::same_as<T, std::string> && entry->is_override && found.kind != ConfigValue::Kind::kString) {
      found.kind = ConfigValue::Kind::kString;  // --set run.dir=2024 means the text
      found.string = entry->override_text;
    }
    std::string remedy;
    const std::string rule = take(found, value, remedy);
    if (rule.empty()) {
      impl_->keys[index].value_text = format_value(value);
    } else {
      impl_->keys[index].has_problem = true;
      impl_->add_problem(entry->place,
                         fmt::format("`{}` must be {}, found {}. {}.", key, rule, found.describe(), remedy));
    }
  }
  return index;
}

template std::size_t ConfigReader::bind(std::string_view, int64_t&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, uint64_t&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, int&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, float&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, double&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, bool&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, std::string&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, std::vector<std::string>&, std::string_view);
template std::size_t ConfigReader::bind(std::string_view, std::vector<double>&, std::string_view);

void ConfigReader::restore_default(std::size_t index) {
  impl_->keys[index].value_text = impl_->keys[index].default_text;
}

void ConfigReader::add_rule(std::size_t index, std::string_view rule) {
  impl_->keys[index].rules.emplace_back(rule);
}

void ConfigReader::add_violation(std::size_t index, std::string_view rule, const std::vector<std::string>& words) {
  Impl::Key& key = impl_->keys[index];
  if (key.has_problem) return;  // one message a key; the others would follow from it
  key.has_problem = true;
  const ConfigEntry* entry = impl_->find(key.key);
  std::string found = key.value_text;
  std::string remedy = entry == nullptr ? "Give it a value" : fmt::format("The default is {}", key.default_text);
  if (entry != nullptr) {
    found = entry->value.describe();
    if (entry->value.kind == ConfigValue::Kind::kString && entry->value.string.size() <= kMaxWordCompared) {
      const std::string near = nearest_word(entry->value.string, words);
      if (!near.empty()) remedy = fmt::format("Did you mean \"{}\"?", near);
    }
  }
  impl_->add_problem(impl_->place_of(key.key), fmt::format("`{}` must be {}, found {}{}. {}", key.key, rule, found,
                                                           entry == nullptr ? " (the default)" : "", sentence(remedy)));
}

void ConfigReader::add_names(std::size_t index, std::initializer_list<std::string_view> names) {
  impl_->keys[index].names_elsewhere.assign(names.begin(), names.end());
}

void ConfigReader::require(std::size_t index) {
  Impl::Key& key = impl_->keys[index];
  key.rules.emplace_back("required");
  if (impl_->find(key.key) != nullptr || key.has_problem) return;
  key.has_problem = true;
  impl_->add_problem(
      impl_->place_of(key.key),
      fmt::format("`{}` must be given, found nothing. Write it in the file or pass --set {}=...", key.key, key.key));
}

std::size_t ConfigReader::num_tables(std::string_view key) {
  TRIPTYCH_CHECK(!impl_->index_of.contains(key), "`{}` is a key and no array of tables", key);
  impl_->arrays.emplace(key);
  const auto is_there = [&](const std::string& table) {
    const auto inner = impl_->source.entries.lower_bound(table + ".");
    return impl_->source.empty_sections.contains(table) ||
           (inner != impl_->source.entries.end() && inner->first.starts_with(table + "."));
  };
  std::size_t count = 0;
  while (is_there(fmt::format("{}.{}", key, count))) ++count;
  return count;
}

void ConfigReader::problem(std::string_view key, std::string_view rule_and_values, std::string_view remedy) {
  impl_->add_problem(impl_->place_of(key), fmt::format("`{}` {} {}", key, sentence(rule_and_values), sentence(remedy)));
}

void ConfigReader::finish() {
  // Only the shown problems need a nearest word, so that a large foreign file is refused as fast as a small one.
  std::vector<std::pair<ConfigPlace, std::string>> unknown;
  for (const auto& [key, entry] : impl_->source.entries) {
    const bool is_no_table =
        impl_->arrays.contains(key) && entry.value.kind == ConfigValue::Kind::kList && entry.value.list.empty();
    if (!impl_->index_of.contains(key) && !is_no_table) unknown.emplace_back(entry.place, key);
  }
  for (const auto& [section, place] : impl_->source.empty_sections) {
    const auto inner = impl_->index_of.lower_bound(section + ".");
    const bool is_known = inner != impl_->index_of.end() && inner->first.starts_with(section + ".");
    if (!is_known) unknown.emplace_back(place, section);
  }
  std::sort(unknown.begin(), unknown.end(), [](const auto& a, const auto& b) { return a.first.order < b.first.order; });
  std::vector<ConfigProblem> problems = std::exchange(impl_->source.problems, {});
  const std::size_t num_problems = problems.size() + unknown.size();
  if (num_problems == 0) return;
  if (unknown.size() > kMaxProblemsShown) unknown.resize(kMaxProblemsShown);
  for (const auto& [place, key] : unknown) problems.push_back({place, impl_->describe_unknown(key)});
  std::stable_sort(problems.begin(), problems.end(),
                   [](const auto& a, const auto& b) { return a.place.order < b.place.order; });
  if (num_problems == 1) throw UserError(problems[0].place.where, problems[0].message);

  std::string list;
  for (std::size_t i = 0; i < std::min(problems.size(), kMaxProblemsShown); ++i) {
    list += fmt::format("\n  {}: {}", problems[i].place.where, problems[i].message);
  }
  if (num_problems > kMaxProblemsShown) list += fmt::format("\n  and {} more", num_problems - kMaxProblemsShown);
  throw UserError(impl_->source.name, fmt::format("the configuration has {} problems:{}", num_problems, list));
}

std::string ConfigReader::effective_toml() const {
  std::string text;
  for (const std::string& section : impl_->sections()) {
    const std::string array = impl_->array_of(section);
    const std::string heading = array.empty() ? fmt::format("[{}]", section) : fmt::format("[[{}]]", array);
    if (!section.empty()) text += fmt::format("{}{}\n", text.empty() ? "" : "\n", heading);
    for (const Impl::Key& key : impl_->keys) {
      if (section_of(key.key) != section) continue;
      text += comment(key.doc) + fmt::format("{} = {}\n", name_of(key.key), key.value_text);
    }
  }
  return text;
}

std::string ConfigReader::default_toml() const {
  std::string text;
  for (const Impl::Key& key : impl_->keys) text += fmt::format("{} = {}\n", key.key, key.default_text);
  return text;
}

std::string ConfigReader::documentation() const {
  std::string text;
  for (const std::string& section : impl_->sections()) {
    const std::string array = impl_->array_of(section);
    std::string rows;
    for (const Impl::Key& key : impl_->keys) {
      if (section_of(key.key) != section) continue;
      std::string rules;
      for (const std::string& rule : key.rules) rules += (rules.empty() ? "" : ", ") + rule;
      std::string names;
      for (const std::string& name : key.names_elsewhere)
        names += fmt::format("{}`{}`", names.empty() ? "" : ", ", name);
      const std::string meaning = names.empty() ? key.doc : fmt::format("{} Elsewhere: {}.", key.doc, names);
      const std::string shown = array.empty() ? key.key : name_of(key.key);
      rows += fmt::format("| `{}` | {} | `{}` | {} | {} |\n", shown, key.type, escape_markdown(key.default_text),
                          escape_markdown(rules), escape_markdown(meaning));
    }
    if (rows.empty()) continue;
    if (!text.empty()) text += "\n";
    const std::string heading = array.empty() ? section : fmt::format("[[{}]]", array);
    if (!section.empty()) text += fmt::format("## `{}`\n\n", heading);
    text += "| key | type | default | rule | meaning |\n|---|---|---|---|---|\n" + rows;
  }
  return text;
}

}  // namespace triptych::config
