#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// What the labels of a data set mean: a text file beside its shards, the name of label 0 in the first line.
inline constexpr std::string_view kClassNamesFile = "classes.txt";
inline constexpr uint64_t kMaxClassNamesBytes = uint64_t{16} << 20;
inline constexpr std::size_t kMaxClasses = 1000000;
inline constexpr std::size_t kMaxClassNameBytes = 1024;

/// The names of a file: UTF-8, one a line, none empty; two classes may have one name. Throws UserError with the line,
/// or if the file passes a limit or cannot be read.
std::vector<std::string> read_class_names_file(const std::filesystem::path& path);

/// The names of a data set's classes by label; none if its folder has no such file.
std::vector<std::string> read_class_names(const std::filesystem::path& folder);

}  // namespace triptych::data
