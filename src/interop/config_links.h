#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "interop/model_keys.h"
#include "training/run_config.h"

namespace triptych::interop {

/// A word of Triptych's and the same of the other library's.
using WordPair = std::pair<std::string_view, std::string_view>;

/// Which key of Triptych's config is which of another library's, said once for both directions: a family's table is a
/// function that calls these for one key after another, and it is run to import, where ours are set from theirs, or to
/// export, where theirs are set from ours. `theirs` is a path into the other library's JSON,
/// "vision_config.hidden_size"; where an import does not find it, the value is `absent`, that library's own default.
///
/// What is wrong is collected, and told at once by `finish`; an import also tells the keys that no call has named.
class ConfigLinks {
 public:
  /// To import. `file` names the JSON in what is told.
  ConfigLinks(nlohmann::json theirs, std::string file);
  /// To export. The config is whole and valid.
  explicit ConfigLinks(const RunConfig& ours);

  bool imports() const { return imports_; }
  const ModelKeys& ours() const { return ours_; }

  /// A value that both have. An integer is 0 to 2^31 - 1.
  int64_t integer(const std::string& ours, const std::string& theirs, std::optional<int64_t> absent = std::nullopt);
  double number(const std::string& ours, const std::string& theirs, std::optional<double> absent = std::nullopt);
  bool boolean(const std::string& ours, const std::string& theirs, bool absent);
  std::string word(const std::string& ours, const std::string& theirs, std::initializer_list<WordPair> words,
                   std::string_view absent);
  void numbers(const std::string& ours, const std::string& theirs, const std::vector<double>& absent);

  /// What every model of the family has here. An export whose config says another value is refused.
  void ours_is(const std::string& key, const KeyValue& value);
  /// What of ours changes no output of the model: training alone.
  void ours_free(std::initializer_list<std::string_view> keys);
  /// What every model of the family has there, or it would compute something else. `absent`: their default, if it is
  /// another value.
  void theirs_is(const std::string& path, const nlohmann::json& value, const nlohmann::json& absent = nullptr);
  /// What of theirs changes no output of the model: training, or how the library works. A path that ends with `.*`
  /// stands for all below.
  void theirs_free(std::initializer_list<std::string_view> paths);

  // For what is computed: values of one side by name, to be used in its direction alone.

  /// Their value, as of an import; none if it is not there or null.
  std::optional<nlohmann::json> read(const std::string& path);
  int64_t read_integer(const std::string& path, std::optional<int64_t> absent = std::nullopt);
  double read_number(const std::string& path, std::optional<double> absent = std::nullopt);
  void write(const std::string& path, nlohmann::json value);
  void set(const std::string& key, KeyValue value) { ours_.set(key, std::move(value)); }
  /// Our value, as of an export; it is then in `ours` as well.
  int64_t our_integer(const std::string& key);
  double our_number(const std::string& key);
  bool our_boolean(const std::string& key);
  std::string our_word(const std::string& key);
  std::vector<double> our_numbers(const std::string& key);

  /// Of an export: the id with which the checkpoint's tokenizer ends a text, if it has one.
  std::optional<int64_t> end_token;

  void problem(std::string text) { problems_.push_back(std::move(text)); }
  void note(std::string text) { notes_.push_back(std::move(text)); }

  /// What an export has found in its way; of an import see `finish`.
  const std::vector<std::string>& problems() const { return problems_; }
  /// Looks for what no call has named: of an import that is a note for each key of theirs; of an export a problem for
  /// each key of [model] that is not as by default.
  void look_for_rest();
  /// Throws a UserError with all problems, if there are some. Calls look_for_rest first.
  void finish();

  const nlohmann::json& theirs() const { return theirs_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  const nlohmann::json* find(const std::string& path);
  template <typename T>
  T our(const std::string& key, T value);

  bool imports_;
  std::string where_;
  nlohmann::json theirs_ = nlohmann::json::object();
  ModelKeys ours_;
  std::string effective_, defaults_;
  std::set<std::string> seen_;  // paths of theirs, or keys of ours
  std::vector<std::string> problems_, notes_;
  bool has_looked_ = false;
};

}  // namespace triptych::interop
