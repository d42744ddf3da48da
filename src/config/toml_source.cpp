#include "config/toml_source.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <toml++/toml.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace triptych::config::internal {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 20;
constexpr std::size_t kMaxNesting = 16;
constexpr uint64_t kMaxFiles = 64;
constexpr std::size_t kMaxShownText = 100;
/// Of a key with its tables, which every entry holds in full: one long table name before many short keys would need a
/// hundred thousand times the memory of the file.
constexpr std::size_t kMaxKeyBytes = 200;
constexpr std::string_view kInclude = "include";
/// Overrides sort after every line of every file.
constexpr uint64_t kOverrideOrder = uint64_t{1} << 63;

/// Whether the header of a table, from its '[' on, goes on as one: with a name, or with an end that the library
/// refuses.
bool names_table(std::string_view header) {
  for (int k = 0; k < 2 && header.starts_with('['); ++k) {
    header.remove_prefix(1);
    header.remove_prefix(std::min(header.find_first_not_of(" \t"), header.size()));
  }
  return !header.empty() &&
         (is_bare_key(header.substr(0, 1)) || std::string_view("\"']").find(header[0]) != std::string_view::npos);
}

/// Finds what the TOML library does not survive. It nests tables without a limit ("a.a.a. ... = 1"), and frees them by
/// recursion: a small file could exhaust the stack. And version 3.3 takes for granted that a letter or a quote follows
/// the '[' of a table, that no '}' stands where a list's value could, and that no letter beyond ASCII stands where it
/// looks for blanks or a value's end: behind a quote within a word, and behind a '\' and the line break after it. What
/// else does is undefined there. This walks the text as a lexer would, past strings and comments, looks at each header
/// and at where each string begins, pairs the brackets of a value, and measures both ways to nest: dots within one key,
/// and brackets within one value. Returns "" or the rule that is broken, with the place in `line`.
std::string check_structure(std::string_view text, uint64_t& line) {
  line = 1;
  std::size_t dots = 0;
  std::string open;        // the brackets of a value or a header that wait for their ends
  bool in_value = false;   // behind an '=', where no key or header is
  bool may_begin = false;  // and the value has not begun
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  std::size_t i = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  const auto starts_with = [&](std::string_view what) { return text.substr(i).starts_with(what); };
  while (i < text.size()) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      if (in_value && !may_begin) {
        return "must begin a string where a value begins, found a quote behind something else. Quote the whole value";
      }
      may_begin = false;
      const std::string fence(3, c);
      if (starts_with(fence)) {
        i += 3;
        while (i < text.size() && !starts_with(fence)) {
          if (text[i] == '\n') ++line;
          const bool escapes = c == '"' && text[i] == '\\';
          ++i;
          if (!escapes) continue;
          // One that ends its line takes the blanks along; any other takes the next byte, be it a quote.
          const std::size_t next = std::min(text.find_first_not_of(" \t\r\n", i), text.size());
          const std::string_view blanks = text.substr(i, next - i);
          line += static_cast<uint64_t>(std::count(blanks.begin(), blanks.end(), '\n'));
          i = blanks.empty() ? next + 1 : next;
          if (next < text.size() && static_cast<unsigned char>(text[next]) >= 0x80) {
            return "must have no letter beyond ASCII right behind a '\\' in a string of several lines, nor where the "
                   "line after it begins. Join the lines, or write the letter as \\uXXXX";
          }
        }
        i += 3;
        for (int extra = 0; extra < 2 && i < text.size() && text[i] == c; ++extra) ++i;  // quotes before the fence
      } else {
        ++i;
        while (i < text.size() && text[i] != c && text[i] != '\n') i += c == '"' && text[i] == '\\' ? 2 : 1;
        if (i < text.size() && text[i] == c) ++i;
      }
      continue;
    }
    if (c == '#') {
      while (i < text.size() && text[i] != '\n') ++i;
      continue;
    }
    if (static_cast<unsigned char>(c) >= 0x80) {
      return "must have letters and blanks beyond ASCII in quotes and comments alone, found others. Quote them, or "
             "write plain blanks";
    }
    if (c == '[' && open.empty() && !in_value && !names_table(text.substr(i))) {
      return "must name a table in letters, digits, '_' and '-' behind its '[', found none. Write [section]";
    }
    if (c == '\n') ++line;
    if (c == '\n' && open.empty()) {
      in_value = may_begin = false;
    } else if (c == '=' && !in_value) {
      in_value = may_begin = true;
    } else if (c == ',' && !open.empty()) {
      in_value = may_begin = open.back() == '[';
    } else if (c == '{' && may_begin) {
      in_value = may_begin = false;
    } else if (c == '}') {
      in_value = true;
      may_begin = false;
    } else if (std::string_view(" \t\r\n[").find(c) == std::string_view::npos) {
      may_begin = false;
    }
    if (c == '[' || c == '{') open += c;
    if (c == ']' || c == '}') {
      if (open.empty() || open.back() != (c == ']' ? '[' : '{')) {
        return fmt::format(
            "must close each '[' by ']' and each '{{' by '}}', found a '{}' with nothing of its kind open. "
            "Correct the line",
            c);
      }
      open.pop_back();
    }
    if (c == '.') ++dots;
    if (c == ',' || c == '=' || c == '\n' || c == '[' || c == '{') dots = 0;
    if (dots > kMaxNesting || open.size() > kMaxNesting) {
      return fmt::format("must nest at most {} levels of tables or lists, found more", kMaxNesting);
    }
    ++i;
  }
  return "";
}

