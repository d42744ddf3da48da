// A table, and how it goes on from any of its rows.

#include <vector>

#include "data/csv_reader.h"
#include "data/input_files.h"
#include "data/sample_fault.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const std::string_view text = test::text_of(data, size);
  const test::MemoryFile file(text);
  for (const char separator : {',', '\t'}) {
    test::must_read_or_refuse([&] {
      data::CsvReader reader(file.path(), separator);
      std::vector<std::string> fields;
      std::vector<std::vector<std::string>> rows;
      std::vector<uint64_t> begins{reader.offset()};
      for (bool more = true; more;) {
        try {
          more = reader.next(fields);
        } catch (const data::SampleFault&) {
          fields.clear();
        }
        test::must_hold(reader.offset() <= size);
        if (!more) break;
        rows.push_back(fields);
        begins.push_back(reader.offset());
      }
      if (rows.empty() || rows[rows.size() / 2].empty()) return;
      reader.go_to(begins[rows.size() / 2]);
      test::must_hold(reader.next(fields) && fields == rows[rows.size() / 2]);
    });
  }
  for (const auto wanted : {data::InputFormat::kPairs, data::InputFormat::kCoco, data::InputFormat::kTsv,
                            data::InputFormat::kWebdataset, data::InputFormat::kParquet}) {
    data::other_format(text, wanted);
  }
  return 0;
}
