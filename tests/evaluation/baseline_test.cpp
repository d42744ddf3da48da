#include "evaluation/baseline.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::test {
namespace {

class BaselineFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "triptych_baseline_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& text) const {
    std::ofstream(folder_ / "raw_pixels.json") << text;
    return folder_ / "raw_pixels.json";
  }

  std::filesystem::path folder_;
};

TEST_F(BaselineFile, SaysWhatItHolds) {
  const Baseline baseline = Baseline::read(file(R"({"unseen": {"chrF": 12.5, "recall@1": 1}, "none": {}})"));
  EXPECT_EQ(baseline.name(), "raw pixels");
  EXPECT_EQ(baseline.value("unseen", "chrF"), 12.5);
  EXPECT_EQ(baseline.value("unseen", "recall@1"), 1.0);
  EXPECT_EQ(baseline.value("unseen", "recall@5"), std::nullopt);
  EXPECT_EQ(baseline.value("none", "chrF"), std::nullopt);
  EXPECT_EQ(baseline.value("other", "chrF"), std::nullopt);
}

TEST_F(BaselineFile, AnythingElseIsTheUsersError) {
  for (const char* text :
       {"", "[]", "3", "{", R"({"set": 1})", R"({"set": {"chrF": "12"}})", R"({"set": {"chrF": null}})"}) {
    EXPECT_THROW(Baseline::read(file(text)), UserError) << text;
  }
  EXPECT_THROW(Baseline::read(folder_ / "none.json"), UserError);
  EXPECT_THROW(Baseline::read(folder_), UserError);
}

}  // namespace
}  // namespace triptych::test
