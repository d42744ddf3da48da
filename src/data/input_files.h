#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// The files and folders that patterns name: {000..099} counts, with the zeros of its first number, {a,b} lists, and *,
/// ? and [abc] stand for what is there, in byte order. A name that is there as it stands is taken so. The order of the
/// patterns is kept. Throws UserError if a pattern names nothing, a file is named twice, a count or the whole has more
/// than a million names, or it is an address of the web.
std::vector<std::filesystem::path> expand_inputs(const std::vector<std::string>& patterns);

/// The formats that `triptych ingest` has a reader of.
enum class InputFormat { kPairs, kWebdataset, kCoco, kCsv, kTsv, kParquet, kImageFolder };

/// Throws UserError if a file is surely of another format than `wanted`, in words that name it and the subcommand that
/// reads it, or what makes it readable. Looks at 64 KiB. A file that nothing is known of is let pass: its reader says
/// what it finds.
void refuse_other_format(const std::filesystem::path& path, InputFormat wanted);

/// refuse_other_format of bytes: what the file is and what to do, as in "is a COCO captions file: use ..."; empty if it
/// may be what is wanted. For tests.
std::string other_format(std::string_view head, InputFormat wanted);

/// Of a file's size and contents: of all of it up to 4 MiB, and of larger ones of 64 pieces of 64 KiB, spread evenly.
/// Throws WorldError if it cannot be read.
std::string sampled_hash(const std::filesystem::path& path);

/// "a.tar", or "a.tar and 99 more".
std::string name_of_inputs(const std::vector<std::filesystem::path>& paths);

}  // namespace triptych::data
