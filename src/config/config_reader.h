#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace triptych::config {

class ConfigReader;

namespace internal {
template <typename T>
struct ConfigElement {
  using type = T;
};
template <typename T>
struct ConfigElement<std::vector<T>> {
  using type = T;
};
}  // namespace internal

/// The types that a key can be bound to. A list's rules hold for each of its elements.
template <typename T>
concept ConfigType = std::same_as<T, int64_t> || std::same_as<T, uint64_t> || std::same_as<T, int> ||
    std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, bool> || std::same_as<T, std::string> ||
    std::same_as<T, std::vector<std::string>> || std::same_as<T, std::vector<double>>;

/// The rules of one key, chained after `read`. Each is checked at once, becomes a line of the documentation, and on
/// a violation records a problem and puts the variable back to its default, so that later checks between keys
/// compute with sound values.
template <ConfigType T>
class KeyRules {
 public:
  using Element = typename internal::ConfigElement<T>::type;
  static constexpr bool kIsNumber = std::is_arithmetic_v<Element> && !std::same_as<Element, bool>;
  static constexpr bool kHasSize = !std::is_arithmetic_v<T>;

  /// value >= bound, value <= bound, value < bound, value > 0.
  KeyRules& at_least(Element bound) requires kIsNumber {
    return each([&](const Element& x) { return x >= bound; }, fmt::format("at least {}", bound));
  }
  KeyRules& at_most(Element bound) requires kIsNumber {
    return each([&](const Element& x) { return x <= bound; }, fmt::format("at most {}", bound));
  }
  KeyRules& below(Element bound) requires kIsNumber {
    return each([&](const Element& x) { return x < bound; }, fmt::format("below {}", bound));
  }
  KeyRules& positive() requires kIsNumber {
    return each([](const Element& x) { return x > Element{}; }, "above 0");
  }

  /// One of the given values; a misspelt word is answered with the nearest.
  KeyRules& one_of(std::initializer_list<Element> allowed) requires(kIsNumber || std::same_as<Element, std::string>) {
    return one_of(std::span<const Element>(allowed.begin(), allowed.size()));
  }
  KeyRules& one_of(std::span<const Element> allowed) requires(kIsNumber || std::same_as<Element, std::string>) {
    std::string rule;
    std::vector<std::string> words;
    for (const Element& x : allowed) {
      words.push_back(fmt::format("{}", x));
      rule += fmt::format("{}{}", rule.empty() ? "one of " : ", ", x);
    }
    const auto is_allowed = [&](const Element& x) {
      for (const Element& a : allowed) {
        if (a == x) return true;
      }
      return false;
    };
    return each(is_allowed, rule, words);
  }

  /// A string of at least one character, a list of at least one element.
  KeyRules& not_empty() requires kHasSize {
    if (!value_.empty()) return keep("not empty");
    return violate("not empty", {});
  }

  /// The key must be given: its default stands for nothing.
  KeyRules& required();

  /// What other programs call it, in lower case with underscores: who writes that, in whatever section, is told this
  /// key. A name may be that of several keys.
  KeyRules& also_called(std::initializer_list<std::string_view> names);

 private:
  friend class ConfigReader;
  KeyRules(ConfigReader& reader, std::size_t index, T& value, T fallback)
      : reader_(reader), index_(index), value_(value), fallback_(std::move(fallback)) {}

  template <typename Predicate>
  KeyRules& each(const Predicate& holds, const std::string& rule, const std::vector<std::string>& words = {}) {
    bool all = true;
    if constexpr (std::same_as<T, Element>) {
      all = holds(value_);
    } else {
      for (const Element& x : value_) all = all && holds(x);
    }
    return all ? keep(rule) : violate(rule, words);
  }
  KeyRules& keep(const std::string& rule);
  KeyRules& violate(const std::string& rule, const std::vector<std::string>& words);

  ConfigReader& reader_;
  std::size_t index_;  ///< of the key in the reader's registry
  T& value_;
  T fallback_;
};

