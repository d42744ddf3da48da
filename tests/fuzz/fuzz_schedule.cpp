// A pipeline's schedule, as somebody wrote it.

#include "fuzz.h"
#include "parallel/pipeline/schedule_text.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/simulate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  for (const auto coupling : {pipeline::LossCoupling::kSplit, pipeline::LossCoupling::kCoupled}) {
    test::must_read_or_refuse([&] {
      const pipeline::Schedule schedule = pipeline::parse_schedule(test::text_of(data, size), "file", coupling);
      const pipeline::Schedule again = pipeline::parse_schedule(pipeline::to_text(schedule), "file", coupling);
      test::must_hold(again.ranks == schedule.ranks && again.rank_of_stage == schedule.rank_of_stage);
    });
  }
  return 0;
}
