#include "base/strict_json.h"

#include <set>
#include <string>
#include <vector>

#include "base/error.h"

namespace triptych::base {

using nlohmann::json;

json parse_strict_json(std::string_view text, int max_depth, std::string_view where) {
  std::vector<std::set<std::string>> names;  // of the objects and lists that are open
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > max_depth) {
      throw WorldError(where,
                       fmt::format("JSON must nest at most {} levels, found more; the file is damaged", max_depth));
    }
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!names.back().insert(name).second) {
        throw WorldError(
            where, fmt::format("names must be distinct, found `{}` twice; the file is damaged", name.substr(0, 200)));
      }
    }
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::exception& e) {
    // Which quotes what it read last, however long that is.
    throw WorldError(where, fmt::format("must be JSON, found an error ({}); the file is damaged",
                                        std::string_view(e.what()).substr(0, 200)));
  }
}

}  // namespace triptych::base
