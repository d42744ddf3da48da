// What a run's report is made of anew: evaluation.json with its panels, and status.json.

#include "fuzz.h"
#include "report/evaluation_file.h"
#include "report/run_status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const std::string_view text = test::text_of(data, size);
  // What was read can be written and shown, and reads back to the same.
  test::must_read_or_refuse([&] {
    const report::EvaluationRecord record = report::evaluation_from_json(text, "evaluation.json");
    for (const report::Panel& panel : record.panels) {
      std::visit([](const auto& each) { report::render_panel(each); }, panel);
    }
    const std::string written = report::evaluation_to_json(record);
    test::must_hold(report::evaluation_to_json(report::evaluation_from_json(written, "written")) == written);
  });
  test::must_read_or_refuse([&] {
    const std::string written = report::status_to_json(report::status_from_json(text, "status.json"));
    test::must_hold(report::status_to_json(report::status_from_json(written, "written")) == written);
  });
  return 0;
}
