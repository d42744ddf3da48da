#include "data/ingest_pairs.h"

#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/hash.h"
#include "data/input_files.h"
#include "data/line_reader.h"
#include "data/pair_line.h"

namespace triptych::data {
namespace {

class Pairs final : public IngestSource {
 public:
  explicit Pairs(const PairsInput& input) : captions_(input.captions), images_(input.images) {
    for (const auto& path : captions_) refuse_other_format(path, InputFormat::kPairs);
    go_to({});
  }

  bool next(IngestRecord& record) override {
    std::string_view text;
    bool too_long = false;
    do {
      while (!lines_->next(text, too_long)) {
        if (input_ + 1 == captions_.size()) return false;
        go_to({.input = input_ + 1});
      }
    } while (!too_long && text.find_first_not_of(" \t\r") == std::string_view::npos);
    record.input = input_;
    record.number = lines_->number();
    record.after = {.input = input_, .number = lines_->number(), .offset = lines_->offset()};
    record.folder = &images_;
    if (too_long) throw SampleFault(kMalformed, fmt::format("is longer than {} bytes", kMaxLineBytes));
    record.sample = parse_pair_line(text);
    for (std::string& key : record.sample.ignored) key = fmt::format("the key '{}'", key);
    return true;
  }

  void go_to(const IngestCursor& cursor) override {
    input_ = cursor.input;
    lines_.emplace(captions_.at(input_));
    if (cursor.number != 0) lines_->go_to(cursor.offset, cursor.number);
  }

  std::string fingerprint() const override {
    std::string text;
    for (const auto& path : captions_) text += fmt::format("{}{}", text.empty() ? "" : " ", hash_file(path).hex());
    return text;
  }
  std::string name() const override { return name_of_inputs(captions_); }
  std::string_view unit() const override { return "line"; }
  std::string place(uint64_t input, uint64_t number) const override {
    return captions_.size() == 1 ? fmt::format("line {}", number)
                                 : fmt::format("{} line {}", captions_.at(input).string(), number);
  }

 private:
  std::vector<std::filesystem::path> captions_;
  ImageFolder images_;
  uint64_t input_ = 0;
  std::optional<LineReader> lines_;
};

}  // namespace

std::unique_ptr<IngestSource> open_pairs(const PairsInput& input) {
  return std::make_unique<Pairs>(input);
}

}  // namespace triptych::data
