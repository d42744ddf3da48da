#include "data/pair_line.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "data/shard_format.h"

namespace triptych::data {
namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& rule) {
  throw UserError("line", rule);
}

void add_caption(const Json& value, PairLine& line) {
  if (!value.is_string()) refuse(fmt::format("a caption must be a string, found {}", value.type_name()));
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty()) refuse("a caption is empty; leave it out");
  if (text.size() > kMaxCaptionBytes) {
    refuse(fmt::format("a caption has {} bytes, at most {} are allowed", text.size(), kMaxCaptionBytes));
  }
  line.captions.push_back(text);
}

}  // namespace

PairLine parse_pair_line(std::string_view text) {
  if (!is_utf8(text)) refuse("is not UTF-8");
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded())
    refuse("is not JSON; a line must be one object such as {\"image\": \"a.png\", \"caption\": \"...\"}");
  if (!json.is_object()) refuse(fmt::format("must be an object, found {}", json.type_name()));

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
      line.ignored_keys.push_back(key);
    }
  }
  if (line.image.empty() && line.captions.empty()) refuse("has neither image nor captions");
  return line;
}

}  // namespace triptych::data
