#include <array>
#include <map>
#include <random>

#include "base/hash.h"
#include "data/id_ranges.h"
#include "data/ingest_journal.h"
#include "data/input_files.h"
#include "data/row_frame.h"
#include "data/shard_format.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

TEST(IdRanges, AnswersAsAMapOfAllIdsWould) {
  std::mt19937_64 rng(7);
  for (const uint64_t spread : {uint64_t{40}, uint64_t{300}, ~uint64_t{0}}) {
    IdRanges ranges;
    std::map<uint64_t, uint64_t> owners;
    uint64_t id = 0;
    for (uint64_t owner = 0; owner < 400; ++owner) {
      id = rng() % 3 == 0 ? rng() % spread : id + 1;
      if (rng() % 50 == 0) id = ~uint64_t{0};
      if (rng() % 50 == 0) id = 0;
      const auto [known, is_new] = owners.try_emplace(id, owner);
      EXPECT_EQ(ranges.add(id, owner), is_new ? std::nullopt : std::optional(known->second)) << id;
      if (owner != 200) continue;
      // What came so far, in another object.
      const std::vector<IdRange> so_far = ranges.take_new();
      ranges = IdRanges();
      ranges.add(so_far);
    }
    for (const auto& [taken, owner] : owners) EXPECT_EQ(ranges.add(taken, 1000), owner) << taken;
  }
  IdRanges counting;
  for (uint64_t k = 1; k <= 100000; ++k) counting.add(k, k);
  EXPECT_EQ(counting.take_new(), (std::vector<IdRange>{{1, 100000, 1}}));
}

TEST(ExpandInputs, CountsListsAndLooks) {
  const ScratchFolder folder;
  for (const char* name : {"a-08.tar", "a-09.tar", "a-10.tar", "b.tar", "[x].tar", "x.tar"})
    write_text(folder / name, "x");
  const auto names = [&](const std::vector<std::string>& patterns) {
    std::vector<std::string> found;
    std::vector<std::string> whole;
    for (const std::string& pattern : patterns) whole.push_back((folder / pattern).string());
    for (const fs::path& path : expand_inputs(whole)) found.push_back(path.filename());
    return found;
  };
  EXPECT_EQ(names({"a-{08..10}.tar"}), (std::vector<std::string>{"a-08.tar", "a-09.tar", "a-10.tar"}));
  EXPECT_EQ(names({"b.tar", "a-*.tar"}), (std::vector<std::string>{"b.tar", "a-08.tar", "a-09.tar", "a-10.tar"}));
  EXPECT_EQ(names({"[x].tar"}), (std::vector<std::string>{"[x].tar"})) << "a name that is there is no pattern";
  const auto refused = [&](const std::string& pattern, std::string_view part) {
    expect_error(ErrorKind::kUser, part, [&] { names({pattern}); });
  };
  refused("a-{7..8}.tar", "a-7.tar] does not exist");
  refused("c-*.tar", "names nothing that is there");
  refused("a-{10..08}.tar", "a count goes upwards");
  refused("a-{0..99999999}.tar", "to at most 1000000 names");
  expect_error(ErrorKind::kUser, "is named twice", [&] { names({"b.tar", "./b.tar"}); });
}

TEST(RowFrame, IsBoundedBeforeMemoryIsTaken) {
  const auto frame_of = [](std::string bytes) {
    Frame frame;
    const bool is_read = read_frame(
        [&](std::span<char> out) {
          if (out.size() > bytes.size()) return false;
          std::copy_n(bytes.begin(), out.size(), out.begin());
          bytes.erase(0, out.size());
          return true;
        },
        frame);
    return is_read ? std::string(1, static_cast<char>(frame.kind)) + frame.bytes : "none";
  };
  EXPECT_EQ(frame_of(std::string("C\3\0\0\0abc", 8)), "Cabc");
  EXPECT_EQ(frame_of(std::string("R\0\0\0\0", 5)), "R");
  EXPECT_EQ(frame_of(std::string("C\4\0\0\0abc", 8)), "none") << "cut";
  EXPECT_EQ(frame_of(std::string("X\0\0\0\0", 5)), "none");
  EXPECT_EQ(frame_of(std::string("I\xFF\xFF\xFF\xFF", 5)), "none");
  std::string long_caption(5 + 65537, 'x');
  long_caption.replace(0, 5, "C\1\0\1\0", 5);
  EXPECT_EQ(frame_of(long_caption), "none") << "a caption of 64 KiB and a byte";
}

TEST(IngestJournal, TakesWhatItWroteAndNothingElse) {
  const ScratchFolder folder;
  std::vector<JournalEntry> entries;
  IngestJournal journal(folder.path(), "this", entries);
  for (uint64_t k = 0; k < 3; ++k) {
    const std::string name = shard_file_name(k), text = "shard " + std::to_string(k);
    write_text(folder / name, text);
    entries.push_back({.shard = name,
                       .shard_bytes = text.size(),
                       .shard_hash = hash128(std::as_bytes(std::span(text))).hex(),
                       .num_samples = k + 1,
                       .cursor = {k, 2 * k, ~uint64_t{0} - k},
                       .skipped_bytes = 10 * k,
                       .ids = {{k, k + 4, 9}},
                       .counts = {}});
    entries.back().counts.seen = 7 * k;
    entries.back().counts.ignored["the key '\xC3\xA9\n'"] = k;
    entries.back().counts.remarks["a remark"] = {3, "line 1"};
    journal.append(entries.back());
  }
  const auto read = [&](std::string_view what = "this") { return IngestJournal::read(folder.path(), what); };
  const auto expect_first = [&](std::size_t count) {
    const std::vector<JournalEntry> found = read();
    ASSERT_EQ(found.size(), count);
    for (std::size_t k = 0; k < count; ++k) {
      EXPECT_EQ(found[k].shard, entries[k].shard);
      EXPECT_EQ(found[k].num_samples, entries[k].num_samples);
      EXPECT_EQ(found[k].cursor.offset, entries[k].cursor.offset);
      EXPECT_EQ(found[k].ids, entries[k].ids);
      EXPECT_EQ(found[k].counts, entries[k].counts);
      EXPECT_EQ(found[k].skipped_bytes, entries[k].skipped_bytes);
    }
  };
  expect_first(3);
  EXPECT_TRUE(read("that").empty());
  const std::string whole = file_text(folder / "ingest.journal");
  write_text(folder / "ingest.journal", whole.substr(0, whole.size() - 1));
  expect_first(2);  // a line that was cut
  std::string altered = whole;
  altered[altered.find("shard_00001") + 3] ^= 1;
  write_text(folder / "ingest.journal", altered);
  expect_first(1);
  write_text(folder / "ingest.journal", whole);
  write_text(folder / shard_file_name(1), "shard x");
  expect_first(1);
  fs::remove(folder / shard_file_name(0));
  expect_first(0);
}

}  // namespace
}  // namespace triptych::test
