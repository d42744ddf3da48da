#include "text/clip_model.h"

#include <algorithm>
#include <array>

#include <zlib.h>

#include "base/error.h"
#include "base/text.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/clip_cleaning.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{64} << 20, kNumMerges = 49152 - 256 - 2;
constexpr std::string_view kGzip = "\x1f\x8b", kHeader = "\"bpe_simple_vocab_16e6.txt#version", kEndOfWord = "</w>";
constexpr const char* kBeginText = "<start_of_text>";
constexpr const char* kEndText = "<end_of_text>";
// U+0345 is in none of these: Python's `regex`, told to ignore case, takes it for the letter that is its capital where
// it says what is no letter, but not where it says what is one.
constexpr const char* kWords =
    R"(<start_of_text>|<end_of_text>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+)";

std::string unpacked(const std::string& bytes, std::string_view where) {
  if (!bytes.starts_with(kGzip)) return bytes;
  z_stream stream{};
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  TRIPTYCH_CHECK(inflateInit2(&stream, kGzipOnly) == Z_OK, "zlib does not start");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string text;
  std::array<char, 1 << 16> block{};
  int code = Z_OK;
  while (code == Z_OK && text.size() <= kMaxFileBytes) {
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = block.size();
    code = inflate(&stream, Z_NO_FLUSH);
    text.append(block.data(), block.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  if (code != Z_STREAM_END || text.size() > kMaxFileBytes) {
    throw UserError(where,
                    fmt::format("must unpack to CLIP's merges, at most {} bytes; gzip's data is damaged, or more. "
                                "Get the file again.",
                                kMaxFileBytes));
  }
  return text;
}

/// The merges of the file's lines, but its first.
std::vector<std::pair<std::string, std::string>> read_merges(std::string_view text, std::string_view where) {
  if (!text.starts_with(kHeader) || !is_utf8(text)) {
    throw UserError(where,
                    "must be CLIP's merges, which begin with `\"bpe_simple_vocab_16e6.txt#version`. Name another "
                    "file.");
  }
  std::vector<std::pair<std::string, std::string>> merges;
  std::size_t begin = std::min(text.find('\n'), text.size() - 1) + 1;
  while (begin < text.size() && merges.size() < kNumMerges) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find_first_of(" \t\r", space + 1) != std::string_view::npos) {
      throw UserError(where,
                      fmt::format("each line must have two pieces, as `a b</w>`, found `{:.100}` as merge {}. Get "
                                  "the file again.",
                                  line, merges.size()));
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
    begin = end + 1;
  }
  return merges;
}

/// Bytes in the order of the alphabet: those that are themselves, then the others.
std::vector<std::string> letters() {
  std::vector<std::string> themselves, others;
  for (int byte = 0; byte < 256; ++byte) {
    const auto letter = character_of_byte(static_cast<uint8_t>(byte));
    std::size_t at = 0;
    (next_character(letter, at) == static_cast<char32_t>(byte) ? themselves : others).emplace_back(letter);
  }
  themselves.insert(themselves.end(), others.begin(), others.end());
  return themselves;
}

class ClipModel : public TokenModel {
 public:
  ClipModel(const std::string& bytes, std::string_view where) : words_(Pattern::regex(kWords, where)) {
    BpeOptions options{.merges = read_merges(unpacked(bytes, where), where), .end_of_word = std::string(kEndOfWord)};
    PieceTable& pieces = options.pieces;
    const auto add = [&](std::string piece) {
      if (!pieces.add(piece, pieces.size())) {
        throw UserError(where, fmt::format("its merges must make distinct pieces, found `{:.100}` twice. Get the file "
                                           "again.",
                                           piece));
      }
    };
    for (const std::string& letter : letters()) add(letter);
    for (const std::string& letter : letters()) add(letter + std::string(kEndOfWord));
    for (const auto& [left, right] : options.merges) add(left + right);
    begin_ = pieces.size();
    end_ = begin_ + 1;
    add(kBeginText);
    add(kEndText);
    special_ = {.pad = 0, .begin = begin_, .end = end_, .all = {begin_, end_}};
    bpe_ = make_bpe(std::move(options), where);
    before_ = {begin_};
    after_ = {end_};
  }

  std::string kind() const override { return "CLIP's merges (BPE)"; }
  int64_t size() const override { return bpe_->pieces().size(); }
  const SpecialTokens& special() const override { return special_; }
  const std::vector<int32_t>& before() const override { return before_; }
  const std::vector<int32_t>& after() const override { return after_; }

  void append_pieces(std::string_view text, std::vector<int32_t>& ids) const override {
    const std::string cleaned = clip_cleaned(text);
    std::string word;
    for (const Match& match : words_.find(cleaned)) {
      if (!match.is_match) continue;
      const std::string_view part = std::string_view(cleaned).substr(match.begin, match.end - match.begin);
      if (part == kBeginText || part == kEndText) {
        ids.push_back(part == kBeginText ? begin_ : end_);
        continue;
      }
      word.clear();
      append_bytes_as_characters(word, part);
      bpe_->append(word, ids);
    }
  }

  bool shows(int32_t id) const override { return id < begin_; }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      const ShownPiece piece = shown(id);
      bytes += piece.text;
      if (piece.ends_word) bytes += ' ';
    }
    if (bytes.ends_with(' ')) bytes.pop_back();
    return repaired_utf8(bytes);
  }

  std::string normalized(std::string_view text) const override {
    std::vector<int32_t> ids;
    append_pieces(text, ids);
    std::erase_if(ids, [&](int32_t id) { return !shows(id); });
    return decode(ids);
  }

  std::string piece(int32_t id) const override { return bpe_->pieces().piece(id); }

  ShownPiece shown(int32_t id) const override {
    std::string letters = piece(id);
    if (!shows(id)) return {.text = letters};
    ShownPiece result{.text = "", .ends_word = letters.ends_with(kEndOfWord)};
    if (result.ends_word) letters.resize(letters.size() - kEndOfWord.size());
    for (std::size_t at = 0; at < letters.size();) {
      if (const auto byte = byte_of_character(next_character(letters, at))) result.text += static_cast<char>(*byte);
    }
    return result;
  }

 private:
  Pattern words_;
  std::unique_ptr<const WordModel> bpe_;
  SpecialTokens special_;
  std::vector<int32_t> before_, after_;
  int32_t begin_ = 0, end_ = 0;
};

}  // namespace

bool is_clip_merges(std::string_view bytes) {
  return bytes.starts_with(kGzip) || bytes.starts_with(kHeader);
}

std::unique_ptr<const TokenModel> read_clip_model(const std::string& bytes, std::string_view where) {
  return std::make_unique<ClipModel>(bytes, where);
}

}  // namespace triptych::text
