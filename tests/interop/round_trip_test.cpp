#include <filesystem>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "checkpoint/checkpoint_reader.h"
#include "interop/export_model.h"
#include "interop/import_model.h"
#include "interop/small_models.h"
#include "interop/tensor_files.h"
#include "objectives/objective.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "tasks/standard_tasks.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

std::string name_of(const ::testing::TestParamInfo<std::size_t>& info) {
  const Family& family = *small_models()[info.param].family;
  std::string name = fmt::format("{}_{}", library_name(family.library), family.name);
  std::erase(name, '-');
  return name;
}

class SmallModels : public ::testing::TestWithParam<std::size_t> {
 protected:
  ImportResult import(const std::string& from = "theirs", const std::string& out = "ours") {
    return import_model({.library = model_.family->library, .from = folder_ / from, .out = folder_ / out},
                        standard_tasks());
  }

  ScratchFolder folder_;
  SmallModel model_ = small_models()[GetParam()];
};

TEST_P(SmallModels, ComeBackBitByBit) {
  write_model(folder_ / "theirs", model_);
  const ImportResult imported = import();
  CheckpointReader checkpoint = CheckpointReader::open(folder_ / "ours", "latest");
  const RunConfig config = load_run_config(imported.config, {}, standard_tasks());
  ExportRequest request{.library = model_.family->library, .out = folder_ / "back"};
  const ExportResult exported = export_model(request, config, checkpoint);
  EXPECT_EQ(exported.family, imported.family);
  EXPECT_EQ(exported.num_parameters, imported.num_parameters);
  const TensorFiles before = TensorFiles::open(folder_ / "theirs", model_.family->library);
  const TensorFiles after = TensorFiles::open(folder_ / "back", model_.family->library);
  ASSERT_EQ(after.tensors().size(), before.tensors().size());
  for (const auto& [name, entry] : before.tensors()) {
    ASSERT_TRUE(after.tensors().contains(name)) << name;
    EXPECT_EQ(after.tensors().at(name).shape, entry.shape) << name;
    std::vector<float> x(entry.bytes / sizeof(float)), y(x.size());
    before.read(name, 0, x);
    after.read(name, 0, y);
    EXPECT_EQ(x, y) << name;
  }
  // What is exported is what was imported: the second time there is nothing new, and the same config.
  const ImportResult again = import("back", "again");
  EXPECT_EQ(load_run_config(again.config, {"init.from=x", "run.dir=x"}, standard_tasks()).effective_toml,
            load_run_config(imported.config, {"init.from=x", "run.dir=x"}, standard_tasks()).effective_toml);
}

// The table's names and shapes are those that the config's model has: nothing is missing, and nothing else is there.
TEST_P(SmallModels, HaveTheModelsParameters) {
  write_model(folder_ / "theirs", model_);
  const RunConfig config = load_run_config(import().config, {}, standard_tasks());
  const CheckpointReader checkpoint = CheckpointReader::open(folder_ / "ours", "latest");
  const std::unique_ptr<Group> self = make_self_group("test");
  RankModel rank(*self, {}, config.task->model(), config.task->objectives(),
                 gpipe({1, 1, 1, coupling_of(config.task->objectives())}), {.seed = 3});
  std::map<std::string, Dims> model, saved;
  for (const Parameter* parameter : rank.store.all()) model[parameter->name] = parameter->global_shape.to_vector();
  for (const auto& [name, tensor] : checkpoint.manifest().tensors) saved[name] = tensor.shape;
  EXPECT_EQ(saved, model);
  EXPECT_EQ(checkpoint.manifest().run.model, config.task->model().fingerprint);
}

TEST_P(SmallModels, NameWhatIsMissingAndWhatIsUnknown) {
  auto tensors = tensors_of(model_);
  write_model(folder_ / "theirs", model_);
  const fs::path file =
      folder_ / "theirs" /
      (model_.family->library == Library::kOpenClip ? "open_clip_model.safetensors" : "model.safetensors");
  const std::string gone = std::next(tensors.begin(), 3)->first, odd = std::next(tensors.begin(), 4)->first;
  tensors.erase(gone);
  tensors["another.head"] = {{2}, {1, 2}};
  auto& [shape, values] = tensors[odd];
  shape.push_back(2);
  values.resize(2 * values.size());
  write_tensors<float>(file, tensors);
  try {
    import();
    FAIL() << "it was imported";
  } catch (const WorldError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("missing 1: " + gone), std::string::npos) << text;
    EXPECT_NE(text.find("known to nobody here 1: another.head"), std::string::npos) << text;
    EXPECT_NE(text.find("of another shape 1: " + odd), std::string::npos) << text;
  }
  EXPECT_FALSE(fs::exists(folder_ / "ours"));
}

INSTANTIATE_TEST_SUITE_P(All, SmallModels, ::testing::Range<std::size_t>(0, 7), name_of);

}  // namespace
}  // namespace triptych::test
