#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/remote_server.h"
#include "support/tolerance.h"
#include "training/training_fixture.h"

// Training runs that draw from several sources.

namespace triptych::test {
namespace {

class SeveralSources : public Training {
 protected:
  void SetUp() override {
    make_data_set(folder_ / "more", 11, [](uint64_t i) {
      std::vector<uint8_t> pixels(20 * 17 * 3, static_cast<uint8_t>(20 * i));
      return SmallSample{encode_png(20, 17, pixels), {fmt::format("a grey picture {}", i)}};
    });
  }
  RunConfig mixed(const std::string& dir, const MeshShape& mesh = {}, std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(),
                     {"data.path=", "data.source.0.path=\"" + data_set().string() + '"', "data.source.0.weight=3",
                      "data.source.1.path=\"" + (folder_ / "more").string() + '"'});
    overrides.emplace_back("training.steps=12");
    overrides.emplace_back("checkpoint.every=4");
    return config(dir, mesh, overrides, kConfig + "[[data.source]]\n[[data.source]]\n");
  }
};

TEST_F(SeveralSources, GoOnWithTheSameBitsOnEveryMesh) {
  std::vector<StepMetrics> one;
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.dp = 2}, MeshShape{.pp = 2, .tp = 2}}) {
    const std::string dir = fmt::format("pp{}dp{}", mesh.pp, mesh.dp);
    run(mixed(dir, mesh));
    const std::vector<StepMetrics> whole = metrics(dir);
    ASSERT_EQ(whole.size(), 12u);
    const auto weights = tensors(checkpoint(dir, "12"));
    run(mixed(dir, mesh), {.resume = "4"});
    expect_same_bits(whole, metrics(dir));
    EXPECT_EQ(tensors(checkpoint(dir, "12")), weights);
    if (one.empty()) one = whole;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      EXPECT_NEAR(whole[i].loss, one[i].loss, kBetweenMeshes * one[i].loss) << dir << " step " << i + 1;
    }
  }
  // 8 a step, 3 of 4 from the first.
  const auto& scalars = one.back().scalars;
  const auto value = [&](const std::string& name) {
    for (const auto& [key, number] : scalars) {
      if (key == name) return number;
    }
    return -1.0;
  };
  EXPECT_EQ(value("samples_0"), 72);
  EXPECT_EQ(value("samples_1"), 24);
}

TEST_F(SeveralSources, OneSourceIsWhatDataPathNames) {
  run(config("path", {}, {"training.stop_after=4", "checkpoint.every=4"}));
  const auto as_source = [&](double weight) {
    return config("path", {},
                  {"data.path=", "data.source.0.path=\"" + data_set().string() + '"',
                   fmt::format("data.source.0.weight={}", weight), "training.stop_after=8", "checkpoint.every=4"},
                  kConfig + "[[data.source]]\n");
  };
  run(as_source(5), {.resume = "latest"});
  run(config("whole", {}, {"training.stop_after=8", "checkpoint.every=4"}));
  expect_same_bits(metrics("whole"), metrics("path"));
}

TEST_F(SeveralSources, OtherSharesOrSourcesAreAnotherRun) {
  RunConfig c = mixed("run", {}, {"training.stop_after=4"});
  run(c);
  const auto go_on = [&](const std::vector<std::string>& overrides) {
    std::vector<std::string> all{"training.stop_after=8"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return mixed("run", {}, all);
  };
  expect_refused(go_on({"data.source.1.weight=2"}), {.resume = "latest"}, "drew samples in another order: shares");
  expect_refused(go_on({"data.shuffle_shards=2"}), {.resume = "latest"}, "windows of 2 shards");
  RunConfig swapped = go_on({});
  std::swap(swapped.data.sources[0].path, swapped.data.sources[1].path);
  expect_refused(swapped, {.resume = "latest"}, "learned from another data set");
  RunConfig alone = config("run", {}, {"training.steps=12", "training.stop_after=8", "checkpoint.every=4"});
  expect_refused(alone, {.resume = "latest"}, "the config says: of one source, all at once");
  // The same shares in other numbers, from another place.
  std::filesystem::copy(folder_ / "more", folder_ / "moved");
  run(go_on({"data.source.0.weight=0.75", "data.source.1.weight=0.25",
             "data.source.1.path=\"" + (folder_ / "moved").string() + '"'}),
      {.resume = "latest"});
  EXPECT_EQ(metrics("run").size(), 8u);
}

// From a server and from the folder that it serves: the same bits, with ranks that share a cache.
TEST_F(SeveralSources, ASourceBehindAnAddressIsTheFolderThatIsThere) {
  const RemoteServer server(folder_.path());
  const std::string address = server.url("plain", "more");
  const auto of = [&](const std::string& dir, const std::string& place, const MeshShape& mesh) {
    return mixed(dir, mesh,
                 {"data.source.1.path=\"" + place + '"', "data.cache.dir=\"" + (folder_ / "cache").string() + '"',
                  "data.shuffle_shards=1", "training.stop_after=6"});
  };
  const MeshShape mesh{.dp = 2};
  run(of("local", (folder_ / "more").string(), mesh));
  run(of("remote", address, mesh));
  expect_same_bits(metrics("local"), metrics("remote"));
  for (const char* shard : {"shard_00000.h5", "shard_00001.h5"}) {
    EXPECT_EQ(server.num_requests(fmt::format("200 /plain/more/{}", shard)), 1) << "two ranks fetch it once";
  }
  RunConfig small = of("small", address, mesh);
  small.data.cache_max_gb = 1e-6;
  expect_refused(small, {}, "must hold two windows of 1 shards");
  small.data.shuffle_shards = 0;
  expect_refused(small, {}, "or set data.shuffle_shards");
}

TEST_F(SeveralSources, WhatContradictsItselfIsRefused) {
  const auto refused = [&](const std::vector<std::string>& overrides, const std::string& part) {
    try {
      mixed("run", {}, overrides);
      ADD_FAILURE() << "did not fail with: " << part;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refused({"data.path=\"x\""}, "are two ways to say the same");
  refused({"data.source.1.weight=0"}, "above 0");
  refused({"data.source.1.weigth=2"}, "weight");
  refused({"data.source.1.path=\"https://host/a\""}, "data.cache.dir");
  expect_refused(mixed("run", {}, {"data.source.1.path=\"" + data_set().string() + '"'}), {},
                 "has the same samples as");
  expect_refused(mixed("run", {}, {"training.global_batch=24", "data.source.1.weight=3"}), {},
                 "rows are 12, found 11 samples");
}

}  // namespace
}  // namespace triptych::test
