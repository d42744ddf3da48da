#include "text/json_object.h"

#include "base/error.h"

namespace triptych::text {

using nlohmann::json;

JsonObject::JsonObject(const json& value, std::string path, std::string_view where)
    : value_(value), path_(std::move(path)), where_(where) {
  if (!value.is_object()) refuse(fmt::format("must be an object, found {}", value.type_name()));
}

void JsonObject::refuse(std::string_view rule) const {
  throw UserError(where_, fmt::format("of this tokenizer.json, `{:.200}` {:.500}. docs/tokenizers.md says what is "
                                      "supported",
                                      path_, rule));
}

void JsonObject::refuse(const std::string& key, std::string_view rule) const {
  throw UserError(where_, fmt::format("of this tokenizer.json, `{:.200}.{:.200}` {:.500}. docs/tokenizers.md says what "
                                      "is supported",
                                      path_, key, rule));
}

const json* JsonObject::find(const std::string& key) {
  known_.insert(key);
  const auto found = value_.find(key);
  return found == value_.end() || found->is_null() ? nullptr : &*found;
}

const json& JsonObject::need(const std::string& key) {
  const json* found = find(key);
  if (found == nullptr) refuse(key, "must be there");
  return *found;
}

bool JsonObject::flag(const std::string& key, bool otherwise) {
  const json* found = find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) refuse(key, "must be true or false");
  return found->get<bool>();
}

std::optional<std::string> JsonObject::optional_text(const std::string& key) {
  const json* found = find(key);
  if (found == nullptr) return std::nullopt;
  if (!found->is_string()) refuse(key, "must be a text");
  return found->get<std::string>();
}

std::string JsonObject::text(const std::string& key) {
  need(key);
  return *optional_text(key);
}

std::string JsonObject::text(const std::string& key, const std::string& otherwise) {
  return optional_text(key).value_or(otherwise);
}

int64_t JsonObject::integer(const std::string& key, int64_t least, int64_t most, std::optional<int64_t> otherwise) {
  const json* found = find(key);
  if (found == nullptr && otherwise) return *otherwise;
  if (found == nullptr) refuse(key, "must be there");
  const bool fits = found->is_number_unsigned() ? found->get<uint64_t>() <= static_cast<uint64_t>(most)
                                                : found->is_number_integer() && found->get<int64_t>() <= most;
  if (!fits || found->get<int64_t>() < least) {
    refuse(key, fmt::format("must be a whole number, {} to {}", least, most));
  }
  return found->get<int64_t>();
}

void JsonObject::pass_over(std::initializer_list<const char*> keys) {
  for (const char* key : keys) known_.insert(key);
}

void JsonObject::done() const {
  for (const auto& [key, value] : value_.items()) {
    if (!known_.contains(key)) refuse(key, "is not known");
  }
}

}  // namespace triptych::text
