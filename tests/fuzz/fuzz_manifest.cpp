// A checkpoint's manifest. Almost no mutation has the hash that the text states of itself, so the text is read a second
// time with the hash put right.

#include "base/hash.h"
#include "checkpoint/manifest.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  std::string text(test::text_of(data, size));
  const auto read = [&] {
    const checkpoint::Manifest manifest = checkpoint::Manifest::from_json(text, "manifest.json");
    // What was read can be written, and reads back to the same.
    const std::string written = manifest.to_json();
    test::must_hold(checkpoint::Manifest::from_json(written, "written").to_json() == written);
  };
  test::must_read_or_refuse(read);
  constexpr std::string_view kKey = "\"self_hash\": \"";
  constexpr std::size_t kDigits = 32;
  const std::size_t key = text.find(kKey);
  if (key == std::string::npos || key + kKey.size() + kDigits > text.size()) return 0;
  const std::size_t digits = key + kKey.size();
  text.replace(digits, kDigits, kDigits, '0');
  text.replace(digits, kDigits, base::hash128(std::as_bytes(std::span(text))).hex());
  test::must_read_or_refuse(read);
  return 0;
}
