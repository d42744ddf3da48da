#include "text/post_processors.h"

#include <map>

#include "base/error.h"
#include "text/piece_table.h"

namespace triptych::text {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxAround = 64;

int32_t read_id(JsonObject& options, const std::string& key, const json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(kMaxVocabulary)) {
    options.refuse(key, fmt::format("must have ids of 0 to {}", kMaxVocabulary - 1));
  }
  return value.get<int32_t>();
}

// ["[SEP]", 102]
int32_t read_named_id(JsonObject& options, const std::string& key) {
  const json& pair = options.need(key);
  if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string()) options.refuse(key, "must be a token and its id");
  return read_id(options, key, pair[1]);
}

std::map<std::string, std::vector<int32_t>> read_template_tokens(JsonObject& options) {
  std::map<std::string, std::vector<int32_t>> tokens;
  const json& all = options.need("special_tokens");
  if (!all.is_object()) options.refuse("special_tokens", "must be an object");
  for (const auto& [name, value] : all.items()) {
    JsonObject token(value, options.path() + ".special_tokens", options.where());
    token.pass_over({"id", "tokens"});
    const json& ids = token.need("ids");
    if (!ids.is_array() || ids.empty() || ids.size() > kMaxAround) token.refuse("ids", "must be a list of ids");
    for (const json& id : ids) tokens[name].push_back(read_id(token, "ids", id));
    token.done();
  }
  return tokens;
}

TextFrame read_template(JsonObject& options) {
  const auto tokens = read_template_tokens(options);
  const json& single = options.need("single");
  if (!single.is_array() || single.size() > kMaxAround) options.refuse("single", "must be a short list");
  TextFrame frame;
  bool has_text = false;
  for (const json& value : single) {
    JsonObject piece(value, options.path() + ".single", options.where());
    if (piece.find("Sequence") != nullptr) {
      JsonObject sequence = piece.object("Sequence");
      sequence.pass_over({"type_id"});
      if (sequence.text("id") != "A" || has_text) options.refuse("single", "must have the sequence A once");
      has_text = true;
      sequence.done();
    } else {
      JsonObject special = piece.object("SpecialToken");
      special.pass_over({"type_id"});
      const auto found = tokens.find(special.text("id"));
      if (found == tokens.end()) special.refuse("id", "must be among `special_tokens`");
      std::vector<int32_t>& side = has_text ? frame.after : frame.before;
      side.insert(side.end(), found->second.begin(), found->second.end());
      special.done();
    }
    piece.done();
  }
  if (!has_text) options.refuse("single", "must have the sequence A once");
  options.pass_over({"pair"});
  return frame;
}

TextFrame read_one(const json& value, const std::string& path, std::string_view where) {
  JsonObject options(value, path, where);
  const std::string type = options.text("type");
  TextFrame frame;
  if (type == "TemplateProcessing") {
    frame = read_template(options);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    frame = {.before = {read_named_id(options, "cls")}, .after = {read_named_id(options, "sep")}};
    if (type == "RobertaProcessing") options.pass_over({"trim_offsets", "add_prefix_space"});
  } else if (type == "ByteLevel") {
    options.pass_over({"trim_offsets", "add_prefix_space", "use_regex"});
  } else if (type == "Sequence") {
    const json& all = options.need("processors");
    if (!all.is_array()) options.refuse("processors", "must be a list");
    for (std::size_t i = 0; i < all.size(); ++i) {
      const TextFrame outer = read_one(all[i], fmt::format("{}.processors[{}]", path, i), where);
      frame.before.insert(frame.before.begin(), outer.before.begin(), outer.before.end());
      frame.after.insert(frame.after.end(), outer.after.begin(), outer.after.end());
    }
  } else {
    options.refuse("type", fmt::format("must be a post-processor that is supported, found `{:.100}`", type));
  }
  options.done();
  if (frame.before.size() + frame.after.size() > kMaxAround) {
    options.refuse(fmt::format("must put at most {} tokens around a text", kMaxAround));
  }
  return frame;
}

}  // namespace

TextFrame read_post_processor(const json* value, std::string_view where) {
  return value == nullptr ? TextFrame{} : read_one(*value, "post_processor", where);
}

}  // namespace triptych::text
