// A shard: its HDF5 structure, which a child process asks for, and then every rule of the format.

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include <execinfo.h>
#include <hdf5.h>
#include <pthread.h>
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

/// What a child tells its parent, in memory that they share.
struct ChildsWord {
  bool is_fault_of_ours;  ///< a sanitizer ended it outside of HDF5
  uint8_t counters[];     ///< as many as there are
};

ChildsWord& childs_word() {
  static ChildsWord* const shared = [] {
    void* const memory = ::mmap(nullptr, sizeof(ChildsWord) + counters().size(), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    triptych::test::must_hold(memory != MAP_FAILED);
    return static_cast<ChildsWord*>(memory);
  }();
  return *shared;
}

/// In the child, before a sanitizer ends it. What HDF5 itself does wrong there, such as to free what it never allocated
/// or to copy a petabyte, is no finding; the readers' own faults are.
void on_childs_death() {
  std::array<void*, 64> frames{};
  const int num_frames = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 0; i < num_frames; ++i) {
    std::array<char, 256> module{};
    void* offset = nullptr;
    __sanitizer_get_module_and_offset_for_pc(frames[static_cast<std::size_t>(i)], module.data(), module.size(),
                                             &offset);
    if (std::string_view(module.data()).find("libhdf5") != std::string_view::npos) return;
  }
  childs_word().is_fault_of_ours = true;
}

void prepare_child() {
  // A sound file takes milliseconds; of one that HDF5 never ends with, a second tells no more than the reader's own
  // five.
  const rlimit one_second{1, 1};
  ::setrlimit(RLIMIT_CPU, &one_second);
  __sanitizer_set_death_callback(on_childs_death);  // in place of libFuzzer's, which would keep the input
}

}  // namespace

/// Instead of the C library's, for the reader's child, which ends by it: so an input is also kept for what the child
/// did with it.
extern "C" void _exit(int code) {
  std::ranges::copy(counters(), childs_word().counters);
  while (true) ::syscall(SYS_exit_group, code);
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  childs_word();
  std::array<void*, 1> frame{};
  ::backtrace(frame.data(), 1);  // which loads a library when it is first called
  triptych::test::must_hold(::pthread_atfork(nullptr, nullptr, prepare_child) == 0);
  H5open();  // once, and not again in each child
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  // HDF5 wants the path of a file that has a name, so none that is in memory alone.
  static const std::filesystem::path path = test::scratch_folder() / "shard.h5";
  test::write_file(path, test::text_of(data, size));
  childs_word().is_fault_of_ours = false;
  std::fill_n(childs_word().counters, counters().size(), uint8_t{0});
  test::must_read_or_refuse([&] {
    data::Problems problems;
    const data::ShardScan scan = data::scan_shard(path, problems);
    test::must_hold(scan.records.size() == scan.shard.layout.num_samples &&
                    scan.caption_bytes.size() == scan.shard.layout.num_captions);
    test::must_hold(scan.roles.empty() || scan.roles.size() == scan.caption_bytes.size());
    test::must_hold(scan.box_first.empty() ? scan.boxes.empty() : scan.box_first.back() == scan.boxes.size());
    if (!problems.empty()) return;
    for (const data::BoxRecord& box : scan.boxes) {
      test::must_hold(0 <= box.left && box.left < box.right && 0 <= box.top && box.top < box.bottom);
    }
    for (const data::IndexRecord& record : scan.records) {
      test::must_hold(record.image_offset <= size && record.image_bytes <= size - record.image_offset);
      test::must_hold(record.first_caption + uint64_t{record.num_captions} <= scan.shard.layout.num_captions);
    }
  });
  test::must_hold(!childs_word().is_fault_of_ours);
  std::transform(counters().begin(), counters().end(), childs_word().counters, counters().begin(),
                 [](uint8_t ours, uint8_t childs) { return std::max(ours, childs); });
  return 0;
}
