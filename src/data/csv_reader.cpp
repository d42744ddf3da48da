#include "data/csv_reader.h"

#include <string_view>

#include "data/line_reader.h"
#include "data/sample_fault.h"

namespace triptych::data {
namespace {
constexpr int kEnd = std::char_traits<char>::eof();
}

CsvReader::CsvReader(const std::filesystem::path& path, char separator)
    : path_(path), stream_(open_input(path)), separator_(separator) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string head(kByteOrderMark.size(), '\0');
  stream_.read(head.data(), static_cast<std::streamsize>(head.size()));
  const bool is_marked = stream_.gcount() == 3 && head == kByteOrderMark;
  go_to(is_marked ? kByteOrderMark.size() : 0);
}

bool CsvReader::next(std::vector<std::string>& fields) {
  fields.clear();
  while (peek() == '\n' || peek() == '\r') get();
  if (peek() == kEnd) return false;
  row_offset_ = offset_;
  fields.emplace_back();
  for (bool at_start = true;;) {
    const int c = get();
    if (c == '\r' && peek() == '\n') continue;
    if (c == kEnd || c == '\n') return true;
    if (c == '"' && at_start) {
      read_quoted(fields.back());
      at_start = false;
      const int behind = peek();
      if (behind != separator_ && behind != '\n' && behind != '\r' && behind != kEnd) {
        refuse_row(fmt::format("field {} goes on behind its closing quote; a quote within quotes is written twice",
                               fields.size()));
      }
    } else if (c == separator_) {
      fields.emplace_back();
      at_start = true;
    } else {
      fields.back() += static_cast<char>(c);
      at_start = false;
    }
    if (offset_ - row_offset_ > kMaxLineBytes) refuse_row(fmt::format("is longer than {} bytes", kMaxLineBytes));
  }
}

void CsvReader::go_to(uint64_t offset) {
  stream_.clear();
  stream_.seekg(static_cast<std::streamoff>(offset));
  offset_ = offset;
}

int CsvReader::get() {
  const int c = stream_.rdbuf()->sbumpc();
  if (c != kEnd) ++offset_;
  return c;
}

int CsvReader::peek() {
  return stream_.rdbuf()->sgetc();
}

/// The rest of a field whose first quote was read, with its last quote.
void CsvReader::read_quoted(std::string& field) {
  for (;;) {
    const int c = get();
    if (c == kEnd || offset_ - row_offset_ > kMaxLineBytes) {
      throw UserError(path_.string(),
                      fmt::format("in the row that begins at byte {} a quote is opened and not closed {}. Close it, or "
                                  "write it twice if it is part of the text.",
                                  row_offset_, c == kEnd ? "before the file's end" : "within 4 MiB"));
    }
    if (c == '"') {
      if (peek() != '"') return;
      get();
    }
    field += static_cast<char>(c);
  }
}

void CsvReader::refuse_row(const std::string& rule) {
  for (int c = 0; c != '\n' && c != kEnd;) c = get();
  throw SampleFault(kMalformed, rule);
}

}  // namespace triptych::data
