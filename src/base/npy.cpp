#include "base/npy.h"

#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/error.h"

namespace triptych::base {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kHeaderBytes = 128;        // of the files that are written: the number of rows has room to grow
constexpr uint64_t kMaxHeaderBytes = 64 * 1024;  // of what is read: a header is some 100 bytes
constexpr int64_t kMaxElements = int64_t{1} << 48;

struct TypeRow {
  NpyType type;
  std::string_view name;  // as "descr" says it
  std::size_t bytes;
};
constexpr std::array kTypes = {TypeRow{NpyType::kFloat16, "<f2", 2}, TypeRow{NpyType::kFloat32, "<f4", 4},
                               TypeRow{NpyType::kUInt64, "<u8", 8}};

const TypeRow& row_of(NpyType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return row;
  }
  throw InternalError("npy", "there is no such type");
}

std::string header(NpyType type, int64_t rows, int64_t columns) {
  std::string text =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}, {}), }}", row_of(type).name, rows, columns);
  const std::size_t prefix = kMagic.size() + 4;  // the version and the length of what follows
  TRIPTYCH_CHECK(prefix + text.size() < kHeaderBytes, "a header of {} bytes", text.size());
  text.resize(kHeaderBytes - prefix - 1, ' ');
  text += '\n';
  std::string whole(kMagic);
  whole += {'\1', '\0', static_cast<char>(text.size() & 0xff), static_cast<char>(text.size() >> 8)};
  return whole + text;
}

// A dictionary of Python as numpy writes it: string keys; values are strings, True, False or tuples of integers.
class HeaderText {
 public:
  explicit HeaderText(std::string_view text) : text_(text) {}

  bool take(char c) {
    skip_spaces();
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::optional<std::string_view> string() {
    skip_spaces();
    if (text_.empty() || (text_.front() != '\'' && text_.front() != '"')) return std::nullopt;
    const std::size_t end = text_.find(text_.front(), 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view found = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return found;
  }
  std::optional<bool> boolean() {
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      skip_spaces();
      if (!text_.starts_with(word)) continue;
      text_.remove_prefix(word.size());
      return value;
    }
    return std::nullopt;
  }
  // Sizes that are not negative; "(3,)", "(3, 4)", "()".
  std::optional<std::vector<int64_t>> tuple() {
    if (!take('(')) return std::nullopt;
    std::vector<int64_t> sizes;
    while (!take(')')) {
      skip_spaces();
      int64_t size = -1;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), size);
      if (error != std::errc{} || size < 0 || sizes.size() == 8) return std::nullopt;
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      sizes.push_back(size);
      if (!take(',') && !(skip_spaces(), text_.starts_with(')'))) return std::nullopt;
    }
    return sizes;
  }
  bool is_at_end() {
    skip_spaces();
    return text_.empty();
  }

 private:
  void skip_spaces() {
    const std::size_t count = text_.find_first_not_of(" \n");
    text_.remove_prefix(count == std::string_view::npos ? text_.size() : count);
  }
  std::string_view text_;
};

struct Header {
  std::string descr;
  bool is_fortran = false;
  std::vector<int64_t> shape;
};

std::optional<Header> parse_header(std::string_view text) {
  HeaderText rest(text);
  std::optional<std::string_view> descr;
  std::optional<bool> is_fortran;
  std::optional<std::vector<int64_t>> shape;
  if (!rest.take('{')) return std::nullopt;
  while (!rest.take('}')) {
    const std::optional<std::string_view> key = rest.string();
    if (!key || !rest.take(':')) return std::nullopt;
    bool is_read = false;
    if (*key == "descr" && !descr) {
      is_read = (descr = rest.string()).has_value();
    } else if (*key == "fortran_order" && !is_fortran) {
      is_read = (is_fortran = rest.boolean()).has_value();
    } else if (*key == "shape" && !shape) {
      is_read = (shape = rest.tuple()).has_value();
    }
    if (!is_read) return std::nullopt;
    rest.take(',');
  }
  if (!descr || !is_fortran || !shape || !rest.is_at_end()) return std::nullopt;
  return Header{std::string(*descr), *is_fortran, *shape};
}

}  // namespace

std::size_t npy_type_bytes(NpyType type) {
  return row_of(type).bytes;
}

NpyWriter::NpyWriter(std::filesystem::path path, NpyType type, int64_t columns)
    : path_(std::move(path)),
      temporary_(fmt::format("{}.tmp{}", path_.string(), ::getpid())),
      type_(type),
      columns_(columns) {
  file_ = std::make_unique<File>(File::create(temporary_));
  file_->write(header(type_, 0, columns_));
}

