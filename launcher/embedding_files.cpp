#include "launcher/embedding_files.h"

#include <cstring>

#include "base/dtype.h"
#include "base/error.h"

namespace triptych::launcher {

std::filesystem::path ids_file_of(const std::filesystem::path& embeddings) {
  if (embeddings.extension() != ".npy" || embeddings.stem().empty()) {
    throw UserError(embeddings.string(), "must be a file that ends with .npy. Name one so");
  }
  std::filesystem::path ids = embeddings;
  ids.replace_extension(".ids.npy");
  return ids;
}

EmbeddingWriter::EmbeddingWriter(const std::filesystem::path& file, NpyType type, int64_t width)
    : type_(type), rows_(file, type, width), ids_(ids_file_of(file), NpyType::kUInt64, 3) {}

void EmbeddingWriter::append(const Dataset& dataset, std::span<const EmbeddedItem> items, std::span<const float> rows) {
  if (type_ == NpyType::kFloat16) {
    std::vector<Float16> halves;
    halves.reserve(rows.size());
    for (const float value : rows) halves.emplace_back(value);
    rows_.append(std::as_bytes(std::span(halves)));
  } else {
    rows_.append(std::as_bytes(rows));
  }
  std::vector<uint64_t> ids;
  for (const EmbeddedItem& item : items) ids.insert(ids.end(), {item.sample, dataset.id(item.sample), item.text});
  ids_.append(std::as_bytes(std::span(ids)));
}

// The rows last: where they are, their ids are.
void EmbeddingWriter::finish() {
  ids_.finish();
  rows_.finish();
}

EmbeddingReader::EmbeddingReader(const std::filesystem::path& file)
    : rows_(NpyFile::open(file)), ids_(NpyFile::open(ids_file_of(file))) {
  if (rows_.type() == NpyType::kUInt64) {
    throw UserError(file.string(), "must hold float32 or float16, found uint64. Name the file that `embed` wrote");
  }
  if (ids_.type() != NpyType::kUInt64 || ids_.num_columns() != 3 || ids_.num_rows() != rows_.num_rows()) {
    throw UserError(ids_file_of(file).string(),
                    fmt::format("must hold uint64 [{}, 3], of each row of {} its sample, id and caption; found [{}, "
                                "{}]. Make both anew with `triptych embed`",
                                rows_.num_rows(), file.filename().string(), ids_.num_rows(), ids_.num_columns()));
  }
}

EmbeddingReader::Id EmbeddingReader::id(int64_t row) const {
  const std::vector<uint64_t> numbers = ids_.read_integers(row, 1);
  return {.sample = numbers[0], .id = numbers[1], .text = numbers[2]};
}

}  // namespace triptych::launcher
