#include "data/index_facts.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"

namespace triptych::data {
namespace {

// Applies `visit` to every number, in one order.
template <typename Facts, typename Visit>
void each_number(Facts& facts, const Visit& visit) {
  visit(facts.content_hash.high);
  visit(facts.content_hash.low);
  for (auto& count : facts.num_texts) visit(count);
  for (auto& count : facts.samples_having) visit(count);
  visit(facts.num_boxes);
  visit(facts.most_boxes);
  visit(facts.greatest_label);
}

}  // namespace

uint64_t IndexFacts::num_samples_with(const PartChoice& parts) const {
  const std::size_t asked = number_of(parts);
  uint64_t count = 0;
  for (std::size_t has = 0; has < kNumPartChoices; ++has) {
    if ((has & asked) == asked) count += samples_having[has];
  }
  return count;
}

void IndexFacts::add(const IndexFacts& other) {
  for (std::size_t r = 0; r < kNumTextRoles; ++r) num_texts[r] += other.num_texts[r];
  for (std::size_t has = 0; has < kNumPartChoices; ++has) samples_having[has] += other.samples_having[has];
  num_boxes += other.num_boxes;
  most_boxes = std::max(most_boxes, other.most_boxes);
  greatest_label = std::max(greatest_label, other.greatest_label);
}

std::string IndexFacts::to_text() const {
  std::string text;
  each_number(*this, [&](const auto& number) { text += fmt::format("{}{}", text.empty() ? "" : " ", number); });
  return text;
}

IndexFacts IndexFacts::from_text(const std::string& text) {
  IndexFacts facts;
  std::istringstream in(text);
  each_number(facts, [&](auto& number) { in >> number; });
  TRIPTYCH_CHECK(!in.fail(), "facts of an index, found \"{}\"", text.substr(0, 100));
  return facts;
}

}  // namespace triptych::data
