#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "training/run_config.h"

namespace triptych {
namespace {

const std::filesystem::path kRoot = TRIPTYCH_SOURCE_DIR;

TEST(Configuration, TheDocumentSaysWhatTheProgramReads) {
  EXPECT_EQ(read_text_file(kRoot / "docs/configuration.md", 1 << 20), run_config_documentation())
      << "write it again: triptych config document > docs/configuration.md";
}

TEST(Configuration, EveryFileInConfigsIsSoundAndItsEffectiveFormReadsBackToItself) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / "configs")) {
    const RunConfig config = load_run_config(entry.path(), {}, 1);
    EXPECT_EQ(parse_run_config(config.effective_toml, "effective").effective_toml, config.effective_toml)
        << entry.path();
    ++num_files;
  }
  EXPECT_GE(num_files, 3);
}

TEST(Configuration, AllThatIsWrongIsToldAtOnce) {
  const std::filesystem::path file = kRoot / "configs/verify.toml";
  try {
    load_run_config(file,
                    {"parallel.tp=4", "training.global_batch=25", "parallel.microbatches=2", "model.image.patch=3",
                     "optimizer.learning_rat=1", "run.seed=\"x\""},
                    3);
    FAIL() << "no error";
  } catch (const UserError& error) {
    const std::string text = error.what();
    for (const char* part : {"model.text.heads", "2 heads, tp = 4", "training.global_batch", "25 / (1 * 2)",
                             "model.image.patch", "optimizer.learning_rate", "run.seed", "1*1*4 = 4, found 3"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
    }
  }
}

}  // namespace
}  // namespace triptych
