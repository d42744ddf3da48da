// A COCO file; a line of an ingest's journal; and the frames in which rows of Parquet come.

#include <algorithm>
#include <cmath>

#include "data/coco_reader.h"
#include "data/ingest_journal.h"
#include "data/row_frame.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const std::string_view text = test::text_of(data, size);
  const test::MemoryFile file(text);
  test::must_read_or_refuse([&] {
    data::CocoSet set;
    data::read_coco(file.path(), set);
    for (const auto& [id, image] : set.images) {
      for (const data::CocoBox& box : image.boxes) {
        test::must_hold(std::ranges::all_of(box.corners, [](double corner) { return std::isfinite(corner); }));
      }
    }
  });
  data::parse_journal_line(text);
  std::string_view rest = text;
  const data::ReadBytes read = [&](std::span<char> out) {
    if (out.size() > rest.size()) return false;
    std::copy_n(rest.begin(), out.size(), out.begin());
    rest.remove_prefix(out.size());
    return true;
  };
  data::Frame frame;
  while (data::read_frame(read, frame)) test::must_hold(frame.bytes.size() <= size);
  return 0;
}
