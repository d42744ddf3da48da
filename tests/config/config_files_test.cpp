#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "config_support.h"

namespace triptych::test {
namespace {

class ConfigFiles : public ::testing::Test {
 protected:
  ConfigFiles() {
    char pattern[] = "/tmp/triptych_config_XXXXXX";
    folder_ = ::mkdtemp(pattern);
  }
  ~ConfigFiles() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path write(const std::string& name, std::string_view text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  std::string load_error(const std::filesystem::path& path, std::initializer_list<std::string> overrides = {}) {
    try {
      Options options;
      ConfigReader reader = ConfigReader::from_file(path, overrides);
      bind(reader, options);
      reader.finish();
    } catch (const UserError& e) {
      return e.what();
    }
    return "";
  }
  std::filesystem::path folder_;
};

TEST_F(ConfigFiles, IncludedKeysAreDefaults) {
  write("models/tiny.toml", "include = '../base.toml'\n[training]\nsteps = 2\ndropout = 0.5\n");
  write("base.toml", "training.steps = 1\nrun.threads = 3\nrun.seed = 4\n");
  const auto main = write("main.toml", "include = [\"models/tiny.toml\"]\n[run]\nthreads = 5\n");
  Options options;
  ConfigReader reader = ConfigReader::from_file(main, {"run.seed=6"});
  bind(reader, options);
  reader.finish();
  EXPECT_EQ(options.steps, 2);
  EXPECT_EQ(options.dropout, 0.5f);
  EXPECT_EQ(options.threads, 5);
  EXPECT_EQ(options.seed, 6u);
  EXPECT_FALSE(contains(reader.effective_toml(), "include"));
}

TEST_F(ConfigFiles, ProblemsNameTheFileTheyAreIn) {
  const auto inner = write("inner.toml", "\ntraining.steps = 0\n");
  const auto main = write("main.toml", "include = 'inner.toml'\nrun.threads = 0\n");
  EXPECT_EQ(load_error(main), fmt::format("[{}] the configuration has 2 problems:\n"
                                          "  {}:2: `training.steps` must be at least 1, found 0. The default is 100.\n"
                                          "  {}:2: `run.threads` must be at least 1, found 0. The default is 1.",
                                          main.string(), inner.string(), main.string()));
  write("inner.toml", "\n = 0\n");
  EXPECT_PRED2(contains, load_error(main), inner.string() + ":2:");
}

TEST_F(ConfigFiles, RefusesCirclesMissingFilesAndWhatIsNoFile) {
  const auto a = write("a.toml", "include = 'b.toml'");
  const auto b = write("b.toml", "\ninclude = './a.toml'");
  EXPECT_PRED3(contains_both, load_error(a), b.string() + ":2", "in a circle");
  const auto c = write("c.toml", "include = 'none.toml'");
  EXPECT_PRED3(contains_both, load_error(c), "none.toml", "included at " + c.string() + ":1");
  EXPECT_PRED2(contains, load_error(write("d.toml", "include = 3")), "must be a path or a list of paths, found 3");
  EXPECT_PRED2(contains, load_error(folder_ / "nothing.toml"), "must be a file, found nothing");
  EXPECT_PRED2(contains, load_error(folder_), "must be a file, found something else");
  EXPECT_PRED2(contains, load_error("/dev/zero"), "must be a file");
  EXPECT_PRED2(contains, load_error(write("large.toml", std::string((1 << 20) + 1, '#'))), "at most 1048576 bytes");
  EXPECT_PRED2(contains, message_of("include = 'b.toml'"), "must not be used here");
}

TEST_F(ConfigFiles, RefusesATreeOfIncludesWithoutEnd) {
  for (int i = 0; i < 12; ++i) {
    write(fmt::format("{}.toml", i), fmt::format("include = ['{}.toml', '{}.toml']", i + 1, i + 1));
  }
  write("12.toml", "");
  EXPECT_PRED2(contains, load_error(folder_ / "0.toml"), "at most 64 files");
}

}  // namespace
}  // namespace triptych::test
