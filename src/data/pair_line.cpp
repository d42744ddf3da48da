#include "data/pair_line.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <limits>
#include <set>
#include <span>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "data/sample_fault.h"
#include "data/shard_format.h"

namespace triptych::data {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 11> kKeys{"image", "caption", "captions", "question", "answer", "answers",
                                                 "boxes", "classes", "phrases",  "id",       "label"};
// What other tools and data sets call ours: the folders of images of Hugging Face, LLaVA, COCO, webdataset,
// img2dataset.
constexpr std::array<std::string_view, 12> kOtherImageKeys{"file_name",  "filename", "file",     "image_path",
                                                           "image_file", "img",      "img_path", "images",
                                                           "jpg",        "png",      "picture",  "filepath"};
constexpr std::array<std::string_view, 9> kOtherCaptionKeys{
    "text", "txt", "conversations", "sentence", "sentences", "description", "prompt", "title", "alt"};

[[noreturn]] void refuse(const std::string& rule) {
  throw SampleFault(kMalformed, rule);
}

void add_text(const Json& value, TextRole role, SampleDescription& line) {
  if (!value.is_string()) {
    throw SampleFault(kBadText, fmt::format("{} {} must be a string, found {}", role == TextRole::kAnswer ? "an" : "a",
                                            text_role_name(role), value.type_name()));
  }
  data::add_text(value.get<std::string>(), role, line);
}

template <std::size_t n>
bool is_one_of(const std::array<std::string_view, n>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// The line with the strings in double quotes taken out, to look for what is not JSON.
std::string outside_strings(std::string_view text) {
  std::string rest;
  bool inside = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (inside && text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      inside = !inside;
    } else if (!inside) {
      rest += text[i];
    }
  }
  return rest;
}

/// What people write instead of JSON lines, in words.
std::string mistake_in(std::string_view text) {
  const std::string rest = outside_strings(text);
  const std::size_t first = rest.find_first_not_of(" \t"), last = rest.find_last_not_of(" \t");
  if (first == std::string::npos) return {};
  if (rest[first] == '[' || rest[first] == ']') {
    return "; it is a piece of an array: give one object a line, without brackets and commas around (jq -c '.[]' "
           "makes that of an array)";
  }
  if (rest.find('\'') != std::string::npos) return "; strings stand in double quotes, not in single ones";
  for (const char* word : {"NaN", "Infinity", "None", "True", "False", "undefined"}) {
    if (rest.find(word) != std::string::npos)
      return fmt::format("; {} is not JSON: null is a value that is absent", word);
  }
  if (rest[last] == ',') return "; there is a comma behind the object: every line stands alone";
  std::string dense;
  std::ranges::copy_if(rest, std::back_inserter(dense), [](char c) { return c != ' ' && c != '\t'; });
  if (dense.find(",}") != std::string::npos || dense.find(",]") != std::string::npos) {
    return "; there is a comma before a closing bracket";
  }
  if (text.find('\r') != std::string_view::npos) return "; lines end with a line feed, this one has carriage returns";
  if (rest[first] == '{' && rest[last] != '}') return "; an object may not go over several lines";
  return {};
}

/// The line as JSON in which no object has a key twice.
Json parse_strictly(std::string_view text) {
  std::vector<std::set<std::string>> keys;  // of the objects around
  std::string doubled;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second && doubled.empty()) {
      doubled = value.get<std::string>();
    }
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const Json::exception& error) {
    const auto* place = dynamic_cast<const Json::parse_error*>(&error);
    refuse(
        fmt::format("is not JSON{}{}; a line must be one object such as {{\"image\": \"a.png\", \"caption\": "
                    "\"...\"}}",
                    place != nullptr ? fmt::format(" (at byte {})", place->byte) : "", mistake_in(text)));
  }
  if (!doubled.empty()) {
    refuse(fmt::format("has the key '{}' twice, so one of the values would be lost", shown_name(doubled)));
  }
  return json;
}

