// A NumPy file of embeddings or of their ids, and the rows in it.

#include "base/npy.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const test::MemoryFile memory(test::text_of(data, size));
  test::must_read_or_refuse([&] {
    const base::NpyFile file = base::NpyFile::open(memory.path());
    const int64_t rows = file.num_rows(), columns = file.num_columns();
    const std::size_t bytes = base::npy_type_bytes(file.type());
    test::must_hold(rows >= 0 && columns >= 1);
    uint64_t total = bytes;
    test::must_hold(!__builtin_mul_overflow(total, static_cast<uint64_t>(rows), &total) &&
                    !__builtin_mul_overflow(total, static_cast<uint64_t>(columns), &total) && total < size);
    for (const int64_t first : {int64_t{0}, rows / 2}) {
      const int64_t count = std::min<int64_t>(rows - first, 3);
      const auto expected = static_cast<std::size_t>(count * columns);
      if (file.type() == base::NpyType::kUInt64) {
        test::must_hold(file.read_integers(first, count).size() == expected);
      } else {
        test::must_hold(file.read_floats(first, count).size() == expected);
      }
    }
  });
  return 0;
}
