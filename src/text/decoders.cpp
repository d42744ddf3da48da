#include "text/decoders.h"

#include <charconv>

#include "base/error.h"
#include "base/text.h"
#include "text/byte_level.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace triptych::text {
namespace {

using nlohmann::json;
using Pieces = std::vector<std::string>;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

class ByteLevelDecoder : public Decoder {
 public:
  Pieces apply(Pieces pieces) const override {
    std::string bytes;
    for (const std::string& piece : pieces) {
      const std::size_t begin = bytes.size();
      bool is_letters = true;
      for (std::size_t at = 0; at < piece.size() && is_letters;) {
        const auto byte = byte_of_character(next_character(piece, at));
        is_letters = byte.has_value();
        if (byte) bytes += static_cast<char>(*byte);
      }
      if (is_letters) continue;
      bytes.resize(begin);
      bytes += piece;
    }
    return {repaired_utf8(bytes)};
  }
};

class WordPieceDecoder : public Decoder {
 public:
  explicit WordPieceDecoder(JsonObject& options)
      : prefix_(options.text("prefix", "##")), cleans_(options.flag("cleanup", true)) {}

  Pieces apply(Pieces pieces) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      std::string& piece = pieces[i];
      if (i > 0) {
        if (piece.starts_with(prefix_)) {
          piece.erase(0, prefix_.size());
        } else {
          piece.insert(0, " ");
        }
      }
      if (cleans_) clean(piece);
    }
    return pieces;
  }

 private:
  static void clean(std::string& text) {
    constexpr std::string_view kPairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                              {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                              {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (const auto& [from, to] : kPairs) replace_all(text, from, to);
  }

  std::string prefix_;
  bool cleans_;
};

class MetaspaceDecoder : public Decoder {
 public:
  explicit MetaspaceDecoder(JsonObject& options)
      : mark_(options.text("replacement", "\u2581")),
        prepends_(options.text("prepend_scheme", options.flag("add_prefix_space", true) ? "always" : "never") !=
                  "never") {
    options.pass_over({"split", "str_rep"});
    if (mark_.empty()) options.refuse("replacement", "must not be empty");
  }
  Pieces apply(Pieces pieces) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) replace_all(pieces[i], mark_, i == 0 && prepends_ ? "" : " ");
    return pieces;
  }

 private:
  std::string mark_;
  bool prepends_;
};

class BpeDecoder : public Decoder {
 public:
  explicit BpeDecoder(JsonObject& options) : suffix_(options.text("suffix", "</w>")) {
    if (suffix_.empty()) options.refuse("suffix", "must not be empty");
  }
  Pieces apply(Pieces pieces) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) replace_all(pieces[i], suffix_, i + 1 == pieces.size() ? "" : " ");
    return pieces;
  }

 private:
  std::string suffix_;
};

class ReplaceDecoder : public Decoder {
 public:
  explicit ReplaceDecoder(JsonObject& options)
      : pattern_(read_pattern(options, "pattern")), content_(options.text("content")) {}
  Pieces apply(Pieces pieces) const override {
    for (std::string& piece : pieces) {
      std::string result;
      for (const Match& part : pattern_.find(piece)) {
        if (part.is_match) {
          result += content_;
        } else {
          result.append(piece, part.begin, part.end - part.begin);
        }
      }
      piece = std::move(result);
    }
    return pieces;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// Pieces "<0x41>" are bytes; those of neighbours that are no text become U+FFFD each.
class ByteFallbackDecoder : public Decoder {
 public:
  Pieces apply(Pieces pieces) const override {
    Pieces result;
    std::string bytes;
    const auto flush = [&] {
      if (is_utf8(bytes)) {
        if (!bytes.empty()) result.push_back(bytes);
      } else {
        result.insert(result.end(), bytes.size(), "\uFFFD");
      }
      bytes.clear();
    };
    for (std::string& piece : pieces) {
      uint8_t byte = 0;
      if (is_byte(piece, byte)) {
        bytes += static_cast<char>(byte);
        continue;
      }
      flush();
      result.push_back(std::move(piece));
    }
    flush();
    return result;
  }

 private:
  static bool is_byte(std::string_view piece, uint8_t& byte) {
    if (piece.size() != 6 || !piece.starts_with("<0x") || !piece.ends_with('>')) return false;
    return std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16).ptr == piece.data() + 5;
  }
};

class FuseDecoder : public Decoder {
 public:
  Pieces apply(Pieces pieces) const override {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    return {all};
  }
};

class StripDecoder : public Decoder {
 public:
  explicit StripDecoder(JsonObject& options)
      : content_(options.text("content")),
        start_(options.integer("start", 0, 1 << 20)),
        stop_(options.integer("stop", 0, 1 << 20)) {
    if (content_.empty()) options.refuse("content", "must be one character");
  }
  Pieces apply(Pieces pieces) const override {
    for (std::string& piece : pieces) {
      for (int64_t i = 0; i < start_ && piece.starts_with(content_); ++i) piece.erase(0, content_.size());
      for (int64_t i = 0; i < stop_ && piece.ends_with(content_); ++i) piece.resize(piece.size() - content_.size());
    }
    return pieces;
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(JsonObject& options) {
    const json& all = options.need("decoders");
    if (!all.is_array()) options.refuse("decoders", "must be a list");
    for (std::size_t i = 0; i < all.size(); ++i) {
      steps_.push_back(read_decoder(all[i], fmt::format("{}.decoders[{}]", options.path(), i), options.where()));
    }
  }
  Pieces apply(Pieces pieces) const override {
    for (const auto& step : steps_) pieces = step->apply(std::move(pieces));
    return pieces;
  }

 private:
  std::vector<std::unique_ptr<const Decoder>> steps_;
};

std::unique_ptr<const Decoder> make_decoder(const std::string& type, JsonObject& options) {
  if (type == "Sequence") return std::make_unique<DecoderSequence>(options);
  if (type == "WordPiece") return std::make_unique<WordPieceDecoder>(options);
  if (type == "Metaspace") return std::make_unique<MetaspaceDecoder>(options);
  if (type == "BPEDecoder") return std::make_unique<BpeDecoder>(options);
  if (type == "Replace") return std::make_unique<ReplaceDecoder>(options);
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Strip") return std::make_unique<StripDecoder>(options);
  if (type == "ByteLevel") {
    options.pass_over({"trim_offsets", "add_prefix_space", "use_regex"});
    return std::make_unique<ByteLevelDecoder>();
  }
  options.refuse("type", fmt::format("must be a decoder that is supported, found `{:.100}`", type));
}

}  // namespace

std::unique_ptr<const Decoder> read_decoder(const json& value, const std::string& path, std::string_view where) {
  JsonObject options(value, path, where);
  std::unique_ptr<const Decoder> decoder = make_decoder(options.text("type"), options);
  options.done();
  return decoder;
}

}  // namespace triptych::text