/// Refuses a line whose image or captions stand under a key of another tool, where they would be passed over.
void check_other_keys(const SampleDescription& line) {
  std::string renames;
  const auto rename = [&](const std::string& key, std::string_view to) {
    renames += fmt::format("{}'{}' to '{}'", renames.empty() ? "" : ", ", key, to);
  };
  for (const std::string& key : line.ignored) {
    const std::string small = lower(key);
    if (is_one_of(kKeys, small)) {
      rename(key, small);
    } else if (line.image.empty() && is_one_of(kOtherImageKeys, small)) {
      rename(key, "image");
    } else if (line.texts.empty() && !line.label && is_one_of(kOtherCaptionKeys, small)) {
      rename(key, small == "conversations" || small == "sentences" ? "captions" : "caption");
    }
  }
  const bool is_empty = line.image.empty() && line.texts.empty();
  if (renames.empty() && !is_empty) return;
  if (renames.empty() && line.ignored.empty()) refuse("has neither image nor captions");
  std::string found;
  for (std::size_t k = 0; k < std::min<std::size_t>(line.ignored.size(), 5); ++k) {
    found += (k == 0 ? "" : ", ") + line.ignored[k];
  }
  refuse(fmt::format(
      "{} under the keys that are read: image, captions (or caption), question, answers (or answer), boxes, "
      "classes, phrases, id, label; found {}{}",
      is_empty             ? "has neither image nor captions"
      : line.image.empty() ? "has no image"
      : line.texts.empty() ? "has no caption"
                           : "has something else",
      found, renames.empty() ? "" : "; rename " + renames));
}

/// The value of a key; null if it is absent or null, which means the same.
const Json* value_of(const Json& json, std::string_view key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

/// As it was written, in a few words: a list in a list in a list needs stack for each, and is as long as the line.
std::string shown(const Json& value) {
  return value.is_structured() ? std::string(value.type_name()) : value.dump(-1, ' ', true).substr(0, 100);
}

void read_image(const Json& json, SampleDescription& line) {
  const Json* value = value_of(json, "image");
  if (value == nullptr) return;
  if (!value->is_string()) refuse(fmt::format("'image' must be a file name or null, found {}", value->type_name()));
  line.image = value->get<std::string>();
  if (line.image.empty()) refuse("'image' is empty; leave it out or give null");
}

/// The texts under a key of one or under a key of several; false if neither is there.
bool read_one_or_several(const Json& json, std::string_view one, std::string_view several, TextRole role,
                         SampleDescription& line) {
  const Json *single = value_of(json, one), *list = value_of(json, several);
  if (single != nullptr && list != nullptr) refuse(fmt::format("give '{}' or '{}', not both", one, several));
  if (single != nullptr) add_text(*single, role, line);
  if (list == nullptr) return single != nullptr;
  if (!list->is_array()) refuse(fmt::format("'{}' must be an array of strings, found {}", several, list->type_name()));
  if (list->size() > kMaxCaptionsPerSample) {
    refuse(fmt::format("has {} {}, at most {} are allowed", list->size(), several, kMaxCaptionsPerSample));
  }
  for (const Json& each : *list) add_text(each, role, line);
  return !list->empty();
}

void read_texts(const Json& json, SampleDescription& line) {
  read_one_or_several(json, "caption", "captions", TextRole::kCaption, line);
  const Json* question = value_of(json, "question");
  if (question != nullptr) add_text(*question, TextRole::kQuestion, line);
  const bool has_answers = read_one_or_several(json, "answer", "answers", TextRole::kAnswer, line);
  if (has_answers && question == nullptr) {
    refuse("has an answer and no 'question'; give it, or rename the answer to 'caption' if it is none");
  }
}

int32_t read_class(const Json& value) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (value.is_null()) return -1;
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > kMost) {
    refuse(fmt::format("a box's class must be an integer 0 to {}, or null, found {}", kMost, shown(value)));
  }
  return static_cast<int32_t>(value.get<int64_t>());
}

/// The number of a phrase among the line's texts, to which it is added unless another box has the same.
int32_t read_phrase(const Json& value, std::size_t first_phrase, SampleDescription& line) {
  if (value.is_null()) return -1;
  if (value.is_string()) {
    const auto phrases = std::span(line.texts).subspan(first_phrase);
    const auto known = std::ranges::find(phrases, value.get_ref<const std::string&>());
    if (known != phrases.end())
      return static_cast<int32_t>(first_phrase + static_cast<std::size_t>(known - phrases.begin()));
  }
  add_text(value, TextRole::kPhrase, line);
  return static_cast<int32_t>(line.texts.size() - 1);
}

