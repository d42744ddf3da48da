#include "data/ingest_csv.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/hash.h"
#include "base/text.h"
#include "data/csv_reader.h"
#include "data/input_files.h"

namespace triptych::data {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

class Csv final : public IngestSource {
 public:
  explicit Csv(const CsvInput& input)
      : input_(input), images_(input.images.empty() ? folder_of(input.tables.front()) : input.images) {
    std::erase(input_.caption_columns, "");
    for (const auto& path : input_.tables) {
      refuse_other_format(path, input_.separator == '\t' ? InputFormat::kTsv : InputFormat::kCsv);
    }
    for (std::size_t k = input_.tables.size(); k-- > 0;) open(k);  // a column that is missing is told at once
  }

  bool next(IngestRecord& record) override {
    std::optional<SampleFault> fault;
    while (!read_row(fault)) {
      if (at_ + 1 == input_.tables.size()) return false;
      open(at_ + 1);
    }
    record.input = at_;
    record.number = ++number_;
    record.after = {.input = at_, .number = number_, .offset = reader_->offset()};
    record.folder = &images_;
    if (fault) throw SampleFault(*fault);
    if (fields_.size() != num_columns_) {
      throw SampleFault(kMalformed,
                        fmt::format("has {} fields, the table has {} columns", fields_.size(), num_columns_));
    }
    fill(record);
    return true;
  }

  void go_to(const IngestCursor& cursor) override {
    open(cursor.input);
    if (cursor.number == 0) return;
    reader_->go_to(cursor.offset);
    number_ = cursor.number;
  }

  std::string fingerprint() const override {
    std::string text =
        fmt::format("csv {:02x} {} {} {} {}", static_cast<unsigned>(input_.separator), input_.image_column,
                    fmt::join(input_.caption_columns, ","), input_.label_column, input_.id_column);
    for (const auto& path : input_.tables) text += " " + hash_file(path).hex();
    return text;
  }
  std::string name() const override { return name_of_inputs(input_.tables); }
  std::string_view unit() const override { return "row"; }
  std::string place(uint64_t input, uint64_t number) const override {
    return input_.tables.size() == 1 ? fmt::format("row {}", number)
                                     : fmt::format("{} row {}", input_.tables.at(input).string(), number);
  }

 private:
  static std::filesystem::path folder_of(const std::filesystem::path& file) {
    return file.has_parent_path() ? file.parent_path() : ".";
  }

  /// Opens a table and finds its columns.
  void open(uint64_t input) {
    at_ = input;
    number_ = 0;
    reader_.emplace(input_.tables.at(input), input_.separator);
    std::optional<SampleFault> fault;
    const std::string where = input_.tables[input].string();
    if (!read_row(fault)) throw UserError(where, "is empty. Its first row must name the columns.");
    if (fault) throw UserError(where, fmt::format("the first row, which names the columns, {}.", rule_of(*fault)));
    num_columns_ = fields_.size();
    image_ = find(where, input_.image_column, "--image-column");
    captions_.clear();
    for (const std::string& column : input_.caption_columns)
      captions_.push_back(find(where, column, "--caption-column"));
    label_ = find(where, input_.label_column, "--label-column");
    id_ = find(where, input_.id_column, "--id-column");
  }

  std::size_t find(const std::string& where, const std::string& column, std::string_view option) const {
    if (column.empty()) return kNone;
    const auto found = std::ranges::find(fields_, column);
    if (found != fields_.end()) return static_cast<std::size_t>(found - fields_.begin());
    std::vector<std::string> shown;
    for (std::size_t k = 0; k < std::min<std::size_t>(fields_.size(), 20); ++k) shown.push_back(shown_name(fields_[k]));
    throw UserError(where, fmt::format("has no column '{}'. Its first row names: {}{}. Choose one with {}.", column,
                                       fmt::join(shown, ", "), fields_.size() > shown.size() ? ", ..." : "", option));
  }

  bool read_row(std::optional<SampleFault>& fault) {
    fault.reset();
    try {
      return reader_->next(fields_);
    } catch (const SampleFault& bad) {
      fault = bad;
      return true;
    }
  }

  void fill(IngestRecord& record) {
    SampleDescription& sample = record.sample;
    if (image_ != kNone) {
      sample.image = fields_[image_];
      if (sample.image.empty()) throw SampleFault(kNoImage, fmt::format("has nothing under '{}'", input_.image_column));
    }
    for (const std::size_t column : captions_) {
      if (!fields_[column].empty()) add_text(std::move(fields_[column]), TextRole::kCaption, sample);
    }
    if (!captions_.empty() && sample.texts.empty()) {
      throw SampleFault(kBadText, fmt::format("has nothing under '{}'", fmt::join(input_.caption_columns, "', '")));
    }
    if (label_ != kNone && !fields_[label_].empty()) record.label_name = fields_[label_];
    if (id_ == kNone) return;
    const std::string& text = fields_[id_];
    uint64_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size()) {
      throw SampleFault(kMalformed, fmt::format("the id must be an integer 0 to 2^64-1, found '{}'", shown_name(text)));
    }
    sample.id = id;
  }

  CsvInput input_;
  ImageFolder images_;
  uint64_t at_ = 0, number_ = 0;
  std::optional<CsvReader> reader_;
  std::vector<std::string> fields_;
  std::size_t num_columns_ = 0, image_ = kNone, label_ = kNone, id_ = kNone;
  std::vector<std::size_t> captions_;
};

}  // namespace

std::unique_ptr<IngestSource> open_csv(const CsvInput& input) {
  return std::make_unique<Csv>(input);
}

}  // namespace triptych::data
