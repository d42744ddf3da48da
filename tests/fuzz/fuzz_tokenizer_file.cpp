// A tokenizer's file from outside, of any kind: it is refused, or cuts any text into ids of its own and reads them
// back.

#include <vector>

#include "base/text.h"
#include "fuzz.h"
#include "text/tokenizer.h"

namespace {

using namespace triptych;

// Words of several scripts, spaces, marks, an emoji, punctuation, a special token.
constexpr const char* kTexts[] = {"", "a red apple's 42 it's",
                                  " \n\tB\u00e9e\u0301 \u8d64\u3044  \U0001F600!? [MASK]</s>"};

void use(const text::Tokenizer& tokenizer) {
  test::must_hold(tokenizer.size() > 0);
  for (const char* given : kTexts) {
    const std::vector<int32_t> pieces = tokenizer.pieces(given);
    for (const int32_t id : pieces) test::must_hold(id >= 0 && id < tokenizer.size());
    std::vector<int32_t> ids(tokenizer.num_around() + 5);
    const int32_t length = tokenizer.encode(given, ids);
    test::must_hold(length >= 0 && static_cast<std::size_t>(length) <= ids.size());
    for (const int32_t id : ids) test::must_hold(id >= 0 && id < tokenizer.size());
    test::must_hold(base::is_utf8(tokenizer.decode(ids)));
    tokenizer.normalized(given);
    std::size_t count = 0;
    for (const text::TokenWord& word : tokenizer.words(pieces)) count += word.count;
    test::must_hold(count == pieces.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::string bytes(test::text_of(data, size));
  test::must_read_or_refuse([&] { use(*text::Tokenizer::from_bytes(bytes, "fuzz")); });
  return 0;
}