BoxRecord read_corners(const Json& value, std::size_t number) {
  std::array<int32_t, 4> corners{};
  const auto is_pixel = [](const Json& corner) {
    return corner.is_number_integer() && corner.get<int64_t>() >= 0 &&
           corner.get<int64_t>() <= std::numeric_limits<int32_t>::max();
  };
  if (!value.is_array() || value.size() != corners.size() || !std::ranges::all_of(value, is_pixel)) {
    const bool has_numbers = value.is_array() && value.size() == corners.size() &&
                             std::ranges::all_of(value, [](const Json& corner) { return corner.is_number(); });
    refuse(
        fmt::format("box {} must be [left, top, right, bottom], four integers in pixels from the image's upper left "
                    "corner, right and bottom excluded; found {}",
                    number, has_numbers ? value.dump() : shown(value)));
  }
  for (std::size_t k = 0; k < corners.size(); ++k) corners[k] = value[k].get<int32_t>();
  return {.left = corners[0], .top = corners[1], .right = corners[2], .bottom = corners[3]};
}

void read_boxes(const Json& json, SampleDescription& line) {
  const Json* boxes = value_of(json, "boxes");
  const auto list_of = [&](std::string_view key) {
    const Json* values = value_of(json, key);
    if (values == nullptr) return values;
    if (boxes == nullptr) refuse(fmt::format("has '{}' and no 'boxes'; give the box of each, or leave them out", key));
    if (!values->is_array()) refuse(fmt::format("'{}' must be an array, found {}", key, values->type_name()));
    if (values->size() != boxes->size()) {
      refuse(fmt::format("'{}' must have one for each box, null where it has none; found {} of {} boxes", key,
                         values->size(), boxes->size()));
    }
    return values;
  };
  if (boxes != nullptr && !boxes->is_array()) {
    refuse(fmt::format("'boxes' must be an array of [left, top, right, bottom], found {}", boxes->type_name()));
  }
  const Json *classes = list_of("classes"), *phrases = list_of("phrases");
  if (boxes == nullptr) return;
  if (boxes->size() > kMaxBoxesPerSample) {
    refuse(fmt::format("has {} boxes, at most {} are allowed", boxes->size(), kMaxBoxesPerSample));
  }
  if (!boxes->empty() && line.image.empty()) refuse("has boxes and no image; give it, or leave the boxes out");
  const std::size_t first_phrase = line.texts.size();
  for (std::size_t k = 0; k < boxes->size(); ++k) {
    BoxRecord& box = line.boxes.emplace_back(read_corners((*boxes)[k], k));
    if (classes != nullptr) box.class_number = read_class((*classes)[k]);
    if (phrases != nullptr) box.phrase = read_phrase((*phrases)[k], first_phrase, line);
    if (box.class_number == -1 && box.phrase == -1) {
      refuse(fmt::format("box {} has neither a class nor a phrase; give 'classes' or 'phrases'", k));
    }
  }
}

void read_numbers(const Json& json, SampleDescription& line) {
  if (const auto id = json.find("id"); id != json.end()) {
    if (!id->is_number_unsigned()) refuse(fmt::format("'id' must be an integer 0 to 2^64-1, found {}", shown(*id)));
    line.id = id->get<uint64_t>();
  }
  if (const Json* label = value_of(json, "label")) {
    if (!label->is_number_integer() || label->get<int64_t>() < 0) {
      refuse(fmt::format("'label' must be an integer 0 to 2^63-1, found {}", shown(*label)));
    }
    line.label = label->get<int64_t>();
  }
}

}  // namespace

SampleDescription parse_pair_line(std::string_view text) {
  if (!is_utf8(text)) refuse("is not UTF-8");
  const Json json = parse_strictly(text);
  if (!json.is_object()) {
    refuse(fmt::format("must be an object, found {}{}", json.type_name(), json.is_array() ? mistake_in(text) : ""));
  }

  SampleDescription line;
  for (const auto& [key, value] : json.items()) {
    if (!is_one_of(kKeys, key)) line.ignored.push_back(shown_name(key));
  }
  read_image(json, line);
  read_texts(json, line);
  read_boxes(json, line);
  read_numbers(json, line);
  check_other_keys(line);
  return line;
}

}  // namespace triptych::data
