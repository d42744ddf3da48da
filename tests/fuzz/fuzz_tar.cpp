// An archive of samples, plain or compressed, and the captions of a sample's json.

#include "data/ingest_webdataset.h"
#include "data/tar_samples.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  constexpr uint64_t kMost = uint64_t{1} << 16;
  const test::MemoryFile file(test::text_of(data, size));
  test::must_read_or_refuse([&] {
    data::TarSamples samples(file.path());
    data::TarSample sample;
    for (bool more = true; more;) {
      more = false;
      // What is bad is one sample, and those behind it are still read.
      test::must_read_or_refuse([&] {
        try {
          more = samples.next(sample, [](std::string_view, uint64_t bytes) { return bytes <= kMost; });
        } catch (const data::SampleFault&) {
          more = true;
          throw;
        }
        for (const data::TarMember& member : sample.members) {
          test::must_hold(member.is_read ? member.data.size() == member.bytes && member.bytes <= kMost
                                         : member.data.empty());
        }
      });
    }
  });
  test::must_read_or_refuse([&] {
    data::SampleDescription sample;
    data::read_json_captions(test::text_of(data, size), {"caption", "captions", "text"}, sample);
    test::must_hold(!sample.texts.empty() && sample.texts.size() == sample.roles.size());
  });
  return 0;
}
