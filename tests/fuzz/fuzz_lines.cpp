// Lines of JSON: of captions.jsonl, and of metrics.jsonl.

#include "base/text.h"
#include "data/pair_line.h"
#include "fuzz.h"
#include "report/metrics.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const std::string line(test::text_of(data, size));
  test::must_read_or_refuse([&] {
    const data::PairLine pair = data::parse_pair_line(line);
    test::must_hold(!pair.image.empty() || !pair.captions.empty());
    for (const std::string& caption : pair.captions) test::must_hold(!caption.empty() && base::is_utf8(caption));
  });
  test::must_read_or_refuse([&] {
    if (const auto metrics = report::parse_json_line(line)) report::to_json_line(*metrics);
  });
  return 0;
}