/// Reads one TOML configuration into the small structs of the components that own them.
///
///     ConfigReader reader = ConfigReader::from_file("configs/quickstart.toml", {"parallel.tp=2"});
///     reader.read("training.steps", options.steps, "Optimizer updates of the whole run.").at_least(1);
///     reader.read("training.precision", options.precision, "Of the matrix products.").one_of({"fp32", "bf16"});
///     if (width % heads != 0) reader.problem("model.heads", "must divide model.width: 256 / 3", "Set it to 4.");
///     reader.finish();
///
/// The variable's value before `read` is its default. Nothing is thrown while keys are read: everything wrong
/// (unknown keys, wrong types, broken rules, problems between keys) is collected, and `finish` throws one UserError
/// that lists it, each with its file and line (or `--set key=value`), rule, value and remedy. Only what cannot be read
/// at all (no such file, a syntax error, a cycle of includes) throws from `from_file`.
///
/// A file may begin with `include = "other.toml"` (or a list of files; later ones win), relative to itself: the
/// included keys are defaults that the including file overrides. An override `a.b=v` wins over every file; v is a TOML
/// value, and what is no TOML value (a bare word, a path) is a string.
///
/// Not thread safe. Limits: 1 MiB a file, 16 levels of tables or lists.
class ConfigReader {
 public:
  static ConfigReader from_file(const std::filesystem::path& path, std::span<const std::string> overrides = {});
  static ConfigReader from_file(const std::filesystem::path& path, std::initializer_list<std::string> overrides) {
    return from_file(path, std::span(overrides.begin(), overrides.size()));
  }
  /// From text that is no file of its own, such as a checkpoint's effective config; `name` stands for the file in
  /// messages. `include` is not allowed in it. The empty text gives the defaults.
  static ConfigReader from_text(std::string_view text, std::string_view name,
                                std::span<const std::string> overrides = {});

  ConfigReader(ConfigReader&&) noexcept;
  ConfigReader& operator=(ConfigReader&&) noexcept;
  ~ConfigReader();

  /// Binds `key` ("section.name", bare TOML keys joined by dots) to `value`. `doc` is one or more sentences for the
  /// documentation and the effective config. A key is bound once; binding it again is a defect of ours.
  template <ConfigType T>
  KeyRules<T> read(std::string_view key, T& value, std::string_view doc) {
    T fallback = value;
    const std::size_t index = bind(key, value, doc);
    return KeyRules<T>(*this, index, value, std::move(fallback));
  }

  /// How many tables the array `key` has, as [[optimizer.groups]] makes them. The keys of table number i are then to be
  /// bound as "<key>.i.name"; those of a table that is not bound are unknown.
  std::size_t num_tables(std::string_view key);

  /// Records a violated rule between keys, found where `key` was given:
  ///   problem("model.heads", "must divide model.width: 256 / 3", "Set it to 4.")
  void problem(std::string_view key, std::string_view rule_and_values, std::string_view remedy);

  /// Throws the UserError that lists every problem, unknown keys included; call it when every component has read.
  void finish();

  /// Every bound key with its value, documented, in order of binding (by section): TOML that `from_file` reads back to
  /// the same values.
  std::string effective_toml() const;

  /// The same keys with their defaults, without documentation.
  std::string default_toml() const;

  /// Markdown: a heading and a table (key, type, default, rule, meaning) a section, in order of binding.
  std::string documentation() const;

 private:
  template <ConfigType T>
  friend class KeyRules;
  struct Impl;
  explicit ConfigReader(std::unique_ptr<Impl> impl);

  template <ConfigType T>
  std::size_t bind(std::string_view key, T& value, std::string_view doc);
  void restore_default(std::size_t index);
  void add_rule(std::size_t index, std::string_view rule);
  void add_violation(std::size_t index, std::string_view rule, const std::vector<std::string>& words);
  void require(std::size_t index);
  void add_names(std::size_t index, std::initializer_list<std::string_view> names);

  std::unique_ptr<Impl> impl_;
};

template <ConfigType T>
KeyRules<T>& KeyRules<T>::required() {
  reader_.require(index_);
  return *this;
}

template <ConfigType T>
KeyRules<T>& KeyRules<T>::also_called(std::initializer_list<std::string_view> names) {
  reader_.add_names(index_, names);
  return *this;
}

template <ConfigType T>
KeyRules<T>& KeyRules<T>::keep(const std::string& rule) {
  reader_.add_rule(index_, rule);
  return *this;
}

template <ConfigType T>
KeyRules<T>& KeyRules<T>::violate(const std::string& rule, const std::vector<std::string>& words) {
  reader_.add_rule(index_, rule);
  reader_.add_violation(index_, rule, words);
  value_ = fallback_;
  reader_.restore_default(index_);
  return *this;
}

}  // namespace triptych::config
