#include "data/ingest_labels.h"

#include <charconv>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "data/class_names.h"

namespace triptych::data {
namespace {

std::vector<std::string> names_of(const IngestSource& source) {
  std::vector<std::string> names = source.class_names();
  const auto refuse = [&](const std::string& rule) { throw UserError(source.name(), rule); };
  if (names.size() > kMaxClasses)
    refuse(fmt::format("has {} classes, at most {} are allowed.", names.size(), kMaxClasses));
  for (const std::string& name : names) {
    if (name.empty() || name.size() > kMaxClassNameBytes || !is_utf8(name) ||
        name.find_first_of("\r\n") != std::string::npos) {
      refuse(fmt::format("has a class '{}', and a class's name must be a line of UTF-8 of 1 to {} bytes. Rename it.",
                         shown_name(name), kMaxClassNameBytes));
    }
  }
  return names;
}

}  // namespace

IngestLabels::IngestLabels(const IngestSource& source, const std::filesystem::path& file)
    : names_(file.empty() ? names_of(source) : read_class_names_file(file)),
      where_(file.empty() ? source.name() : file.string()) {
  for (std::size_t k = names_.size(); k-- > 0;) numbers_[names_[k]] = static_cast<int64_t>(k);
}

void IngestLabels::settle(IngestRecord& record) const {
  SampleDescription& sample = record.sample;
  if (!record.label_name.empty()) sample.label = number_of(record.label_name);
  const auto refuse = [&](std::string_view what, int64_t number) {
    throw SampleFault(kBadLabel, fmt::format("{} {} names none of the {} classes of {}, which are counted from 0", what,
                                             number, names_.size(), where_));
  };
  if (sample.label && *sample.label < 0) {
    throw SampleFault(kBadLabel, fmt::format("the label {} is negative", *sample.label));
  }
  if (names_.empty()) return;
  const auto count = static_cast<int64_t>(names_.size());
  if (sample.label && *sample.label >= count) refuse("the label", *sample.label);
  for (const BoxRecord& box : sample.boxes) {
    if (box.class_number >= count) refuse("a box's class", box.class_number);
  }
}

// Of a class that is named by a number or by its name.
int64_t IngestLabels::number_of(const std::string& name) const {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size()) return number;
  const auto known = numbers_.find(name);
  if (known != numbers_.end()) return known->second;
  throw SampleFault(kBadLabel, fmt::format("the label '{}' is no integer and {}", shown_name(name),
                                           names_.empty() ? "there are no names of classes (--classes)"
                                                          : "none of the names of classes"));
}

}  // namespace triptych::data
