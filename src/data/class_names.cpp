#include "data/class_names.h"

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace triptych::data {

std::vector<std::string> read_class_names_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw UserError(path.string(),
                    "is no file that can be read. Name a text file with the name of a class in each line.");
  }
  if (const uint64_t bytes = File::open_read(path).size(); bytes > kMaxClassNamesBytes) {
    throw UserError(path.string(), fmt::format("must have at most {} bytes, found {}. Shorten the names.",
                                               kMaxClassNamesBytes, bytes));
  }
  const std::string text = read_text_file(path, kMaxClassNamesBytes);
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string name = text.substr(begin, end - begin);
    begin = end + 1;
    if (name.ends_with('\r')) name.pop_back();
    const auto refuse = [&](const std::string& rule) {
      throw UserError(path.string(), fmt::format("line {}: {}. Mend that line.", names.size() + 1, rule));
    };
    if (name.empty()) refuse("a class's name must not be empty");
    if (!is_utf8(name)) refuse("is not UTF-8");
    if (name.size() > kMaxClassNameBytes) {
      refuse(fmt::format("a name must have at most {} bytes, found {}", kMaxClassNameBytes, name.size()));
    }
    if (names.size() == kMaxClasses) refuse(fmt::format("there may be at most {} classes", kMaxClasses));
    names.push_back(std::move(name));
  }
  if (names.empty()) throw UserError(path.string(), "names no class. Write the name of a class in each line.");
  return names;
}

std::vector<std::string> read_class_names(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kClassNamesFile;
  return std::filesystem::exists(path) ? read_class_names_file(path) : std::vector<std::string>();
}

}  // namespace triptych::data
