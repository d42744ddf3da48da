#include "text/unicode.h"

#include <memory>

#include <unicode/brkiter.h>
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include "base/error.h"

namespace triptych::text {
namespace {

void check_icu(UErrorCode status) {
  if (U_SUCCESS(status)) return;
  throw WorldError("ICU", fmt::format("its data must be there, found {}. Install libicu again.", u_errorName(status)));
}

uint32_t mask_of(char32_t c) {
  return U_MASK(u_charType(static_cast<UChar32>(c)));
}

// Whether a version of Unicode has the character.
bool is_of_unicode(int major, char32_t c) {
  UVersionInfo version;
  u_charAge(static_cast<UChar32>(c), version);
  return version[0] > 0 && version[0] <= major;
}

const icu::Normalizer2& whole_normalizer(NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* result = nullptr;
  switch (form) {
    case NormalForm::kNfc:
      result = icu::Normalizer2::getNFCInstance(status);
      break;
    case NormalForm::kNfd:
      result = icu::Normalizer2::getNFDInstance(status);
      break;
    case NormalForm::kNfkc:
      result = icu::Normalizer2::getNFKCInstance(status);
      break;
    case NormalForm::kNfkd:
      result = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  check_icu(status);
  return *result;
}

// That of Unicode 9: later characters stay as they are.
const icu::Normalizer2& normalizer(NormalForm form) {
  static const icu::UnicodeSet characters = [] {
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeSet set(icu::UnicodeString::fromUTF8("[[:age=9.0:]]"), status);
    check_icu(status);
    set.freeze();
    return set;
  }();
  static const icu::FilteredNormalizer2 forms[] = {{whole_normalizer(NormalForm::kNfc), characters},
                                                   {whole_normalizer(NormalForm::kNfd), characters},
                                                   {whole_normalizer(NormalForm::kNfkc), characters},
                                                   {whole_normalizer(NormalForm::kNfkd), characters}};
  return forms[static_cast<int>(form)];
}

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<uint8_t>(c) >= 0x80) return false;
  }
  return true;
}

icu::StringPiece piece_of(std::string_view text) {
  return {text.data(), static_cast<int32_t>(text.size())};
}

std::string normalize(std::string_view text, const icu::Normalizer2& normalizer) {
  if (is_ascii(text)) return std::string(text);
  UErrorCode status = U_ZERO_ERROR;
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  normalizer.normalizeUTF8(0, piece_of(text), sink, nullptr, status);
  check_icu(status);
  return result;
}

}  // namespace

char32_t next_character(std::string_view text, std::size_t& at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) return text[at++];
  UChar32 c = 0;
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  U8_NEXT(bytes, at, text.size(), c);
  TRIPTYCH_CHECK(c >= 0, "a text that is no UTF-8 at byte {}", at);
  return static_cast<char32_t>(c);
}

void append_character(std::string& text, char32_t c) {
  char bytes[U8_MAX_LENGTH];
  int32_t count = 0;
  U8_APPEND_UNSAFE(bytes, count, static_cast<UChar32>(c));
  text.append(bytes, static_cast<std::size_t>(count));
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_isUWhiteSpace(static_cast<UChar32>(c));
}

bool is_word(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  return (mask_of(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_ALPHABETIC) ||
         u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_JOIN_CONTROL);
}

bool is_number(char32_t c) {
  return (mask_of(c) & U_GC_N_MASK) != 0;
}

bool is_mark(char32_t c) {
  if (c == 0x1cf2 || c == 0x1cf3) return true;  // until Unicode 12
  return (mask_of(c) & U_GC_M_MASK) != 0 && is_of_unicode(9, c) && c != 0x111c9;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > ' ' && c != 0x7f && (c == '_' || !is_word(c));
  if (c == 0x166d || c == 0x111c9) return true;  // until Unicode 12 and 11
  return (mask_of(c) & U_GC_P_MASK) != 0 && is_of_unicode(8, c);
}

bool is_other(char32_t c) {
  return (mask_of(c) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0 && is_of_unicode(8, c);
}

bool is_nonspacing_mark(char32_t c) {
  if (c == 0x1734) return true;                                                 // until Unicode 14
  if (c == 0x1885 || c == 0x1886 || c == 0xa9bd || c == 0x111c9) return false;  // until Unicode 9, 9, 11 and 11
  return (mask_of(c) & U_GC_MN_MASK) != 0 && is_of_unicode(8, c);
}

bool is_cjk_ideograph(char32_t c) {
  // BERT's ranges, which are older than some blocks; the start of the sixth is as `tokenizers` has it.
  constexpr char32_t kRanges[][2] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                                     {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
  if (c < 0x3400) return false;
  for (const auto& range : kRanges) {
    if (c >= range[0] && c <= range[1]) return true;
  }
  return false;
}

std::string normal_form(std::string_view text, NormalForm form) {
  return normalize(text, normalizer(form));
}

std::string whole_normal_form(std::string_view text, NormalForm form) {
  return normalize(text, whole_normalizer(form));
}

std::string lowercase_characters(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (c < 0x80) {
      result += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    } else if (c == 0x130) {
      result += "i\u0307";  // the one whose lower case, without a language, is two characters
    } else {
      append_character(result, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
    }
  }
  return result;
}

std::string lowercase_text(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  icu::CaseMap::utf8ToLower("", 0, piece_of(text), sink, nullptr, status);
  check_icu(status);
  return result;
}

std::string uppercase_text(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  icu::CaseMap::utf8ToUpper("", 0, piece_of(text), sink, nullptr, status);
  check_icu(status);
  return result;
}

std::vector<std::size_t> grapheme_ends(std::string_view text) {
  std::vector<std::size_t> ends;
  if (is_ascii(text)) {
    for (std::size_t at = 1; at <= text.size(); ++at) {
      if (at < text.size() && text[at - 1] == '\r' && text[at] == '\n') continue;
      ends.push_back(at);
    }
    return ends;
  }
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> breaks(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  check_icu(status);
  UText* source = utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status);
  check_icu(status);
  breaks->setText(source, status);
  check_icu(status);
  for (int32_t end = breaks->next(); end != icu::BreakIterator::DONE; end = breaks->next()) {
    ends.push_back(static_cast<std::size_t>(end));
  }
  utext_close(source);
  return ends;
}

}  // namespace triptych::text
