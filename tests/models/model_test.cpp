#include "models/model.h"

#include <map>

#include <gtest/gtest.h>

#include "models/captioner.h"
#include "models/classifier.h"
#include "models/two_tower.h"

namespace triptych::test {
namespace {

std::map<std::string, int> depths_of(const ModelSpec& model) {
  const std::vector<int> depths = depths_from_top(model);
  std::map<std::string, int> result;
  for (std::size_t i = 0; i < depths.size(); ++i) result[model.blocks[i].name] = depths[i];
  return result;
}

// BEiT's get_num_layer_for_vit (its optim_factory.py): with L blocks the embedding is layer 0, block i is layer i + 1,
// all else L + 1; the exponent of the decay is L + 1 minus the layer.
TEST(DepthsFromTop, OfAClassifierAreTheExponentsOfBeit) {
  ClassifierConfig config;
  config.image.sizes.layers = 12;
  const std::map<std::string, int> depths = depths_of(classifier(config));
  const auto exponent = [](int layer) { return 12 + 1 - layer; };
  EXPECT_EQ(depths.at("image.embed"), exponent(0));
  for (int i = 0; i < 12; ++i) EXPECT_EQ(depths.at(fmt::format("image.blocks.{}", i)), exponent(i + 1));
  EXPECT_EQ(depths.at("classify.head"), exponent(13));
}

TEST(DepthsFromTop, OfTwoTowersAreEachItsOwn) {
  TwoTowerConfig config;
  config.image.sizes.layers = 3;
  config.text.sizes.layers = 1;
  EXPECT_EQ(depths_of(two_tower(config)), (std::map<std::string, int>{{"image.embed", 4},
                                                                      {"image.blocks.0", 3},
                                                                      {"image.blocks.1", 2},
                                                                      {"image.blocks.2", 1},
                                                                      {"image.head", 0},
                                                                      {"text.embed", 2},
                                                                      {"text.blocks.0", 1},
                                                                      {"text.head", 0}}));
}

// Every block of the decoder reads the image: the longest way counts, which goes through all of them.
TEST(DepthsFromTop, GoTheLongestWay) {
  CaptionerConfig config;
  config.image.sizes.layers = 1;
  config.text.sizes.layers = 2;
  EXPECT_EQ(depths_of(captioner(config)), (std::map<std::string, int>{{"image.embed", 5},
                                                                      {"image.blocks.0", 4},
                                                                      {"image.norm", 3},
                                                                      {"text.embed", 3},
                                                                      {"text.blocks.0", 2},
                                                                      {"text.blocks.1", 1},
                                                                      {"text.output", 0}}));
}

}  // namespace
}  // namespace triptych::test
