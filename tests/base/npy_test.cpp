#include "base/npy.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/error.h"

namespace triptych::test {
namespace {

class Npy : public ::testing::Test {
 protected:
  Npy() { std::filesystem::create_directories(folder_); }
  ~Npy() override { std::filesystem::remove_all(folder_); }

  // A file as the format's specification says, by hand.
  std::filesystem::path put(const std::string& header, std::size_t data_bytes, int version = 1) {
    std::string text = "\x93NUMPY";
    text += {static_cast<char>(version), '\0'};
    for (int i = 0; i < (version == 1 ? 2 : 4); ++i) text += static_cast<char>(header.size() >> (8 * i) & 0xff);
    text += header;
    for (std::size_t i = 0; i < data_bytes; ++i) text += static_cast<char>(i % 64);
    write_file_atomically(folder_ / "x.npy", text);
    return folder_ / "x.npy";
  }
  std::string refusal(const std::filesystem::path& path) {
    try {
      NpyFile::open(path);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }

  std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / ("triptych_npy_" + std::to_string(::getpid()));
};

// The bytes that numpy.save writes: numpy.lib.format, version 1.0, but for the padding, of which any is allowed.
TEST_F(Npy, WhatIsWrittenIsTheFormatAndComesBack) {
  const std::filesystem::path path = folder_ / "a.npy";
  {
    NpyWriter writer(path, NpyType::kFloat32, 3);
    const std::vector<float> rows{1, -2, 0.5f, 4, INFINITY, 6};
    writer.append(std::as_bytes(std::span(rows)));
    writer.append(std::as_bytes(std::span(rows).first(3)));
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(writer.num_rows(), 3);
    writer.finish();
  }
  const std::string text = read_text_file(path, 1000);
  ASSERT_EQ(text.size(), 128u + 3 * 3 * 4);
  EXPECT_EQ(text.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_EQ(text.substr(10, 59), "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }");
  EXPECT_EQ(text[127], '\n');
  const NpyFile file = NpyFile::open(path);
  EXPECT_EQ(file.num_rows(), 3);
  EXPECT_EQ(file.num_columns(), 3);
  EXPECT_EQ(file.read_floats(1, 2), (std::vector<float>{4, INFINITY, 6, 1, -2, 0.5f}));
  EXPECT_THROW(static_cast<void>(file.read_floats(2, 2)), InternalError);
}

TEST_F(Npy, WhatIsNotFinishedLeavesNothing) {
  { NpyWriter writer(folder_ / "a.npy", NpyType::kUInt64, 1); }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(Npy, HalvesAreWidened) {
  NpyWriter writer(folder_ / "h.npy", NpyType::kFloat16, 2);
  const std::vector<Float16> halves{Float16(0.1f), Float16(-65504.0f)};
  writer.append(std::as_bytes(std::span(halves)));
  writer.finish();
  const std::vector<float> values = NpyFile::open(folder_ / "h.npy").read_floats(0, 1);
  EXPECT_EQ(values, (std::vector<float>{0.0999755859375f, -65504.0f}));
}

TEST_F(Npy, AllFormsThatNumpyWritesAreRead) {
  for (const int version : {1, 2, 3}) {
    const NpyFile file =
        NpyFile::open(put("{'descr': '<u8', 'fortran_order': False, 'shape': (2, 3), }      \n", 48, version));
    EXPECT_EQ(file.num_rows(), 2);
    EXPECT_EQ(file.read_integers(1, 1)[0], 0x1f1e1d1c1b1a1918u);
  }
  const NpyFile row = NpyFile::open(put("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }\n", 20));
  EXPECT_EQ(row.num_rows(), 1);
  EXPECT_EQ(row.num_columns(), 5);
  // One row is in any order.
  EXPECT_EQ(NpyFile::open(put("{'shape': (1, 5), 'fortran_order': True, 'descr': '<f4'}", 20)).num_columns(), 5);
}

TEST_F(Npy, EverythingElseIsRefusedWithWhatWasFound) {
  const std::pair<std::string, std::string> headers[] = {
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (5,), }", "elements of >f4"},
      {"{'descr': '<f8', 'fortran_order': False, 'shape': (5,), }", "elements of <f8"},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (5, 2), }", "Fortran order"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "0 dimensions"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 5, 1), }", "3 dimensions"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", "where 1 x 6 elements make"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-5,), }", "a header that cannot be read"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "a header that cannot be read"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000000000000, 4), }", "elements"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 0), }", "0 x 0 elements"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (5,), }", "a header that cannot be read"},
      {"{'descr': '<f4', 'fortran_order': False, }", "a header that cannot be read"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (5,)}", "a header that cannot be read"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (5,)", "a header that cannot be read"},
      {"", "a header that cannot be read"}};
  for (const auto& [header, found] : headers) {
    EXPECT_NE(refusal(put(header, 20)).find(found), std::string::npos) << header << "\n" << refusal(put(header, 20));
  }
  EXPECT_NE(refusal(put("{}", 0, 4)).find("version 4"), std::string::npos);
  EXPECT_NE(refusal(folder_ / "none").find("no such file"), std::string::npos);
  write_file_atomically(folder_ / "zip", "PK\3\4 and more");
  EXPECT_NE(refusal(folder_ / "zip").find("another file"), std::string::npos);
}

}  // namespace
}  // namespace triptych::test
