#include "report/evaluation_file.h"

#include <stdexcept>
#include <system_error>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "report/html.h"
#include "report/json_number.h"

namespace triptych::report {
namespace {

using Json = nlohmann::ordered_json;
using internal::count_in;
using internal::number_in;

constexpr uint64_t kMaxBytes = uint64_t{256} << 20;

// ---- To JSON. What a reader takes for the usual value is left out.

Json from_picture(const std::optional<ReportPicture>& picture) {
  if (!picture) return nullptr;
  return {{"png", base64(picture->png)}, {"description", picture->description}};
}

Json to(const TablePanel& panel) {
  Json subjects = Json::array();
  for (const TablePanel::Subject& subject : panel.subjects) {
    Json rows = Json::array();
    for (const TablePanel::Row& row : subject.rows) {
      Json values = Json::array();
      for (const TableValue& value : row.values) {
        values.push_back(
            {{"number", value.number}, {"is_share", value.is_share}, {"text", value.text}, {"change", value.change}});
      }
      rows.push_back({{"source", row.source}, {"values", values}});
    }
    subjects.push_back({{"name", subject.name}, {"notes", subject.notes}, {"rows", rows}});
  }
  return {{"kind", "table"},          {"title", panel.title},
          {"caption", panel.caption}, {"subject_head", panel.subject_head},
          {"columns", panel.columns}, {"subjects", subjects}};
}

Json to(const GalleryPanel& panel) {
  Json queries = Json::array();
  for (const GalleryPanel::Query& query : panel.queries) {
    Json hits = Json::array();
    for (const GalleryPanel::Hit& hit : query.hits) {
      hits.push_back(
          {{"picture", from_picture(hit.picture)}, {"text", hit.text}, {"score", hit.score}, {"correct", hit.correct}});
    }
    queries.push_back({{"group", query.group},
                       {"picture", from_picture(query.picture)},
                       {"text", query.text},
                       {"truth", query.truth},
                       {"hits", hits}});
  }
  return {{"kind", "gallery"}, {"title", panel.title}, {"queries", queries}};
}

Json to(const ConfusionPanel& panel) {
  Json cells = Json::array();
  for (const ConfusionPanel::Cell& cell : panel.cells) cells.push_back({cell.truth, cell.predicted, cell.count});
  return {{"kind", "confusion"},
          {"title", panel.title},
          {"caption", panel.caption},
          {"class_names", panel.class_names},
          {"cells", cells}};
}

Json to(const ExamplesPanel& panel) {
  Json examples = Json::array();
  for (const ExamplesPanel::Example& example : panel.examples) {
    Json maps = Json::array();
    for (const ReportPicture& map : example.maps) maps.push_back(from_picture(map));
    examples.push_back({{"group", example.group},
                        {"picture", from_picture(example.picture)},
                        {"asked", example.asked},
                        {"truth", example.truth},
                        {"produced", example.produced},
                        {"score", example.score},
                        {"correct", example.correct},
                        {"maps", maps}});
  }
  return {{"kind", "examples"}, {"title", panel.title}, {"caption", panel.caption}, {"examples", examples}};
}

Json to(const BoxesPanel& panel) {
  Json examples = Json::array();
  for (const BoxesPanel::Example& example : panel.examples) {
    Json boxes = Json::array();
    for (const BoxesPanel::Box& box : example.boxes) {
      boxes.push_back({{"sides", {box.left, box.top, box.right, box.bottom}},
                       {"text", box.text},
                       {"is_truth", box.is_truth},
                       {"correct", box.correct},
                       {"score", box.score}});
    }
    examples.push_back({{"group", example.group},
                        {"picture", from_picture(example.picture)},
                        {"asked", example.asked},
                        {"boxes", boxes}});
  }
  return {{"kind", "boxes"}, {"title", panel.title}, {"caption", panel.caption}, {"examples", examples}};
}

// ---- From JSON. nlohmann throws where a key is missing or a type is another.

std::string text(const Json& json, const char* key) {
  return json.at(key).get<std::string>();
}

std::optional<ReportPicture> to_picture(const Json& json) {
  if (json.is_null()) return std::nullopt;
  std::optional<std::vector<std::byte>> png = bytes_of_base64(json.at("png").get_ref<const std::string&>());
  if (!png) throw std::invalid_argument("a picture that is no base64");
  return ReportPicture{std::move(*png), text(json, "description")};
}

TablePanel to_table(const Json& json) {
  TablePanel panel{.title = text(json, "title"),
                   .caption = text(json, "caption"),
                   .subject_head = text(json, "subject_head"),
                   .columns = json.at("columns").get<std::vector<std::string>>(),
                   .subjects = {}};
  for (const Json& each : json.at("subjects")) {
    TablePanel::Subject subject{
        .name = text(each, "name"), .notes = each.at("notes").get<std::vector<std::string>>(), .rows = {}};
    for (const Json& row : each.at("rows")) {
      TablePanel::Row& added = subject.rows.emplace_back(TablePanel::Row{.source = text(row, "source"), .values = {}});
      for (const Json& value : row.at("values")) {
        added.values.push_back({.number = number_in(value.at("number")),
                                .is_share = value.at("is_share").get<bool>(),
                                .text = text(value, "text"),
                                .change = number_in(value.at("change"))});
      }
      if (added.values.size() > panel.columns.size()) throw std::invalid_argument("a row longer than its table");
    }
    panel.subjects.push_back(std::move(subject));
  }
  return panel;
}

GalleryPanel to_gallery(const Json& json) {
  GalleryPanel panel{.title = text(json, "title"), .queries = {}};
  for (const Json& each : json.at("queries")) {
    GalleryPanel::Query query{.group = text(each, "group"),
                              .picture = to_picture(each.at("picture")),
                              .text = text(each, "text"),
                              .truth = text(each, "truth"),
                              .hits = {}};
    for (const Json& hit : each.at("hits")) {
      query.hits.push_back({.picture = to_picture(hit.at("picture")),
                            .text = text(hit, "text"),
                            .score = number_in(hit.at("score")),
                            .correct = hit.at("correct").get<bool>()});
    }
    panel.queries.push_back(std::move(query));
  }
  return panel;
}

ConfusionPanel to_confusion(const Json& json) {
  ConfusionPanel panel{.title = text(json, "title"),
                       .caption = text(json, "caption"),
                       .class_names = json.at("class_names").get<std::vector<std::string>>(),
                       .cells = {}};
  const auto num_classes = static_cast<int64_t>(panel.class_names.size());
  for (const Json& each : json.at("cells")) {
    const ConfusionPanel::Cell cell{count_in(each.at(0)), count_in(each.at(1)), count_in(each.at(2))};
    if (cell.truth >= num_classes || cell.predicted >= num_classes) throw std::invalid_argument("a cell of no class");
    panel.cells.push_back(cell);
  }
  return panel;
}

ExamplesPanel to_examples(const Json& json) {
  ExamplesPanel panel{.title = text(json, "title"), .caption = text(json, "caption"), .examples = {}};
  for (const Json& each : json.at("examples")) {
    ExamplesPanel::Example example{.group = text(each, "group"),
                                   .picture = to_picture(each.at("picture")),
                                   .asked = text(each, "asked"),
                                   .truth = text(each, "truth"),
                                   .produced = text(each, "produced"),
                                   .score = number_in(each.at("score")),
                                   .correct = each.at("correct").get<bool>()};
    for (const Json& map : each.at("maps")) {
      if (std::optional<ReportPicture> picture = to_picture(map)) example.maps.push_back(std::move(*picture));
    }
    panel.examples.push_back(std::move(example));
  }
  return panel;
}

BoxesPanel to_boxes(const Json& json) {
  BoxesPanel panel{.title = text(json, "title"), .caption = text(json, "caption"), .examples = {}};
  for (const Json& each : json.at("examples")) {
    BoxesPanel::Example example{.group = text(each, "group"),
                                .picture = to_picture(each.at("picture")),
                                .asked = text(each, "asked"),
                                .boxes = {}};
    for (const Json& box : each.at("boxes")) {
      const Json& sides = box.at("sides");
      example.boxes.push_back({.left = number_in(sides.at(0)),
                               .top = number_in(sides.at(1)),
                               .right = number_in(sides.at(2)),
                               .bottom = number_in(sides.at(3)),
                               .text = text(box, "text"),
                               .is_truth = box.at("is_truth").get<bool>(),
                               .correct = box.at("correct").get<bool>(),
                               .score = number_in(box.at("score"))});
    }
    panel.examples.push_back(std::move(example));
  }
  return panel;
}

Panel to_panel(const Json& json) {
  const std::string kind = text(json, "kind");
  if (kind == "table") return to_table(json);
  if (kind == "gallery") return to_gallery(json);
  if (kind == "confusion") return to_confusion(json);
  if (kind == "examples") return to_examples(json);
  if (kind == "boxes") return to_boxes(json);
  throw std::invalid_argument("a panel of another kind");
}

}  // namespace

std::string evaluation_to_json(const EvaluationRecord& record) {
  Json metrics = Json::object(), facts = Json::object(), meanings = Json::object(), panels = Json::array();
  for (const auto& [name, value] : record.metrics) metrics[name] = value;
  for (const auto& [name, value] : record.facts) facts[name] = value;
  for (const auto& [name, meaning] : record.meanings) meanings[name] = meaning;
  for (const Panel& panel : record.panels)
    panels.push_back(std::visit([](const auto& each) { return to(each); }, panel));
  const Json json{{"format", kEvaluationFormat},
                  {"version", 1},
                  {"step", record.step},
                  {"checkpoint", record.checkpoint},
                  {"time", record.time},
                  {"metrics", metrics},
                  {"facts", facts},
                  {"meanings", meanings},
                  {"panels", panels}};
  // Captions come from data: bytes that are no UTF-8 are replaced, as the page would show them.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

EvaluationRecord evaluation_from_json(std::string_view bytes, std::string_view where) {
  const auto refuse = [&](std::string_view found) {
    throw UserError(where, fmt::format("must be what `triptych eval` of this version writes, found {}. Measure the run "
                                       "again, or move the file away",
                                       found));
  };
  EvaluationRecord record;
  try {
    const Json json = Json::parse(bytes);
    if (text(json, "format") != kEvaluationFormat) refuse("another format");
    if (json.at("version") != 1) refuse("another version");
    record.step = count_in(json.at("step"));
    record.checkpoint = text(json, "checkpoint");
    record.time = text(json, "time");
    for (const auto& [name, value] : json.at("metrics").items()) record.metrics.emplace_back(name, number_in(value));
    for (const auto& [name, value] : json.at("facts").items()) record.facts.emplace_back(name, value);
    for (const auto& [name, value] : json.at("meanings").items()) record.meanings.emplace_back(name, value);
    for (const Json& panel : json.at("panels")) record.panels.push_back(to_panel(panel));
  } catch (const nlohmann::json::exception& error) {
    refuse(error.what());
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
  return record;
}

std::optional<EvaluationRecord> read_evaluation(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kEvaluationName;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  if (File::open_read(path).size() > kMaxBytes) {
    throw UserError(path.string(), fmt::format("must not have more than {} bytes. Move the file away", kMaxBytes));
  }
  return evaluation_from_json(read_text_file(path, kMaxBytes), path.string());
}

}  // namespace triptych::report
