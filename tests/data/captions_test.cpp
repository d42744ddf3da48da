#include "data/captions.h"

#include <gtest/gtest.h>

#include "small_data_set.h"

namespace triptych::test {
namespace {

TEST(Captions, AreAllOfAllSamplesInOrder) {
  const test::ScratchFolder folder;
  std::vector<std::string> expected;
  const auto data = test::make_data_set(folder / "captions", 23, [&](uint64_t i) {
    test::SmallSample s;
    for (uint64_t k = 0; k < i % 4; ++k) s.captions.push_back("caption " + std::to_string(i) + " " + std::to_string(k));
    if (s.captions.empty()) s.image = test::sound_image(i);
    expected.insert(expected.end(), s.captions.begin(), s.captions.end());
    return s;
  });
  const CaptionSource source = dataset_captions(data);
  std::vector<std::string> captions;
  for (std::string caption; source(caption);) captions.push_back(caption);
  EXPECT_EQ(captions, expected);
  EXPECT_EQ(captions.size(), data->num_captions());
}

}  // namespace
}  // namespace triptych::test
