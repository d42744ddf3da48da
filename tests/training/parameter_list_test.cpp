#include "training/parameter_list.h"

#include <filesystem>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "tasks/standard_tasks.h"
#include "training/session.h"

namespace triptych::test {
namespace {

const std::filesystem::path kConfigs = std::filesystem::path(TRIPTYCH_SOURCE_DIR) / "configs";

int64_t count_of(const std::string& model) {
  return count_elements(
      list_parameters(load_run_config(kConfigs / "models" / (model + ".toml"), {}, standard_tasks())));
}

// What the models' authors say of them, as `transformers` counts CLIPModel and SiglipModel of these sizes.
const std::map<std::string, int64_t> kPublished{{"clip_vit_b32", 151'277'313},
                                                {"clip_vit_b16", 149'620'737},
                                                {"clip_vit_l14", 427'616'513},
                                                {"siglip_vit_b16", 203'155'970}};

TEST(ParameterList, ModelsHaveAsManyNumbersAsPublished) {
  for (const auto& [name, count] : kPublished) EXPECT_EQ(count_of(name), count) << name;
}

// CoCa is not open_clip's: docs/towers.md says what differs. `published` is that one's count.
//   H, W   widths of image and text; E = W: of the embedding
int64_t coca_count(int64_t published, int64_t H, int64_t W) {
  const int64_t layers = 12, F = 4 * W, queries = 256, E = W;
  // A decoder layer there is two blocks, each with a feed-forward layer; the second attends to pooled tokens of width
  // W, which it norms again, ours to tokens of width H.
  int64_t count = published - layers * (2 * W * F + F + W + 2 * 2 * W) + layers * 2 * W * (H - W);
  // One pool there, to width E; here one for the decoder and one for the embedding, both of width H, and its product.
  count -= queries * E + 2 * E * E + 2 * E * H + 4 * E + 2 * E + 2 * H + E * E + 2 * E;
  count += queries * H + 2 * (4 * H * H + 4 * H + 2 * H) + 2 * H + H * E;
  return count - W - 2 * H;  // no class token: of the text, nor of the image with its position
}

TEST(ParameterList, CocaDiffersFromOpenClipByWhatIsDocumented) {
  EXPECT_EQ(count_of("coca_vit_b32"), coca_count(253'560'065, 768, 512));
  EXPECT_EQ(count_of("coca_vit_l14"), coca_count(638'450'177, 1024, 768));
}

// Of every task: what is listed is what a run then has.
TEST(ParameterList, IsThatOfARun) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs)) {
    if (!entry.path().filename().string().starts_with("verify")) continue;
    const RunConfig config = load_run_config(entry.path(), {}, standard_tasks());
    run_ranks(1, [&](Group& world) {
      Session session(config, world, RankPlace{});
      const std::vector<ListedParameter> list = list_parameters(config);
      EXPECT_EQ(count_elements(list), session.num_parameters()) << entry.path();
      std::map<std::string, Shape> listed, made;
      for (const ListedParameter& parameter : list) listed[parameter.name] = parameter.shape;
      for (const Parameter* parameter : session.store().all()) made[parameter->name] = parameter->global_shape;
      EXPECT_EQ(listed, made) << entry.path();
    });
    ++num_files;
  }
  EXPECT_EQ(num_files, static_cast<int>(standard_tasks().size()));
}

}  // namespace
}  // namespace triptych::test
