#include "base/file.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/hash.h"
#include "data/scratch_folder.h"

namespace triptych::test {
namespace {

using test::ScratchFolder;

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

ino_t inode(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_ino;
}

TEST(WriteFileAtomically, ReplacesTheNameAndLeavesNothingElse) {
  const ScratchFolder folder;
  const std::filesystem::path path = folder / "latest";
  write_file_atomically(path, "first");
  EXPECT_EQ(read_text_file(path, 5), "first");
  // Whoever has the old file open goes on reading all of it: its bytes were never touched.
  const File reader = File::open_read(path);
  const ino_t before = inode(path);
  write_file_atomically(path, "second, longer");
  EXPECT_NE(inode(path), before);
  std::vector<std::byte> old(5);
  reader.pread(old, 0);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(old.data()), 5), "first");
  EXPECT_EQ(read_text_file(path, 100), "second, longer");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"latest"});
}

TEST(WriteFileAtomically, LeavesTheOldFileIfItCannotFinish) {
  const ScratchFolder folder;
  std::filesystem::create_directories(folder / "taken" / "child");
  EXPECT_THROW(write_file_atomically(folder / "taken", "text"), WorldError) << "a folder cannot be replaced by a file";
  EXPECT_TRUE(std::filesystem::is_directory(folder / "taken" / "child"));
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"taken"}) << "no temporary file stays";
  EXPECT_THROW(write_file_atomically(folder / "absent" / "file", "text"), WorldError);
}

TEST(ReadTextFile, RefusesWhatIsLargerThanItsLimit) {
  const ScratchFolder folder;
  write_file_atomically(folder / "file", "12345678");
  EXPECT_EQ(read_text_file(folder / "file", 8), "12345678");
  EXPECT_THROW(read_text_file(folder / "file", 7), Error);
  // A file of 1 TiB that holds nothing: refused by its size, before memory is asked for.
  write_file_atomically(folder / "sparse", "");
  ASSERT_EQ(::truncate((folder / "sparse").c_str(), off_t{1} << 40), 0);
  EXPECT_THROW(read_text_file(folder / "sparse", 1 << 20), Error);
}

TEST(ListFolder, NeverTakesWhatItCannotListForEmpty) {
  const ScratchFolder folder;
  for (const char* name : {"b", "a", "c"}) write_file_atomically(folder / name, "");
  const std::filesystem::path root = folder / "";
  EXPECT_EQ(list_folder(root), (std::vector<std::filesystem::path>{root / "a", root / "b", root / "c"}));
  EXPECT_TRUE(list_folder(folder / "absent").empty());
  EXPECT_TRUE(list_folder(folder / "a").empty()) << "a file";
  EXPECT_THROW(list_folder(folder / std::string(300, 'x')), WorldError) << "no name is so long";
}

TEST(File, SaysWhichFileAndWhy) {
  const ScratchFolder folder;
  try {
    File::open_read(folder / "absent");
    FAIL() << "opened a file that is not there";
  } catch (const WorldError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("absent"), std::string::npos) << text;
    EXPECT_NE(text.find("No such file"), std::string::npos) << text;
  }
}

TEST(File, AnEarlyEndIsAnError) {
  const ScratchFolder folder;
  File file = File::create(folder / "file");
  file.write("abc");
  file.write("def");
  file.sync_and_close();
  const File reader = File::open_read(folder / "file");
  EXPECT_EQ(reader.size(), 6u);
  std::vector<std::byte> bytes(4);
  reader.pread(bytes, 2);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), 4), "cdef");
  EXPECT_THROW(reader.pread(bytes, 3), WorldError);
  EXPECT_THROW(reader.pread(bytes, uint64_t{1} << 40), WorldError);
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// As other implementations of XXH3 print them.
TEST(Hash, KnownAnswers) {
  EXPECT_EQ(hash128({}).hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hash64({}), 0x2d06800538d394c2u);
  EXPECT_EQ(hash128(bytes_of("abc")).hex(), "06b05ab6733a618578af5f94892f3950");
  EXPECT_EQ(hash64(bytes_of("abc")), 0x78af5f94892f3950u);
}

TEST(Hash, ThreeWaysAgree) {
  const ScratchFolder folder;
  std::string text;  // beyond the pieces of 1 MiB in which files are read
  for (int i = 0; i < 300'000; ++i) text += std::to_string(i);
  write_file_atomically(folder / "file", text);
  Hasher hasher;
  for (std::size_t begin = 0, length = 1; begin < text.size(); begin += length, length = length * 3 + 1) {
    hasher.update(bytes_of(std::string_view(text).substr(begin, length)));
  }
  EXPECT_EQ(hasher.digest(), hash128(bytes_of(text)));
  EXPECT_EQ(hash_file(folder / "file"), hash128(bytes_of(text)));
  text[text.size() / 2] ^= 1;
  EXPECT_FALSE(hash_file(folder / "file") == hash128(bytes_of(text)));
}

}  // namespace
}  // namespace triptych::test
