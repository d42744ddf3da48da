#include "text/sentencepiece_check.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "text/chars_map.h"

namespace triptych::text {
namespace {

constexpr std::size_t kMaxPieces = std::size_t{1} << 24, kMaxPieceBytes = 4096;

/// One field of a protobuf message: its number, and its value or its bytes.
struct WireField {
  enum Type : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  uint64_t number = 0, type = kVarint;
  uint32_t word = 0;  // of a fixed one of 32 bits
  std::string_view bytes;

  // Of another type a reader of protobuf passes over it.
  bool is(uint64_t n, Type t) const { return number == n && type == t; }
};

/// Goes through the fields of a message, in protobuf's wire format.
class WireReader {
 public:
  WireReader(std::string_view bytes, std::string_view where) : rest_(bytes), where_(where) {}

  bool next(WireField& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field = {.number = tag >> 3, .type = tag & 7, .word = 0, .bytes = {}};
    if (field.type == WireField::kVarint) {
      varint();
    } else if (field.type == WireField::kFixed64) {
      take(8);
    } else if (field.type == WireField::kBytes) {
      field.bytes = take(varint());
    } else if (field.type == WireField::kFixed32) {
      std::memcpy(&field.word, take(sizeof field.word).data(), sizeof field.word);
    } else {
      refuse();
    }
    return true;
  }

  [[noreturn]] void refuse() const {
    throw WorldError(where_,
                     "must be a tokenizer: one that `triptych tokenizer train` made, a SentencePiece model, a "
                     "tokenizer.json, or CLIP's bpe_simple_vocab_16e6.txt.gz; its bytes are none of these, or damaged. "
                     "Get the file again.");
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    refuse();
  }
  std::string_view take(uint64_t count) {
    if (count > rest_.size()) refuse();
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }

  std::string_view rest_, where_;
};

void check_piece(std::string_view message, std::size_t number, std::string_view where) {
  WireReader reader(message, where);
  std::string_view piece;
  float score = 0;
  for (WireField field; reader.next(field);) {
    if (field.is(1, WireField::kBytes)) piece = field.bytes;
    if (field.is(2, WireField::kFixed32)) score = std::bit_cast<float>(field.word);
  }
  const bool sound = !piece.empty() && piece.size() <= kMaxPieceBytes && is_utf8(piece) &&
                     piece.find('\0') == std::string_view::npos && std::isfinite(score);
  if (!sound) {
    throw UserError(where, fmt::format("a piece must be a text of 1 to {} bytes with a finite score, found {} bytes "
                                       "with {} as piece {}. Get the file again.",
                                       kMaxPieceBytes, piece.size(), score, number));
  }
}

void check_normalizer(std::string_view message, std::string_view where) {
  WireReader reader(message, where);
  for (WireField field; reader.next(field);) {
    if (field.is(2, WireField::kBytes)) CharsMap(field.bytes, where);
  }
}

}  // namespace

void check_sentencepiece(std::string_view bytes, std::string_view where) {
  enum : uint64_t { kPiece = 1, kTrainer = 2, kNormalizer = 3, kSelfTest = 4, kDenormalizer = 5 };
  WireReader reader(bytes, where);
  std::size_t num_pieces = 0;
  for (WireField field; reader.next(field);) {
    if (field.type != WireField::kBytes) reader.refuse();
    if (field.number == kPiece) {
      if (num_pieces == kMaxPieces) reader.refuse();
      check_piece(field.bytes, num_pieces++, where);
    } else if (field.number == kNormalizer || field.number == kDenormalizer) {
      check_normalizer(field.bytes, where);
    } else if (field.number != kTrainer && field.number != kSelfTest) {
      reader.refuse();
    }
  }
  if (num_pieces == 0) reader.refuse();
}

}  // namespace triptych::text