/// Refuses what is no text. Returns "" or the rule that is broken, with the place in `line`.
std::string check_encoding(std::string_view text, uint64_t& line) {
  const auto line_of = [&](std::size_t at) {
    uint64_t n = 1;
    for (const char c : text.substr(0, at)) n += c == '\n' ? 1 : 0;
    return n;
  };
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    line = line_of(at);
    return "must be text, found a byte of value 0. Save it as a UTF-8 text file";
  }
  if (!is_utf8(text)) {
    std::size_t end = 0;  // lines are well-formed one by one up to the wrong one
    line = 1;
    while (true) {
      const std::size_t next = text.find('\n', end);
      if (!is_utf8(text.substr(end, next == std::string_view::npos ? next : next - end))) break;
      end = next + 1;
      ++line;
    }
    return "must be UTF-8, found other bytes. Save it as a UTF-8 text file";
  }
  return "";
}

ConfigValue convert(const toml::node& node) {
  ConfigValue value;
  using Kind = ConfigValue::Kind;
  if (const auto* integer = node.as_integer()) {
    value.kind = Kind::kInteger;
    value.integer = integer->get();
  } else if (const auto* number = node.as_floating_point()) {
    value.kind = Kind::kNumber;
    value.number = number->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = Kind::kBoolean;
    value.boolean = boolean->get();
  } else if (const auto* string = node.as_string()) {
    value.kind = Kind::kString;
    value.string = string->get();
  } else if (const auto* list = node.as_array()) {
    value.kind = Kind::kList;
    for (const toml::node& element : *list) value.list.push_back(convert(element));
  } else {
    value.string = node.is_table() ? "a table" : "a date or time";
  }
  return value;
}

// What was given below a key, which is now given anew as a whole.
void forget_below(ConfigSource& source, const std::string& key) {
  const auto is_below = [&](const auto& one) { return one.first.starts_with(key + "."); };
  std::erase_if(source.entries, is_below);
  std::erase_if(source.empty_sections, is_below);
}

class Loader {
 public:
  explicit Loader(ConfigSource& source) : source_(source) {}

