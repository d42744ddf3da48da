// A shard: its HDF5 structure, which a child process asks for, and then every rule of the format.

#include <algorithm>
#include <span>
#include <string_view>

#include <hdf5.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "data/problems.h"
#include "data/shard_scan.h"
#include "fuzz.h"

// Between these clang counts how often each piece of code ran.
extern "C" uint8_t __start___sancov_cntrs, __stop___sancov_cntrs;

namespace {

std::span<uint8_t> counters() {
  return {&__start___sancov_cntrs, &__stop___sancov_cntrs};
}

/// What a child counted, in memory that it shares with its parent.
std::span<uint8_t> childs_counters() {
  static const std::span<uint8_t> shared = [] {
    void* const memory = ::mmap(nullptr, counters().size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    triptych::test::must_hold(memory != MAP_FAILED);
    return std::span(static_cast<uint8_t*>(memory), counters().size());
  }();
  return shared;
}

/// In the child, before its end by a report of the address sanitizer. What HDF5 itself does wrong (frees what it never
/// allocated) is no finding; the readers' own faults there are. Frame 0 is the sanitizer's function, frame 1 its
/// caller.
void on_childs_report(const char* report) {
  const std::string_view text(report);
  const std::size_t caller = text.find("\n    #1 ");
  const std::string_view line = text.substr(std::min(caller, text.size()));
  if (line.substr(0, line.find('\n', 1)).find("libhdf5") != std::string_view::npos) {
    __sanitizer_set_death_callback(nullptr);
  }
}

void prepare_child() {
  // A sound file takes milliseconds; of one that HDF5 never ends with, a second tells no more than the reader's own
  // five.
  const rlimit one_second{1, 1};
  ::setrlimit(RLIMIT_CPU, &one_second);
  __asan_set_error_report_callback(on_childs_report);
}

}  // namespace

/// Instead of the C library's, for the reader's child, which ends by it: so an input is also kept for what the child
/// did with it.
extern "C" void _exit(int code) {
  std::ranges::copy(counters(), childs_counters().begin());
  while (true) ::syscall(SYS_exit_group, code);
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  childs_counters();
  triptych::test::must_hold(::pthread_atfork(nullptr, nullptr, prepare_child) == 0);
  H5open();  // once, and not again in each child
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  // HDF5 wants the path of a file that has a name, so none that is in memory alone.
  static const std::filesystem::path path = test::scratch_folder() / "shard.h5";
  test::write_file(path, test::text_of(data, size));
  std::ranges::fill(childs_counters(), uint8_t{0});
  test::must_read_or_refuse([&] {
    data::Problems problems;
    const data::ShardScan scan = data::scan_shard(path, problems);
    test::must_hold(scan.records.size() == scan.shard.layout.num_samples &&
                    scan.caption_bytes.size() == scan.shard.layout.num_captions);
    if (!problems.empty()) return;
    for (const data::IndexRecord& record : scan.records) {
      test::must_hold(record.image_offset <= size && record.image_bytes <= size - record.image_offset);
      test::must_hold(record.first_caption + uint64_t{record.num_captions} <= scan.shard.layout.num_captions);
    }
  });
  std::ranges::transform(counters(), childs_counters(), counters().begin(),
                         [](uint8_t ours, uint8_t childs) { return std::max(ours, childs); });
  return 0;
}
