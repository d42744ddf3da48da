// A tokenizer's model from outside, and text from outside for a sound model. A model without our seal must be refused
// before SentencePiece, which trusts its tables, sees it: so only the text goes deep.

#include <vector>

#include "base/text.h"
#include "fuzz.h"
#include "text/tokenizer.h"
#include "text/training.h"

namespace {

using namespace triptych;

std::shared_ptr<const text::Tokenizer> sound_tokenizer() {
  std::vector<std::string> captions{"a red square", "a green disc", "a blue cross", "ein weißes Kreuz", "赤い四角"};
  std::size_t next = 0;
  const auto source = [&](std::string& caption) {
    if (next == captions.size()) return false;
    caption = captions[next++];
    return true;
  };
  text::TokenizerTraining options;
  options.vocabulary = 64;
  options.character_coverage = 1;
  return text::Tokenizer::from_bytes(text::train_tokenizer(source, 5, options), "sound");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const std::shared_ptr<const text::Tokenizer> tokenizer = sound_tokenizer();
  const std::string input(test::text_of(data, size));
  test::must_read_or_refuse([&] { text::Tokenizer::from_bytes(input, "fuzz"); });
  test::must_read_or_refuse([&] {
    std::vector<int32_t> ids(64);
    const int32_t length = tokenizer->encode(input, ids);
    test::must_hold(length >= 2 && length <= 64);
    for (const int32_t id : ids) test::must_hold(id >= 0 && id < tokenizer->size());
    test::must_hold(base::is_utf8(tokenizer->decode(ids)));
    tokenizer->normalized(input);
  });
  return 0;
}