  void load_file(const std::filesystem::path& path, const std::string& included_at) {
    const std::string from = included_at.empty() ? "" : fmt::format(" (included at {})", included_at);
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) {
      throw UserError(path.string(),
                      fmt::format("the configuration must be a file, found {}{}. Check the path.",
                                  std::filesystem::exists(path, error) ? "something else" : "nothing", from));
    }
    const std::filesystem::path identity = std::filesystem::canonical(path, error);
    for (const std::filesystem::path& outer : stack_) {
      if (outer == identity) {
        throw UserError(included_at, fmt::format("files must not include each other in a circle, found {} again. "
                                                 "Remove this `include`.",
                                                 path.string()));
      }
    }
    if (++source_.num_files > kMaxFiles) {
      throw UserError(included_at,
                      fmt::format("a configuration must be at most {} files, found more. Merge some.", kMaxFiles));
    }
    const uint64_t bytes = std::filesystem::file_size(path, error);
    if (error || bytes > kMaxFileBytes) {
      throw UserError(path.string(), fmt::format("a configuration must have at most {} bytes, found {}{}. Check the "
                                                 "path.",
                                                 kMaxFileBytes, bytes, from));
    }
    stack_.push_back(identity);
    load_text(read_text_file(path, kMaxFileBytes), path.string(), &path);
    stack_.pop_back();
  }

  /// `path` is null for text that has no folder to include from.
  void load_text(std::string_view text, const std::string& name, const std::filesystem::path* path) {
    uint64_t line = 0;
    std::string broken = check_encoding(text, line);
    if (broken.empty()) broken = check_structure(text, line);
    if (!broken.empty()) throw UserError(fmt::format("{}:{}", name, line), fmt::format("the file {}.", broken));
    toml::table table;
    try {
      table = toml::parse(text, name);
    } catch (const toml::parse_error& e) {
      throw UserError(fmt::format("{}:{}:{}", name, e.source().begin.line, e.source().begin.column),
                      fmt::format("the file must be TOML: {}. Correct the line.", e.description()));
    }
    if (const toml::node* node = table.get(kInclude)) {
      load_includes(*node, fmt::format("{}:{}", name, node->source().begin.line), path);
      table.erase(kInclude);
    }
    // Included files come first: their lines are read before this file's.
    file_ = next_file_++;
    flatten(table, "", name);
  }

 private:
  void load_includes(const toml::node& node, const std::string& where, const std::filesystem::path* path) {
    if (path == nullptr) throw UserError(where, "`include` must not be used here. Remove it.");
    const ConfigValue value = convert(node);
    std::vector<ConfigValue> files{value};
    if (value.kind == ConfigValue::Kind::kList) files = value.list;
    for (const ConfigValue& file : files) {
      if (file.kind != ConfigValue::Kind::kString) {
        throw UserError(where, fmt::format("`include` must be a path or a list of paths, found {}. Write include = "
                                           "\"other.toml\".",
                                           value.describe()));
      }
      load_file(path->parent_path() / file.string, where);
    }
  }

  void flatten(const toml::table& table, const std::string& prefix, const std::string& name) {
    for (const auto& [key, node] : table) {
      const ConfigPlace place{fmt::format("{}:{}", name, key.source().begin.line),
                              (file_ << 32) + key.source().begin.line};
      if (!is_bare_key(key.str())) {
        source_.problems.push_back(
            {place, fmt::format("a key must be letters, digits, '_' and '-', found {}. Rename or remove it.",
                                quote_toml(shorten(key.str())))});
        continue;
      }
      const std::string full = prefix + std::string(key.str());
      if (full.size() > kMaxKeyBytes) {
        source_.problems.push_back(
            {place, fmt::format("a key with its tables must have at most {} bytes, found {} that begin with {}. Rename "
                                "or remove it.",
                                kMaxKeyBytes, full.size(), quote_toml(shorten(full)))});
        continue;
      }
      const toml::array* list = node.as_array();
      if (const toml::table* inner = node.as_table()) {
        if (inner->empty()) source_.empty_sections[full] = place;
        flatten(*inner, full + ".", name);
      } else if (list != nullptr && is_of_tables(*list)) {
        flatten_tables(*list, full, name, place);
      } else {
        if (list != nullptr) forget_below(source_, full);
        source_.entries[full] = {convert(node), place, false, ""};
      }
    }
  }

  static bool is_of_tables(const toml::array& list) {
    return !list.empty() && std::all_of(list.begin(), list.end(), [](const toml::node& one) { return one.is_table(); });
  }

  // Table number i has the keys "<full>.i.". A whole array takes the place of one that was included.
  void flatten_tables(const toml::array& list, const std::string& full, const std::string& name,
                      const ConfigPlace& place) {
    forget_below(source_, full);
    source_.entries.erase(full);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const toml::table& table = *list[i].as_table();
      const std::string element = fmt::format("{}.{}", full, i);
      if (table.empty()) source_.empty_sections[element] = place;
      flatten(table, element + ".", name);
    }
  }

  ConfigSource& source_;
  std::vector<std::filesystem::path> stack_;
  uint64_t next_file_ = 0, file_ = 0;
};

}  // namespace

