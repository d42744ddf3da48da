// A data set's index: index.json up to the first zero byte, then index.bin. Both carry hashes that almost no mutation
// keeps, so they are read a second time with the hashes put right.

#include <nlohmann/json.hpp>

#include "data/index_file.h"
#include "fuzz.h"

namespace {

using Json = nlohmann::ordered_json;
using namespace triptych;

std::string hash_of(std::string_view text) {
  return base::hash128(std::as_bytes(std::span(text))).hex();
}

// The text with its hashes put right; the text itself where it has no place for them.
std::string sealed(std::string_view text, std::string_view arrays) {
  constexpr int kMaxDepth = 16;  // Json::dump needs stack for each level
  const auto shallow = [](int depth, Json::parse_event_t, Json&) { return depth <= kMaxDepth; };
  Json json = Json::parse(text, shallow, false);
  if (!json.is_object() || !json.contains("arrays") || !json["arrays"].is_object()) return std::string(text);
  json["arrays"]["bytes"] = arrays.size();
  json["arrays"]["xxh3_128"] = hash_of(arrays);
  json.erase("checksum");
  try {
    json["checksum"] = hash_of(json.dump());
    return json.dump(1);
  } catch (const Json::exception&) {  // text that is not UTF-8
    return std::string(text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const std::filesystem::path folder = test::scratch_folder();
  const std::string_view input = test::text_of(data, size);
  const std::size_t zero = input.find('\0');
  const std::string_view text = input.substr(0, zero);
  const std::string_view arrays = zero == std::string_view::npos ? "" : input.substr(zero + 1);
  test::write_file(folder / data::kIndexArraysName, arrays);
  for (const std::string& json : {std::string(text), sealed(text, arrays)}) {
    test::write_file(folder / data::kIndexName, json);
    test::must_read_or_refuse([] {
      const data::DatasetIndex index = data::read_index(folder);
      // What was read can be written, and reads back to the same.
      data::write_index(folder, index);
      const data::DatasetIndex again = data::read_index(folder);
      test::must_hold(again.records.size() == index.records.size() && again.labels == index.labels &&
                      again.caption_bytes == index.caption_bytes && again.shards.size() == index.shards.size() &&
                      again.roles == index.roles && again.box_first == index.box_first && again.boxes == index.boxes);
    });
  }
  return 0;
}
