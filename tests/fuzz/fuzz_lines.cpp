// Lines of JSON: of captions.jsonl, of metrics.jsonl and of evaluations.jsonl.

#include "base/text.h"
#include "data/pair_line.h"
#include "fuzz.h"
#include "report/evaluation_log.h"
#include "report/metrics.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const std::string line(test::text_of(data, size));
  test::must_read_or_refuse([&] {
    const data::SampleDescription pair = data::parse_pair_line(line);
    test::must_hold(!pair.image.empty() || !pair.texts.empty());
    test::must_hold(pair.roles.size() == pair.texts.size());
    for (const std::string& text : pair.texts) test::must_hold(!text.empty() && base::is_utf8(text));
    for (const data::BoxRecord& box : pair.boxes) {
      test::must_hold(box.phrase < static_cast<int64_t>(pair.texts.size()) &&
                      (box.phrase >= 0 || box.class_number >= 0));
    }
  });
  test::must_read_or_refuse([&] {
    if (const auto metrics = report::parse_json_line(line)) report::to_json_line(*metrics);
  });
  test::must_read_or_refuse([&] {
    if (const auto evaluation = report::parse_evaluation_line(line)) report::to_json_line(*evaluation);
  });
  return 0;
}
