#include "tasks/explanation_page.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <nlohmann/json.hpp>

#include "data/png_writer.h"
#include "data/transforms.h"

namespace triptych::tasks {
namespace {

constexpr uint32_t kLargePixels = 192, kSmallPixels = 96;
constexpr double kShareOfMap = 0.6;  // of a pixel; the rest is the picture, without its colours

// From dark to bright, at equal steps between 0 and 1.
constexpr std::array<std::array<double, 3>, 5> kHeat{
    {{0, 0, 20}, {90, 15, 110}, {190, 55, 80}, {250, 145, 30}, {255, 255, 170}}};

double heat(double share, std::size_t channel) {
  const double place = std::clamp(share, 0.0, 1.0) * static_cast<double>(kHeat.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), kHeat.size() - 2);
  const double rest = place - static_cast<double>(below);
  return kHeat[below][channel] * (1 - rest) + kHeat[below + 1][channel] * rest;
}

std::vector<uint8_t> picture_at(const Explanation& explanation, uint32_t size) {
  const auto side = static_cast<uint32_t>(explanation.size);
  const Image image{.width = side, .height = side, .pixels = explanation.pixels};
  std::vector<uint8_t> pixels(std::size_t{3} * size * size);
  Resizer().resize(image, {.x = 0, .y = 0, .width = static_cast<double>(side), .height = static_cast<double>(side)},
                   size, pixels);
  return pixels;
}

GalleryPanel::Query row_of(const Explanation& explanation, std::string group, std::string text,
                           const std::vector<PatchMap>& maps, uint32_t size) {
  GalleryPanel::Query row{.group = std::move(group), .picture = {}, .text = std::move(text), .truth = {}, .hits = {}};
  for (const PatchMap& map : maps) {
    row.hits.push_back({.picture = heat_picture(explanation, map, size), .text = map.name});
  }
  return row;
}

TablePanel table_of(const std::string& title, const std::string& caption, const std::string& head,
                    const std::string& column, const std::vector<std::pair<std::string, double>>& values) {
  TablePanel table{.title = title, .caption = caption, .subject_head = head, .columns = {column}, .subjects = {}};
  for (const auto& [name, value] : values) {
    table.subjects.push_back({.name = name, .notes = {}, .rows = {{"model", {{.number = value, .text = {}}}}}});
  }
  return table;
}

nlohmann::json json_of(const std::vector<PatchMap>& maps) {
  nlohmann::json list = nlohmann::json::array();
  for (const PatchMap& map : maps) list.push_back({{"name", map.name}, {"patches", map.values}});
  return list;
}

nlohmann::json json_of(const std::vector<std::pair<std::string, double>>& values) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, value] : values) list.push_back({{"name", name}, {"value", value}});
  return list;
}

}  // namespace

ReportPicture heat_picture(const Explanation& explanation, const PatchMap& map, uint32_t size) {
  std::vector<uint8_t> pixels = picture_at(explanation, size);
  const double largest = *std::max_element(map.values.begin(), map.values.end());
  const auto side = static_cast<uint32_t>(explanation.side);
  for (uint32_t y = 0; y < size; ++y) {
    for (uint32_t x = 0; x < size; ++x) {
      const std::size_t patch = std::size_t{y * side / size} * side + x * side / size;
      const double share = largest > 0 ? map.values[patch] / largest : 0;
      uint8_t* const pixel = pixels.data() + (std::size_t{y} * size + x) * 3;
      const double grey = (pixel[0] + pixel[1] + pixel[2]) / 3.0;
      for (std::size_t c = 0; c < 3; ++c) {
        pixel[c] = static_cast<uint8_t>(std::lround(kShareOfMap * heat(share, c) + (1 - kShareOfMap) * grey));
      }
    }
  }
  return {encode_png(size, size, pixels), map.name};
}

std::vector<Panel> explanation_panels(const Explanation& explanation) {
  std::vector<Panel> panels;
  if (!explanation.scores.empty()) {
    panels.emplace_back(table_of("What the model says", "", "Of the picture", "Score", explanation.scores));
  }
  const std::string of = explanation.subject.empty() ? "" : "relevance is for " + explanation.subject;
  GalleryPanel maps{.title = "Where it looks", .queries = {}};
  GalleryPanel::Query all = row_of(explanation, "", of, explanation.maps, kLargePixels);
  all.picture =
      ReportPicture{encode_png(kLargePixels, kLargePixels, picture_at(explanation, kLargePixels)), "the picture"};
  maps.queries.push_back(std::move(all));
  panels.emplace_back(std::move(maps));
  if (!explanation.words.empty()) {
    panels.emplace_back(
        GalleryPanel{.title = "Where it looks for each word",
                     .queries = {row_of(explanation, "", explanation.text, explanation.words, kLargePixels)}});
  }
  if (!explanation.gates.empty()) {
    panels.emplace_back(table_of("Gates",
                                 "Learned; their tanh is the share that is let through where a layer is gated so.",
                                 "Parameter", "Value", explanation.gates));
  }
  GalleryPanel heads{.title = "The heads of each layer", .queries = {}};
  for (const Explanation::Layer& layer : explanation.layers) {
    heads.queries.push_back(row_of(explanation, "", layer.name, layer.heads, kSmallPixels));
  }
  panels.emplace_back(std::move(heads));
  return panels;
}

std::string explanation_json(const Explanation& explanation) {
  nlohmann::json layers = nlohmann::json::array();
  for (const Explanation::Layer& layer : explanation.layers) {
    layers.push_back({{"name", layer.name}, {"heads", json_of(layer.heads)}});
  }
  const nlohmann::json all = {{"side", explanation.side},
                              {"size", explanation.size},
                              {"subject", explanation.subject},
                              {"text", explanation.text},
                              {"scores", json_of(explanation.scores)},
                              {"maps", json_of(explanation.maps)},
                              {"words", json_of(explanation.words)},
                              {"layers", std::move(layers)},
                              {"gates", json_of(explanation.gates)}};
  return all.dump(1) + "\n";
}

}  // namespace triptych::tasks
