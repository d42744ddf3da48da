#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "models/two_tower.h"

namespace triptych::test {
namespace {

// A block that is never made.
BlockSpec block(const std::string& name, std::vector<std::string> reads, const std::vector<std::string>& writes,
                double flops = 1) {
  BlockSpec spec{.name = name, .reads = std::move(reads), .forward_flops = flops, .backward_flops = 10 * flops};
  for (const std::string& slot : writes) spec.writes.push_back({.name = slot, .dims = {}});
  return spec;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

// The slots at every boundary, sorted: "a b|c|...".
std::string live(const Route& route) {
  std::string text;
  for (const std::vector<Slot>& slots : route.live) {
    std::vector<std::string> names;
    for (const Slot& slot : slots) names.push_back(slot.name);
    std::sort(names.begin(), names.end());
    text += (&slots == &route.live.front() ? "" : "|") + joined(names);
  }
  return text;
}

std::string running(const ModelSpec& model, const Route& route) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    if (route.runs[i]) names.push_back(model.blocks[i].name);
  }
  return joined(names);
}

Route to(const ModelSpec& model, const std::vector<std::string>& outputs, const std::vector<std::string>& given = {}) {
  return route_to(model, outputs, given);
}

// Slot `a` goes through all, `side` skips two blocks, `b` is written twice, `c` is of use to nobody but itself.
ModelSpec branching() {
  return {.blocks = {block("start", {}, {"a"}, 1), block("fork", {"a"}, {"side", "b"}, 2),
                     block("mix", {"a", "b"}, {"a", "b"}, 4), block("alone", {"b"}, {"c"}, 8),
                     block("end", {"a", "side"}, {"out"}, 16)},
          .fingerprint = ""};
}

TEST(Route, SlotsLiveFromTheirLastWriterToTheirLastReader) {
  const ModelSpec model = branching();
  const Route route = to(model, {"out"});
  EXPECT_EQ(running(model, route), "start fork mix end");
  EXPECT_EQ(live(route), "|a|a b side|a side|a side|out");
  EXPECT_EQ(route.forward_flops, 1 + 2 + 4 + 16);
  EXPECT_EQ(route.backward_flops, 230);
}

TEST(Route, AnOutputStaysLiveToTheEndEvenWhereOthersReadIt) {
  const ModelSpec model = branching();
  const Route route = to(model, {"out", "b", "c"});
  EXPECT_EQ(running(model, route), "start fork mix alone end");
  EXPECT_EQ(live(route), "|a|a b side|a b side|a b c side|b c out");
  EXPECT_EQ(route.live.back().front().name, "out") << "outputs keep their order";
}

TEST(Route, OnlyWhatAnOutputNeedsRuns) {
  const ModelSpec model = branching();
  EXPECT_EQ(running(model, to(model, {"side"})), "start fork");
  EXPECT_EQ(live(to(model, {"side"})), "|a|side|side|side|side");
  EXPECT_EQ(running(model, to(model, {"c"})), "start fork mix alone");
  // The value that the last writer leaves, though an earlier block writes the slot too.
  EXPECT_EQ(running(model, to(model, {"b"})), "start fork mix");
}

TEST(Route, ASlotHasTheFormOfItsLastWriterBeforeTheBoundary) {
  ModelSpec model{.blocks = {block("wide", {}, {"x"}), block("narrow", {"x"}, {"x"})}, .fingerprint = ""};
  model.blocks[0].writes[0].dims = {5};
  model.blocks[1].writes[0].dims = {2};
  const Route route = to(model, {"x"});
  EXPECT_EQ(route.live[1].at(0).dims, std::vector<int64_t>{5});
  EXPECT_EQ(route.live[2].at(0).dims, std::vector<int64_t>{2});
}

TEST(Route, WhatIsGivenIsNeitherComputedNorPassedOn) {
  const ModelSpec model = branching();
  const Route route = to(model, {"out"}, {"side"});
  EXPECT_EQ(running(model, route), "start fork mix end") << "fork still gives b";
  EXPECT_EQ(live(route), "|a|a b|a|a|out");
  ModelSpec two{
      .blocks = {block("image", {}, {"memory"}), block("text", {}, {"t"}), block("across", {"t", "memory"}, {"t"})},
      .fingerprint = ""};
  EXPECT_EQ(running(two, to(two, {"t"}, {"memory"})), "text across");
  EXPECT_EQ(live(to(two, {"t"}, {"memory"})), "||t|t");
}

TEST(Route, ASlotThatNobodyWritesIsAnErrorThatNamesIt) {
  const ModelSpec model = branching();
  try {
    to(model, {"nothing"});
    FAIL();
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("nothing"), std::string::npos) << error.what();
  }
  const ModelSpec early{.blocks = {block("reader", {"late"}, {"x"}), block("writer", {}, {"late"})}, .fingerprint = ""};
  EXPECT_THROW(to(early, {"x"}), InternalError);
}

TEST(Route, ATextsEmbeddingNeedsTheTextsTowerAlone) {
  const ModelSpec model = two_tower(
      {.image = {.size = 8, .patch = 4, .sizes = {.width = 6, .layers = 2, .heads = 2, .feed_forward = 10}},
       .text = {.length = 5, .vocabulary = 11, .sizes = {.width = 6, .layers = 1, .heads = 3, .feed_forward = 7}},
       .embedding = 4});
  EXPECT_EQ(running(model, to(model, {"text_embedding"})), "text.embed text.blocks.0 text.head");
  EXPECT_EQ(running(model, to(model, {"image_embedding"})), "image.embed image.blocks.0 image.blocks.1 image.head");
}

}  // namespace
}  // namespace triptych::test
