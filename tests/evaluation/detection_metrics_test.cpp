#include "evaluation/detection_metrics.h"

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/reference.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
const BoundingBox kHere{0, 0, 40, 40}, kThere{50, 50, 90, 90};

using Detections = std::vector<Detection>;
using Objects = std::vector<TrueObject>;

BoundingBox box_of(const nlohmann::json& row) {
  return {row[0], row[1], row[2], row[3]};
}

void expect_close(std::optional<double> found, double expected, const std::string& what) {
  ASSERT_TRUE(found.has_value()) << what;
  EXPECT_LE(relative_error(std::vector{*found}, std::vector{expected}), kBetweenDoubles)
      << what << ": " << *found << ", expected " << expected;
}

// AP, AP50, AP75 and recall; null where nothing is to be found.
void expect_scores(const DetectionScores& found, const nlohmann::json& expected, const std::string& what) {
  const std::vector<std::optional<double>> values{found.ap, found.ap_50, found.ap_75, found.recall};
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i].has_value(), !expected[i].is_null()) << what << ", " << i;
    if (values[i].has_value()) expect_close(values[i], expected[i], what + ", " + std::to_string(i));
  }
}

TEST(DetectionCounter, ScoresAsPycocotoolsDoes) {
  int num_scored = 0;
  const nlohmann::json reference = read_reference("detection.json");
  for (const nlohmann::json& set : reference.at("sets")) {
    DetectionCounter counter(set["num_classes"]);
    for (const nlohmann::json& image : set["images"]) {
      Detections detections;
      for (const nlohmann::json& row : image["detections"]) detections.push_back({box_of(row), row[4], row[5]});
      Objects objects;
      for (const nlohmann::json& row : image["objects"]) objects.push_back({box_of(row), row[4], row[5] == 1});
      counter.add(detections, objects);
    }
    EXPECT_EQ(counter.num_images(), std::ssize(set["images"]));
    for (int size = 0; size < 4; ++size) {
      const nlohmann::json& expected = set["scores"][static_cast<std::size_t>(size)];
      const std::string what = set["name"].get<std::string>() + ", " + expected["size"].get<std::string>();
      expect_scores(counter.scores(ObjectSize(size)), expected["mean"], what);
      for (int64_t label = 0; label < std::ssize(expected["classes"]); ++label) {
        expect_scores(counter.class_scores(label, ObjectSize(size)),
                      expected["classes"][static_cast<std::size_t>(label)], what + ", class " + std::to_string(label));
        ++num_scored;
      }
    }
  }
  EXPECT_EQ(num_scored, 4 * (6 + 1 + 1));
}

// By hand: of two objects the first detection finds one, the second is wrong, the third finds the other. Precision is 1
// up to recall 1/2, which 51 of the 101 recalls do not exceed, and 2/3 from there.
TEST(DetectionCounter, AgreesWithTheDefinition) {
  DetectionCounter counter(1);
  counter.add(Detections{{kHere, 0, 0.9}, {kThere, 0, 0.8}}, Objects{{kHere, 0}});
  counter.add(Detections{{kHere, 0, 0.7}}, Objects{{kHere, 0}});
  expect_close(counter.scores().ap, (51 + 50 * 2.0 / 3) / 101, "AP");
  EXPECT_EQ(*counter.scores().recall, 1);
}

TEST(DetectionCounter, HasNoScoreWithoutObjects) {
  DetectionCounter counter(3);
  EXPECT_FALSE(counter.scores().ap.has_value());
  counter.add({}, {});
  counter.add(Detections{{kHere, 0, 0.5}}, {});
  EXPECT_FALSE(counter.scores().ap.has_value());
  EXPECT_FALSE(counter.class_scores(0).ap.has_value());
  counter.add({}, Objects{{kHere, 1}, {kHere, 2, true}});
  EXPECT_EQ(counter.num_objects(1), 1);
  EXPECT_EQ(counter.num_objects(2), 0);
  EXPECT_EQ(*counter.scores().ap, 0);  // of class 1 alone
  EXPECT_EQ(*counter.scores().recall, 0);
  EXPECT_EQ(*counter.class_scores(1).ap_50, 0);
  EXPECT_FALSE(counter.class_scores(2).ap.has_value());  // a crowd need not be found
  EXPECT_FALSE(counter.scores(ObjectSize::kSmall).ap.has_value());
  EXPECT_EQ(*counter.scores(ObjectSize::kMedium).ap, 0);
}

