#include "training/init_names.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/user_error.h"

namespace triptych::test {
namespace {

using Names = std::vector<std::string>;

TEST(InitNames, StarsStandForWhatTheyDidAndTheFirstPatternHolds) {
  const std::vector<NameChange> changes{{"encoder.layer.*.attn.*", "image.blocks.*.attention.*"},
                                        {"encoder.layer.*.attn.q", "never"},
                                        {"encoder.*", "image.*"},
                                        {"head.*", ""},
                                        {"*.scale", "fixed"}};
  EXPECT_EQ(changed_name(changes, "encoder.layer.11.attn.q.weight"), "image.blocks.11.attention.q.weight");
  EXPECT_EQ(changed_name(changes, "encoder.norm.bias"), "image.norm.bias");
  EXPECT_EQ(changed_name(changes, "head.weight"), "");
  EXPECT_EQ(changed_name(changes, "other.scale"), "fixed");
  EXPECT_EQ(changed_name(changes, "text.weight"), "text.weight") << "what none matches keeps its name";
}

TEST(InitNames, EveryNameIsTakenNewOrLeft) {
  const Names model{"image.a", "image.b", "head.a", "text.a"},
      checkpoint{"vit.b", "vit.a", "vit.c", "head.a", "text.a"};
  const InitNames names = match_names({{"vit.*", "image.*"}, {"head.*", ""}}, model, checkpoint);
  EXPECT_EQ(names.taken,
            (std::map<std::string, std::string>{{"image.a", "vit.a"}, {"image.b", "vit.b"}, {"text.a", "text.a"}}));
  EXPECT_EQ(names.fresh, Names{"head.a"});
  EXPECT_EQ(names.left, (Names{"head.a", "vit.c"}));
}

TEST(InitNames, PatternsOfNothingAndTwoNamesForOneAreErrors) {
  const Names model{"a"}, checkpoint{"image.blocks.0.weight", "a", "b"};
  const std::string none = user_error_of([&] { match_names({{"image.block.*", "x"}}, model, checkpoint); });
  EXPECT_NE(none.find("init.map.0.old"), std::string::npos) << none;
  EXPECT_NE(none.find("Did you mean `image.blocks.*`?"), std::string::npos) << none;
  const std::string behind = user_error_of([&] { match_names({{"*", ""}, {"a", "a"}}, model, checkpoint); });
  EXPECT_NE(behind.find("init.map.1.old"), std::string::npos) << behind;
  const std::string two = user_error_of([&] { match_names({{"b", "a"}}, model, checkpoint); });
  EXPECT_NE(two.find("found a and b as a"), std::string::npos) << two;
}

TEST(InitNames, LongListsAreShortened) {
  EXPECT_EQ(short_list({}), "none");
  EXPECT_EQ(short_list({"a"}), "1: a");
  EXPECT_EQ(short_list({"a", "b", "c", "d", "e"}), "5: a, b, c, d, e");
  EXPECT_EQ(short_list({"a", "b", "c", "d", "e", "f"}), "6: a, b, c, d and 2 more");
}

}  // namespace
}  // namespace triptych::test