std::string ConfigValue::describe() const {
  std::string text;
  switch (kind) {
    case Kind::kInteger:
      return fmt::format("{}", integer);
    case Kind::kNumber:
      return format_toml_number(number);
    case Kind::kBoolean:
      return boolean ? "true" : "false";
    case Kind::kString:
      return quote_toml(shorten(string));
    case Kind::kList:
      for (const ConfigValue& element : list) {
        text += (text.empty() ? "" : ", ") + element.describe();
        if (text.size() > kMaxShownText) return fmt::format("[{}, ...]", text);
      }
      return fmt::format("[{}]", text);
    case Kind::kOther:
      return string;
  }
  return text;
}

bool is_bare_key(std::string_view text) {
  for (const char c : text) {
    const bool allowed =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (!allowed) return false;
  }
  return !text.empty();
}

std::string shorten(std::string_view text) {
  if (text.size() <= kMaxShownText) return std::string(text);
  std::size_t end = kMaxShownText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

std::string quote_toml(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\u{:04x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string format_toml_number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);  // the shortest that reads back
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

ConfigSource load_config_file(const std::filesystem::path& path) {
  ConfigSource source;
  source.name = path.string();
  Loader(source).load_file(path, "");
  return source;
}

ConfigSource load_config_text(std::string_view text, std::string_view name) {
  ConfigSource source;
  source.name = name;
  if (text.size() > kMaxFileBytes) {
    throw UserError(name, fmt::format("a configuration must have at most {} bytes, found {}. Shorten it.",
                                      kMaxFileBytes, text.size()));
  }
  Loader(source).load_text(text, source.name, nullptr);
  return source;
}

void apply_override(ConfigSource& source, const std::string& text, uint64_t index) {
  const ConfigPlace place{"--set " + shorten(text), kOverrideOrder + index};
  const auto refuse = [&](std::string message) { source.problems.push_back({place, std::move(message)}); };

  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) {
    return refuse("an override must be key=value, found no '='. Write it as section.name=value.");
  }
  const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
  for (std::size_t begin = 0; begin <= key.size();) {
    const std::size_t end = std::min(key.find('.', begin), key.size());
    if (!is_bare_key(std::string_view(key).substr(begin, end - begin))) {
      return refuse("an override's key must be names joined by dots. Write it as section.name=value.");
    }
    begin = end + 1;
  }
  if (key == kInclude) return refuse("`include` must be in a file, found an override. Name the file as the config.");

  ConfigEntry entry{{}, place, true, value};
  entry.value.kind = ConfigValue::Kind::kString;
  entry.value.string = value;
  uint64_t line = 0;
  if (value.size() > kMaxFileBytes || !check_encoding(value, line).empty()) {
    return refuse("an override's value must be UTF-8 text. Correct it.");
  }
  // What is no TOML value is a string, unless it begins as only a value does.
  const std::string document = "v = " + value;
  std::string broken = check_structure(document, line);
  if (broken.empty()) {
    try {
      const toml::table table = toml::parse(document);
      // A line break in the value could have made further keys: then it is no single value, but a string.
      if (table.size() == 1) entry.value = convert(*table.get("v"));
    } catch (const toml::parse_error& e) {
      broken = fmt::format("must be a TOML value: {}. Correct it", e.description());
    }
  }
  const std::size_t first = value.find_first_not_of(" \t");
  if (!broken.empty() && first != std::string::npos &&
      std::string_view("\"'[{").find(value[first]) != std::string_view::npos) {
    return refuse(fmt::format("the value {}.", broken));
  }
  if (entry.value.kind == ConfigValue::Kind::kList) forget_below(source, key);
  source.entries[key] = std::move(entry);
}

}  // namespace triptych::config::internal
