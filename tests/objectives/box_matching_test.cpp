#include "objectives/box_matching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "support/gradient_check.h"

namespace triptych::test {
namespace {

struct Image {
  std::vector<float> logits, boxes, truths;
  std::vector<int32_t> labels;

  QueriesAndObjects view() const { return {.logits = logits, .boxes = boxes, .truths = truths, .labels = labels}; }
};

constexpr std::size_t kClasses = 3;

Image random_image(const std::string& name, std::size_t num_queries, const std::vector<int32_t>& labels) {
  Image image{.logits = random_values(name + " logits", static_cast<int64_t>(num_queries * (kClasses + 1))),
              .boxes = random_values(name + " boxes", static_cast<int64_t>(num_queries * 4), 0.2),
              .truths = random_values(name + " truths", static_cast<int64_t>(labels.size() * 4), 0.2),
              .labels = labels};
  for (std::size_t i = 0; i < image.boxes.size(); ++i)
    image.boxes[i] = i % 4 < 2 ? 0.5f + image.boxes[i] : std::abs(image.boxes[i]);
  for (std::size_t i = 0; i < image.truths.size(); i += 4) {
    for (std::size_t k = 0; k < 2; ++k) {
      image.truths[i + k] += 0.4f;
      image.truths[i + 2 + k] = image.truths[i + k] + 0.05f + std::abs(image.truths[i + 2 + k]);
    }
  }
  return image;
}

// Equation 2 of Carion et al. 2020, written out; GIoU by Rezatofighi et al. 2019, algorithm 1.
double cost(const Image& image, std::size_t query, std::size_t object) {
  const float* const z = image.logits.data() + query * (kClasses + 1);
  double sum = 0;
  for (std::size_t c = 0; c <= kClasses; ++c) sum += std::exp(static_cast<double>(z[c]));
  const double p = std::exp(static_cast<double>(z[image.labels[object]])) / sum;
  double l1 = 0, shared = 1, around = 1, own = 1, other = 1;
  for (std::size_t k = 0; k < 2; ++k) {
    const double middle = image.boxes[4 * query + k], size = image.boxes[4 * query + 2 + k];
    const double first = image.truths[4 * object + k], last = image.truths[4 * object + 2 + k];
    l1 += std::abs(middle - (first + last) / 2) + std::abs(size - (last - first));
    shared *= std::max(0.0, std::min(middle + size / 2, last) - std::max(middle - size / 2, first));
    around *= std::max(middle + size / 2, last) - std::min(middle - size / 2, first);
    own *= size;
    other *= last - first;
  }
  const double covered = own + other - shared;
  return 5 * l1 - p - 2 * (shared / covered - (around - covered) / around);
}

// Every way to give objects to queries, one each.
double least_cost(const Image& image, std::size_t num_queries) {
  std::vector<std::size_t> objects, queries(num_queries);
  for (std::size_t i = 0; i < image.labels.size(); ++i) {
    if (image.labels[i] >= 0) objects.push_back(i);
  }
  std::iota(queries.begin(), queries.end(), 0u);
  double least = std::numeric_limits<double>::infinity();
  do {
    double sum = 0;
    for (std::size_t k = 0; k < objects.size(); ++k) sum += cost(image, queries[k], objects[k]);
    least = std::min(least, sum);
  } while (std::next_permutation(queries.begin(), queries.end()));
  return objects.empty() ? 0 : least;
}

TEST(BoxMatching, CostsLeastOfAllMatchings) {
  const std::vector<std::vector<int32_t>> labelled{{}, {-1, -1}, {2}, {0, 1, 2, 0}, {1, -1, 1, 2}, {0, 0, 0, 0, 0, 0}};
  for (std::size_t number = 0; number < 24; ++number) {
    const std::vector<int32_t>& labels = labelled[number % labelled.size()];
    const Image image = random_image(std::to_string(number), 6, labels);
    const std::vector<int32_t> matches = match_queries(image.view(), {});
    ASSERT_EQ(matches.size(), 6u);
    double sum = 0;
    std::vector<int> times(labels.size(), 0);
    for (std::size_t q = 0; q < matches.size(); ++q) {
      if (matches[q] < 0) continue;
      const auto object = static_cast<std::size_t>(matches[q]);
      ++times.at(object);
      sum += cost(image, q, object);
    }
    for (std::size_t i = 0; i < labels.size(); ++i) EXPECT_EQ(times[i], labels[i] >= 0 ? 1 : 0) << number;
    EXPECT_NEAR(sum, least_cost(image, 6), 1e-9) << number;
  }
}

// More objects than queries: as many as there are queries are found, and numbers that are none do no harm.
TEST(BoxMatching, BearsTooManyObjectsAndNoNumbers) {
  Image image = random_image("few", 2, {0, 1, 2});
  std::vector<int32_t> matches = match_queries(image.view(), {});
  std::sort(matches.begin(), matches.end());
  EXPECT_GE(matches[0], 0);
  EXPECT_NE(matches[0], matches[1]);
  image = random_image("bad", 3, {1});
  image.boxes[0] = std::numeric_limits<float>::quiet_NaN();
  image.logits[0] = std::numeric_limits<float>::infinity();
  matches = match_queries(image.view(), {});
  EXPECT_EQ(matches[0], -1);
  EXPECT_EQ(std::count(matches.begin(), matches.end(), 0), 1);
}

}  // namespace
}  // namespace triptych::test
