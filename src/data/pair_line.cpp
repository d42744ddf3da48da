#include "data/pair_line.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "data/caption_text.h"
#include "data/shard_format.h"

namespace triptych::data {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 5> kKeys{"image", "caption", "captions", "id", "label"};
// What other tools and data sets call ours: the folders of images of Hugging Face, LLaVA, COCO, webdataset,
// img2dataset.
constexpr std::array<std::string_view, 12> kOtherImageKeys{"file_name",  "filename", "file",     "image_path",
                                                           "image_file", "img",      "img_path", "images",
                                                           "jpg",        "png",      "picture",  "filepath"};
constexpr std::array<std::string_view, 10> kOtherCaptionKeys{
    "text", "txt", "conversations", "sentence", "sentences", "description", "prompt", "title", "alt", "answer"};

[[noreturn]] void refuse(const std::string& rule) {
  throw UserError("line", rule);
}

/// A key as messages quote it; a line may be a key of megabytes.
std::string shown_key(std::string_view key) {
  constexpr std::size_t kMaxShown = 60;
  if (key.size() <= kMaxShown) return std::string(key);
  std::size_t end = kMaxShown;
  while ((static_cast<unsigned char>(key[end]) & 0xC0) == 0x80) --end;  // not within a letter
  return std::string(key.substr(0, end)) + "...";
}

void add_caption(const Json& value, PairLine& line) {
  if (!value.is_string()) refuse(fmt::format("a caption must be a string, found {}", value.type_name()));
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty()) refuse("a caption is empty; leave it out");
  if (!has_visible_text(text)) {
    refuse(fmt::format("a caption has no text, only {}, of which no token is left; leave it out", code_points(text)));
  }
  if (text.size() > kMaxCaptionBytes) {
    refuse(fmt::format("a caption has {} bytes, at most {} are allowed", text.size(), kMaxCaptionBytes));
  }
  line.captions.push_back(text);
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
    refuse(fmt::format("has the key '{}' twice, so one of the values would be lost", shown_key(doubled)));
  }
  return json;
}

/// Refuses a line whose image or captions stand under a key of another tool, where they would be passed over.
void check_other_keys(const PairLine& line) {
  std::string renames;
  const auto rename = [&](const std::string& key, std::string_view to) {
    renames += fmt::format("{}'{}' to '{}'", renames.empty() ? "" : ", ", key, to);
  };
  for (const std::string& key : line.ignored_keys) {
    const std::string small = lower(key);
    if (is_one_of(kKeys, small)) {
      rename(key, small);
    } else if (line.image.empty() && is_one_of(kOtherImageKeys, small)) {
      rename(key, "image");
    } else if (line.captions.empty() && !line.label && is_one_of(kOtherCaptionKeys, small)) {
      rename(key, small == "conversations" || small == "sentences" ? "captions" : "caption");
    }
  }
  const bool is_empty = line.image.empty() && line.captions.empty();
  if (renames.empty() && !is_empty) return;
  if (renames.empty() && line.ignored_keys.empty()) refuse("has neither image nor captions");
  std::string found;
  for (std::size_t k = 0; k < std::min<std::size_t>(line.ignored_keys.size(), 5); ++k) {
    found += (k == 0 ? "" : ", ") + line.ignored_keys[k];
  }
  refuse(fmt::format("{} under the keys that are read: image, captions (or caption), id, label; found {}{}",
                     is_empty                ? "has neither image nor captions"
                     : line.image.empty()    ? "has no image"
                     : line.captions.empty() ? "has no caption"
                                             : "has something else",
                     found, renames.empty() ? "" : "; rename " + renames));
}

}  // namespace

PairLine parse_pair_line(std::string_view text) {
  if (!is_utf8(text)) refuse("is not UTF-8");
  const Json json = parse_strictly(text);
  if (!json.is_object()) {
    refuse(fmt::format("must be an object, found {}{}", json.type_name(), json.is_array() ? mistake_in(text) : ""));
  }

  PairLine line;
  bool caption_given = false;
  // As it was written, in a few words: a list in a list in a list needs stack for each, and is as long as the line.
  const auto shown = [](const Json& value) {
    return value.is_structured() ? std::string(value.type_name()) : value.dump(-1, ' ', true).substr(0, 100);
  };
  for (const auto& [key, value] : json.items()) {
    if (key == "image") {
      if (value.is_null()) continue;
      if (!value.is_string()) refuse(fmt::format("'image' must be a file name or null, found {}", value.type_name()));
      line.image = value.get<std::string>();
      if (line.image.empty()) refuse("'image' is empty; leave it out or give null");
    } else if (key == "caption" || key == "captions") {
      if (value.is_null()) continue;
      if (caption_given) refuse("give 'caption' or 'captions', not both");
      caption_given = true;
      if (key == "caption") {
        add_caption(value, line);
        continue;
      }
      if (!value.is_array()) refuse(fmt::format("'captions' must be an array of strings, found {}", value.type_name()));
      if (value.size() > kMaxCaptionsPerSample) {
        refuse(fmt::format("has {} captions, at most {} are allowed", value.size(), kMaxCaptionsPerSample));
      }
      for (const Json& caption : value) add_caption(caption, line);
    } else if (key == "id") {
      if (!value.is_number_unsigned())
        refuse(fmt::format("'id' must be an integer 0 to 2^64-1, found {}", shown(value)));
      line.id = value.get<uint64_t>();
    } else if (key == "label") {
      if (value.is_null()) continue;
      if (!value.is_number_integer() || value.get<int64_t>() < 0) {
        refuse(fmt::format("'label' must be an integer 0 to 2^63-1, found {}", shown(value)));
      }
      line.label = value.get<int64_t>();
    } else {
      line.ignored_keys.push_back(shown_key(key));
    }
  }
  check_other_keys(line);
  return line;
}

}  // namespace triptych::data
