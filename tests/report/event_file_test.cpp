#include "report/event_file.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "report/metrics.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

TEST(Crc32c, AgreesWithTheSpecification) {  // RFC 3720, appendix B.4; and the usual check value
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) {
    rising += static_cast<char>(i);
    falling += static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(rising), 0x46DD794Eu);
  EXPECT_EQ(crc32c(falling), 0x113FDB5Cu);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

class Events : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "triptych_events_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What a reader of Python's, which knows nothing of ours, finds in the files.
  nlohmann::json read(const std::vector<fs::path>& files) {
    std::string command = fmt::format("/usr/bin/python3 {}/read_events.py", TRIPTYCH_REPORT_TESTS);
    for (const fs::path& file : files) command += " " + file.string();
    std::FILE* pipe = ::popen(command.c_str(), "r");
    std::string text;
    std::array<char, 4096> part{};
    while (const std::size_t count = std::fread(part.data(), 1, part.size(), pipe)) text.append(part.data(), count);
    EXPECT_EQ(::pclose(pipe), 0);
    return nlohmann::json::parse(text)["events"];
  }

  fs::path folder_;
};

TEST_F(Events, AreWhatTensorBoardsFormatSays) {
  fs::path path;
  {
    EventFile file(folder_, 8, 1.75e9);
    const std::vector<std::pair<std::string, double>> scalars{
        {"train/loss", 0.1}, {"not a number", std::nan("")}, {"long/" + std::string(300, 'x'), -1e30}};
    file.write_scalars(300, 1.75e9 + 0.125, scalars);
    file.write_scalars(301, 1.75e9 + 1, std::vector<std::pair<std::string, double>>{{"x", std::nan("")}});
    file.write_text(7, 1.75e9, "config", "# ü");
    file.write_scalars(int64_t{1} << 40, 1.75e9, std::vector<std::pair<std::string, double>>{{"x", 2}});
    file.sync();
    path = file.path();
  }
  EXPECT_TRUE(path.filename().string().starts_with("events.out.tfevents.1750000000.")) << path;
  const nlohmann::json events = read({path});
  ASSERT_EQ(events.size(), 5u) << "an event without numbers is left out";
  EXPECT_EQ(events[0],
            (nlohmann::json{{"time", 1.75e9}, {"step", 0}, {"version", "brain.Event:2"}, {"writer", "triptych"}}));
  EXPECT_EQ(events[1], (nlohmann::json{{"time", 1.75e9}, {"step", 8}, {"start", true}}));
  EXPECT_EQ(events[2]["time"], 1.75e9 + 0.125);
  EXPECT_EQ(events[2]["step"], 300);
  EXPECT_EQ(events[2]["scalars"],
            (nlohmann::json{{"train/loss", double{0.1f}}, {"long/" + std::string(300, 'x'), double{-1e30f}}}));
  EXPECT_EQ(events[3]["texts"], (nlohmann::json{{"config", "# ü"}}));
  EXPECT_EQ(events[4]["step"], int64_t{1} << 40);
  EXPECT_TRUE(is_event_file(path));
}

TEST_F(Events, ALaterFileIsReadLater) {
  std::vector<std::string> names;
  for (const double time : {1.75e9, 1.75e9, 1.74e9}) {  // a second run in one second, then a clock that was set back
    names.push_back(EventFile(folder_, 1, time).path().filename().string());
  }
  EXPECT_LT(names[0], names[1]);
  EXPECT_LT(names[1], names[2]);
}

TEST_F(Events, FilesOfOthersAreNotTakenForOurs) {
  const fs::path ours = EventFile(folder_, 1, 1.75e9).path();
  const std::string bytes = read_text_file(ours, 1 << 20);
  const auto is_ours = [&](const std::string& name, const std::string& contents) {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
    return is_event_file(folder_ / name);
  };
  const std::string name = "events.out.tfevents.1760000000.host.1.0";
  EXPECT_TRUE(is_ours(name, bytes));
  EXPECT_FALSE(is_ours("notes.tfevents.1760000000.host", bytes));
  EXPECT_FALSE(is_ours(name, ""));
  EXPECT_FALSE(is_ours(name, bytes.substr(0, 30)));
  std::string other = bytes;
  other[other.find("triptych")] = 'T';
  EXPECT_FALSE(is_ours(name, other));
  EXPECT_FALSE(is_event_file(folder_ / "none"));
  fs::create_directory(folder_ / "events.out.tfevents.1770000000.folder");
  EXPECT_FALSE(is_event_file(folder_ / "events.out.tfevents.1770000000.folder"));
}

TEST_F(Events, HaveEveryNumberOfALine) {
  StepMetrics metrics;
  metrics.step = 3;
  metrics.loss = 0.5;
  metrics.skipped = 2;
  metrics.scalars = {{"temperature", 0.07}};
  const auto line = nlohmann::json::parse(to_json_line(metrics));
  const auto tagged = tagged_metrics(metrics);
  EXPECT_EQ(tagged.size(), line.size() - 2) << "all but the step and the time, which an event has itself";
  for (const auto& [tag, value] : tagged) {
    const nlohmann::json& number = line[tag.substr(tag.find('/') + 1)];
    if (std::isnan(value)) {
      EXPECT_TRUE(number.is_null()) << tag;
    } else {
      EXPECT_EQ(number.get<double>(), value) << tag;
    }
  }
}

TEST_F(Events, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(EventFile(folder_ / "none", 1, 1.75e9), WorldError);
}

}  // namespace
}  // namespace triptych::test
