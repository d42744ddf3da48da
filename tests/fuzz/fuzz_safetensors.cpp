// The header of a safetensors file.

#include "checkpoint/safetensors.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const test::MemoryFile memory(test::text_of(data, size));
  test::must_read_or_refuse([&] {
    const checkpoint::SafetensorsHeader header =
        checkpoint::read_safetensors_header(base::File::open_read(memory.path()));
    for (const auto& [name, entry] : header.tensors) {
      test::must_hold(entry.offset <= size && entry.bytes <= size - entry.offset);
      uint64_t bytes = base::dtype_bytes(entry.dtype);
      for (const int64_t extent : entry.shape) {
        test::must_hold(extent >= 0 && !__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes));
      }
      test::must_hold(bytes == entry.bytes);
    }
  });
  return 0;
}
