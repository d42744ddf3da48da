#include "text/regex.h"

#include <mutex>

#include <oniguruma.h>

#include "base/error.h"

namespace triptych::text {
namespace {

constexpr std::size_t kMaxExpressionBytes = 8192;
constexpr unsigned long kMaxRetries = 10'000'000;
constexpr unsigned int kMaxStack = 1 << 22;

void start_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    TRIPTYCH_CHECK(onig_initialize(encodings, 1) == ONIG_NORMAL, "Oniguruma does not start");
    onig_set_retry_limit_in_search(kMaxRetries);
    onig_set_match_stack_limit_size(kMaxStack);
    onig_set_warn_func(onig_null_warn);
    onig_set_verb_warn_func(onig_null_warn);
  });
}

const OnigUChar* bytes_of(std::string_view text) {
  return reinterpret_cast<const OnigUChar*>(text.data());
}

std::string message_of(int code, OnigErrorInfo* info) {
  OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length = onig_error_code_to_str(message, code, info);
  return {reinterpret_cast<const char*>(message), static_cast<std::size_t>(length)};
}

std::size_t next_start(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;) ++at;
  return at;
}

struct RegionDeleter {
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
};

}  // namespace

struct Pattern::Compiled {
  regex_t* regex = nullptr;
  ~Compiled() { onig_free(regex); }
};

Pattern Pattern::regex(const std::string& expression, std::string_view where) {
  start_library();
  std::string failure = expression.size() > kMaxExpressionBytes ? "it is too long" : "";
  auto compiled = std::make_shared<Compiled>();
  if (failure.empty()) {
    OnigErrorInfo info{};
    const OnigUChar* begin = bytes_of(expression);
    const int code = onig_new(&compiled->regex, begin, begin + expression.size(), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                              ONIG_SYNTAX_ONIGURUMA, &info);
    if (code != ONIG_NORMAL) failure = message_of(code, &info);
  }
  if (!failure.empty()) {
    throw UserError(where,
                    fmt::format("must have regular expressions of Oniguruma of at most {} bytes, found `{:.200}`: "
                                "{:.200}. Get the file again.",
                                kMaxExpressionBytes, expression, failure));
  }
  Pattern pattern;
  pattern.compiled_ = std::move(compiled);
  pattern.where_ = where;
  return pattern;
}

Pattern Pattern::literal(std::string text, std::string_view where) {
  if (text.empty()) throw UserError(where, "must not search for an empty text. Get the file again.");
  Pattern pattern;
  pattern.literal_ = std::move(text);
  pattern.where_ = where;
  return pattern;
}

std::vector<Match> Pattern::find(std::string_view text) const {
  std::vector<Match> parts;
  std::size_t done = 0;
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (done != begin) parts.push_back({done, begin, false});
    parts.push_back({begin, end, true});
    done = end;
  };
  if (compiled_ == nullptr) {
    for (std::size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, done)) {
      add(at, at + literal_.size());
    }
  } else {
    const std::unique_ptr<OnigRegion, RegionDeleter> region(onig_region_new());
    const OnigUChar *begin = bytes_of(text), *end = begin + text.size();
    // An empty match right behind the one before it is none: the search goes on one character later.
    std::size_t start = 0, last_end = std::string_view::npos;
    while (start <= text.size()) {
      const int code = onig_search(compiled_->regex, begin, end, begin + start, end, region.get(), ONIG_OPTION_NONE);
      if (code == ONIG_MISMATCH) break;
      if (code < 0) {
        throw UserError(where_, fmt::format("its regular expression must find its way through a text of {} bytes: {}. "
                                            "Leave that text out.",
                                            text.size(), message_of(code, nullptr)));
      }
      const auto first = static_cast<std::size_t>(region->beg[0]), last = static_cast<std::size_t>(region->end[0]);
      if (first == last && last == last_end) {
        start = next_start(text, start);
        continue;
      }
      start = last_end = last;
      add(first, last);
    }
  }
  if (done != text.size()) parts.push_back({done, text.size(), false});
  return parts;
}

Pattern read_pattern(JsonObject& options, const std::string& key) {
  JsonObject pattern = options.object(key);
  const std::optional<std::string> expression = pattern.optional_text("Regex"), text = pattern.optional_text("String");
  pattern.done();
  if (expression.has_value() == text.has_value()) options.refuse(key, "must be one of `Regex` and `String`");
  return expression ? Pattern::regex(*expression, options.where()) : Pattern::literal(*text, options.where());
}

}  // namespace triptych::text