TEST(DetectionCounter, LooksAtAHundredDetectionsOfAClassInAnImage) {
  for (const int num_before : {99, 100}) {
    DetectionCounter counter(2);
    Detections detections{{kHere, 0, 0.1}};
    for (int i = 0; i < num_before; ++i) detections.push_back({kThere, 0, 0.5});
    for (int i = 0; i < 200; ++i) detections.push_back({kThere, 1, 0.9});
    counter.add(detections, Objects{{kHere, 0}});
    EXPECT_EQ(*counter.scores().recall, num_before == 99 ? 1 : 0);
    if (num_before == 99) expect_close(counter.scores().ap, 0.01, "AP");
  }
}

TEST(DetectionCounter, CountsAnObjectFoundTwiceOnce) {
  DetectionCounter counter(1);
  counter.add(Detections{{kHere, 0, 0.5}, {kHere, 0, 0.9}}, Objects{{kHere, 0}, {kThere, 0}});
  EXPECT_EQ(*counter.scores().recall, 0.5);
  expect_close(counter.scores().ap, 51.0 / 101, "AP");
}

// Of equal scores the image that was added first comes first.
TEST(DetectionCounter, KeepsTheOrderOfEqualScores) {
  for (const bool right_first : {true, false}) {
    DetectionCounter counter(1);
    for (const bool is_right : {right_first, !right_first}) {
      counter.add(Detections{{is_right ? kHere : kThere, 0, 0.5}}, Objects{{kHere, 0, !is_right}});
    }
    expect_close(counter.scores().ap, right_first ? 1 : 0.5, "AP");
  }
}

TEST(DetectionCounter, AHostileDetectionIsAWrongOne) {
  for (const Detection& hostile : Detections{{{kNan, 0, 40, 40}, 0, 0.9},
                                             {{0, 0, kInfinity, 40}, 0, 0.9},
                                             {{40, 40, 0, 0}, 0, 0.9},
                                             {{5, 5, 5, 5}, 0, 0.9},
                                             {kHere, 0, kNan}}) {
    DetectionCounter counter(1);
    counter.add(Detections{{kHere, 0, 0.5}, hostile}, Objects{{kHere, 0}});
    expect_close(counter.scores().ap, 0.5, "AP");
    EXPECT_EQ(*counter.scores().recall, 1);
  }
  DetectionCounter counter(1);
  counter.add(Detections{{kHere, 0, -kInfinity}, {kThere, 0, kInfinity}}, Objects{{kHere, 0}});
  expect_close(counter.scores().ap, 0.5, "AP");
}

TEST(DetectionCounter, RefusesWhatCannotBeTrue) {
  EXPECT_THROW(DetectionCounter(0), InternalError);
  DetectionCounter counter(2);
  EXPECT_THROW(counter.add(Detections{{kHere, 2, 0.5}}, {}), InternalError);
  EXPECT_THROW(counter.add(Detections{{kHere, -1, 0.5}}, {}), InternalError);
  EXPECT_THROW(counter.add({}, Objects{{kHere, 2}}), InternalError);
  EXPECT_THROW(counter.add({}, Objects{{{0, 0, kNan, 1}, 0}}), InternalError);
  EXPECT_THROW(counter.add({}, Objects{{{4, 0, 2, 1}, 0}}), InternalError);
  EXPECT_THROW(counter.class_scores(2), InternalError);
  EXPECT_THROW(counter.num_objects(-1), InternalError);
  EXPECT_EQ(counter.num_images(), 0);
}

}  // namespace
}  // namespace triptych::test
