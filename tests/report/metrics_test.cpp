#include "report/metrics.h"

#include <bit>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

class MetricsFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "triptych_metrics_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path path() const { return folder_ / "metrics.jsonl"; }
  std::string contents() const {
    std::ifstream file(path(), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  void put(const std::string& text) const { std::ofstream(path(), std::ios::binary) << text; }
  std::size_t num_files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

StepMetrics step_of(int64_t step, double loss) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.loss = loss;
  return metrics;
}

std::string line_of(int64_t step) {
  return to_json_line(step_of(step, 1.0 / static_cast<double>(step))) + "\n";
}

TEST(MetricsLine, IsKnownByItsBeginningTornOrWhole) {
  std::string line = line_of(12);
  line.pop_back();
  for (std::size_t length = 1; length <= line.size(); ++length) EXPECT_TRUE(is_metrics_line(line.substr(0, length)));
  EXPECT_TRUE(is_metrics_line(to_json_line(step_of(1, std::numeric_limits<double>::quiet_NaN()))));
  for (const char* other : {"{\"not\": \"ours\"}", "{\"step\": 1, \"loss\": 2}", "{\"step\":1,\"loss\":2,\"lr\":3}",
                            "text", "{\"step\":\"1\",\"loss\":2,\"grad_norm\":3}"}) {
    EXPECT_FALSE(is_metrics_line(other)) << other;
  }
}

TEST(MetricsLine, HasEveryKeyInOrder) {
  StepMetrics m{3, 0.5, 1.5, 0.001, 100, 20, 1, 0.25, 0.5, 64, 1e9, 2, {{"temperature", 0.07}, {"accuracy", 0.75}}};
  EXPECT_EQ(to_json_line(m),
            R"({"step":3,"loss":0.5,"grad_norm":1.5,"learning_rate":0.001,"temperature":0.07,"accuracy":0.75,)"
            R"("samples_per_s":100.0,"step_ms":20.0,"loader_wait_ms":1.0,"tflops":0.25,"peak_share":0.5,"rss_mb":64.0,)"
            R"("time":1000000000.0,"skipped":2})");
  EXPECT_EQ(parse_json_line(to_json_line(m))->scalars, m.scalars);
}

TEST(MetricsLine, AScalarMayNotHaveTheKeyOfAnother) {
  for (const char* key : {"loss", "rss_mb", "step", "skipped", "accuracy"}) {
    StepMetrics m = step_of(1, 2.0);
    m.scalars = {{"accuracy", 0.5}, {key, 0.25}};
    EXPECT_THROW(to_json_line(m), InternalError) << key;
  }
}

TEST(MetricsLine, NumbersReadBackToTheSameBits) {
  const double values[] = {0.1,
                           1.0 / 3,
                           5.545177444479562,
                           -0.0,
                           std::nextafter(4.1, 5),
                           static_cast<double>(2.3025851f),
                           std::numeric_limits<double>::denorm_min(),
                           std::numeric_limits<double>::max()};
  for (const double value : values) {
    const std::optional<StepMetrics> read = parse_json_line(to_json_line(step_of(1, value)));
    ASSERT_TRUE(read);
    EXPECT_EQ(std::bit_cast<uint64_t>(read->loss), std::bit_cast<uint64_t>(value)) << value;
  }
}

TEST(MetricsLine, WhatIsNotFiniteIsNull) {
  const std::string line = to_json_line(step_of(1, std::nan("")));
  EXPECT_NE(line.find("\"loss\":null,"), std::string::npos);
  EXPECT_TRUE(std::isnan(parse_json_line(line)->loss));
  EXPECT_NE(to_json_line(step_of(1, 1.0 / 0.0)).find("\"loss\":null,"), std::string::npos);
}

TEST(MetricsLine, OnlyObjectsWithAStepAreMetrics) {
  for (const char* line : {"", "{", "[]", "3", "{\"loss\":1}", "{\"step\":1.5}", "{\"step\":\"1\"}", "{\"step\":1}x",
                           "{\"step\":9223372036854775808}", "\xff{\"step\":1}"}) {
    EXPECT_FALSE(parse_json_line(line)) << line;
  }
  const std::optional<StepMetrics> read = parse_json_line(R"({"step":7,"loss":2,"note":"x","more":1.5,"skipped":3})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->step, 7);
  EXPECT_EQ(read->loss, 2);
  EXPECT_EQ(read->skipped, 3);
  EXPECT_TRUE(std::isnan(read->grad_norm));
  ASSERT_EQ(read->scalars.size(), 1u);
  EXPECT_EQ(read->scalars[0], (std::pair<std::string, double>("more", 1.5)));
}

TEST_F(MetricsFile, GrowsLineByLineAndEachIsThereAtOnce) {
  MetricsWriter writer(folder_, 0);
  EXPECT_EQ(contents(), "");
  writer.write(step_of(1, 1.0));
  EXPECT_EQ(contents(), line_of(1));
  writer.write(step_of(2, 0.5));
  EXPECT_EQ(contents(), line_of(1) + line_of(2));
  writer.sync();
}

TEST_F(MetricsFile, ResumingDropsTheLinesOfLaterSteps) {
  put(line_of(1) + line_of(2) + line_of(3) + line_of(4));
  MetricsWriter writer(folder_, 2);
  EXPECT_EQ(contents(), line_of(1) + line_of(2));
  writer.write(step_of(3, 1.0 / 3));
  EXPECT_EQ(contents(), line_of(1) + line_of(2) + line_of(3));
  EXPECT_EQ(num_files(), 1u);  // no temporary file stays
}

TEST_F(MetricsFile, EarlierLinesStayByteForByte) {
  const std::string odd = "{ \"step\" : 1 , \"loss\" : 0.50, \"of another version\" : \"x\" }\n";
  put(odd + line_of(2));
  MetricsWriter(folder_, 1);
  EXPECT_EQ(contents(), odd);
}

TEST_F(MetricsFile, ATornLastLineIsDropped) {
  const std::string torn = line_of(3).substr(0, 20);
  put(line_of(1) + line_of(2) + torn);
  EXPECT_EQ(read_metrics(path()).size(), 2u);
  MetricsWriter writer(folder_, 2);
  writer.write(step_of(3, 1.0 / 3));
  EXPECT_EQ(contents(), line_of(1) + line_of(2) + line_of(3));
}

TEST_F(MetricsFile, AWholeLastLineWithoutNewlineIsKept) {
  put(line_of(1) + to_json_line(step_of(2, 0.5)));
  MetricsWriter writer(folder_, 2);
  EXPECT_EQ(contents(), line_of(1) + line_of(2));
}

TEST_F(MetricsFile, ANewRunStartsEmptyAndResumingAtTheEndChangesNothing) {
  put(line_of(1) + line_of(2));
  const auto written = fs::last_write_time(path());
  { MetricsWriter writer(folder_, 2); }
  EXPECT_EQ(fs::last_write_time(path()), written);
  { MetricsWriter writer(folder_, 0); }
  EXPECT_EQ(contents(), "");
}

TEST_F(MetricsFile, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(MetricsWriter(folder_ / "none", 0), WorldError);
  EXPECT_THROW(read_metrics(folder_ / "none" / "metrics.jsonl"), WorldError);
}

// In a child process, since the limit on file sizes is the process's: the second line would pass it in its middle.
TEST_F(MetricsFile, AFullDiskLeavesNoPartOfALine) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    MetricsWriter writer(folder_, 0);
    const rlimit limit{line_of(1).size() + 10, line_of(1).size() + 10};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(3);
    writer.write(step_of(1, 1.0));
    try {
      writer.write(step_of(2, 0.5));
    } catch (const WorldError&) {
      ::_exit(0);
    }
    ::_exit(4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(contents(), line_of(1));
}

TEST(ResidentMemory, SeesMemoryThatIsTouched) {
  const double before = resident_mb();
  EXPECT_GT(before, 0.5);
  std::vector<char> block(64 << 20);
  for (std::size_t i = 0; i < block.size(); i += 4096) block[i] = static_cast<char>(i);
  EXPECT_GT(resident_mb() + block[4096], before + 48);
}

}  // namespace
}  // namespace triptych::test