NpyWriter::~NpyWriter() {
  if (file_ == nullptr) return;
  file_.reset();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void NpyWriter::append(std::span<const std::byte> rows) {
  const std::size_t row_bytes = static_cast<std::size_t>(columns_) * npy_type_bytes(type_);
  TRIPTYCH_CHECK(rows.size() % row_bytes == 0, "{} bytes in rows of {}", rows.size(), row_bytes);
  file_->write(rows);
  num_rows_ += static_cast<int64_t>(rows.size() / row_bytes);
}

void NpyWriter::finish() {
  const std::string text = header(type_, num_rows_, columns_);
  if (::pwrite(file_->descriptor(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    throw WorldError(temporary_.string(), fmt::format("cannot be written ({})", describe_errno(errno)));
  }
  file_->sync_and_close();
  std::filesystem::rename(temporary_, path_);
  file_.reset();
}

NpyFile NpyFile::open(const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& found) {
    throw UserError(path.string(),
                    fmt::format("must be a NumPy file (.npy) of float32, float16 or uint64, little-endian, in C order, "
                                "with one dimension or two; found {}",
                                found));
  };
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) refuse("no such file");
  File file = File::open_read(path);
  const uint64_t size = file.size();
  std::array<char, 12> head{};
  const uint64_t head_bytes = std::min<uint64_t>(size, head.size());
  file.pread(std::as_writable_bytes(std::span(head)).first(head_bytes), 0);
  if (head_bytes < head.size() || std::string_view(head.data(), kMagic.size()) != kMagic) refuse("another file");
  const auto byte = [&](std::size_t i) { return static_cast<uint64_t>(static_cast<unsigned char>(head[i])); };
  const uint64_t version = byte(6);
  if (version < 1 || version > 3) refuse(fmt::format("version {}.{} of the format", version, byte(7)));
  const uint64_t begin = version == 1 ? 10 : 12;
  const uint64_t length =
      version == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (length > kMaxHeaderBytes || begin + length > size) refuse(fmt::format("a header of {} bytes", length));
  std::string text(length, '\0');
  file.pread(std::as_writable_bytes(std::span(text)), begin);
  const std::optional<Header> header = parse_header(text);
  if (!header) {
    refuse("a header that cannot be read");
    return NpyFile(std::move(file), NpyType::kFloat32, 0, 0, 0);  // not reached
  }
  const TypeRow* type = nullptr;
  for (const TypeRow& row : kTypes) {
    if (row.name == header->descr) type = &row;
  }
  if (type == nullptr) refuse(fmt::format("elements of {}", header->descr.substr(0, 20)));
  const std::size_t rank = header->shape.size();
  if (rank != 1 && rank != 2) refuse(fmt::format("{} dimensions", rank));
  const int64_t columns = header->shape.back(), rows = rank == 1 ? 1 : header->shape.front();
  if (header->is_fortran && rows > 1 && columns > 1) refuse("Fortran order");
  if (columns < 1 || rows > kMaxElements / columns) refuse(fmt::format("{} x {} elements", rows, columns));
  const uint64_t bytes = static_cast<uint64_t>(rows) * static_cast<uint64_t>(columns) * type->bytes;
  if (begin + length + bytes != size) {
    refuse(fmt::format("{} bytes, where {} x {} elements make {}", size, rows, columns, begin + length + bytes));
  }
  return NpyFile(std::move(file), type->type, rows, columns, begin + length);
}

std::vector<std::byte> NpyFile::read(int64_t first, int64_t count) const {
  TRIPTYCH_CHECK(first >= 0 && count >= 0 && first <= num_rows_ - count, "rows {} + {} of {}", first, count, num_rows_);
  const uint64_t row_bytes = static_cast<uint64_t>(num_columns_) * npy_type_bytes(type_);
  std::vector<std::byte> bytes(static_cast<uint64_t>(count) * row_bytes);
  file_.pread(bytes, begin_ + static_cast<uint64_t>(first) * row_bytes);
  return bytes;
}

std::vector<float> NpyFile::read_floats(int64_t first, int64_t count) const {
  TRIPTYCH_CHECK(type_ != NpyType::kUInt64, "floats are asked of integers");
  const std::vector<std::byte> bytes = read(first, count);
  std::vector<float> values(static_cast<std::size_t>(count * num_columns_));
  if (type_ == NpyType::kFloat32) {
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    Float16 half;
    std::memcpy(&half.bits, bytes.data() + 2 * i, 2);
    values[i] = static_cast<float>(half);
  }
  return values;
}

std::vector<uint64_t> NpyFile::read_integers(int64_t first, int64_t count) const {
  TRIPTYCH_CHECK(type_ == NpyType::kUInt64, "integers are asked of floats");
  const std::vector<std::byte> bytes = read(first, count);
  std::vector<uint64_t> values(static_cast<std::size_t>(count * num_columns_));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace triptych::base
