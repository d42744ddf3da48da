// A shard: its HDF5 structure, which a child process asks for, and then every rule of the format. The child does not
// report what it covered, so new inputs are kept for what the parent does with its answer.

#include "data/problems.h"
#include "data/shard_scan.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const test::MemoryFile memory(test::text_of(data, size));
  test::must_read_or_refuse([&] {
    data::Problems problems;
    const data::ShardScan scan = data::scan_shard(memory.path(), problems);
    test::must_hold(scan.records.size() == scan.shard.layout.num_samples &&
                    scan.caption_bytes.size() == scan.shard.layout.num_captions);
    if (!problems.empty()) return;
    for (const data::IndexRecord& record : scan.records) {
      test::must_hold(record.image_offset <= size && record.image_bytes <= size - record.image_offset);
      test::must_hold(record.first_caption + uint64_t{record.num_captions} <= scan.shard.layout.num_captions);
    }
  });
  return 0;
}
